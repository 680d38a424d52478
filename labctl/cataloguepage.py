"""docs/catalogue.md, made from the scenarios: `python -m labctl.cataloguepage docs/catalogue.md`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from labctl.catalogue import TOPICS, Entry, by_topic, catalogue
from labctl.scenario.files import find_scenarios

SCENARIOS = Path(__file__).resolve().parents[1] / "scenarios"
HEAD = """\
# The catalogue

Made from the scenarios: `python -m labctl.cataloguepage docs/catalogue.md`. `labctl list` shows the same in a terminal,
`labctl list --errno ECONNRESET`, `--fault loss` and `--tag names` find some of it, and [errors.md](errors.md) has it by error.
"""


def render(entries: Sequence[Entry], page: Path) -> str:
    """The page: the scenarios by topic, each with what it shows, its errors and its faults; links are for the file `page`."""
    parts = [f"\n## {TOPICS.get(topic, topic)}\n\n{_table(found, page)}" for topic, found in by_topic(entries)]
    return HEAD + "".join(parts)


def _table(entries: Sequence[Entry], page: Path) -> str:
    rows = ["| scenario | what it shows | errors | faults |", "|---|---|---|---|"]
    for entry in entries:
        link = f"[{entry.name}]({os.path.relpath(entry.path, page.parent)})"
        name = "<br>".join([link, *(f"`[{case}]`" for case in entry.cases)])
        rows.append(f"| {name} | {entry.summary} | {', '.join(entry.errnos)} | {', '.join(entry.faults)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve()
    target.write_text(render(catalogue(find_scenarios([SCENARIOS])), target), encoding="utf-8")
