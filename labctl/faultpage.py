"""What docs/faults.md says of each fault out of the code: its sentence, its keys, and the scenarios that show it.

`python -m labctl.faultpage docs/faults.md` writes what stands between each pair of markers anew; the words around them, what a
fault is made of and what it proves, are written by hand. A test holds the page to the faults and the scenarios.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from labctl.catalogue import Entry, catalogue
from labctl.faults import FAULTS
from labctl.scenario.files import find_scenarios
from labctl.scenario.shape import default_of, fields_of

SCENARIOS = Path(__file__).resolve().parents[1] / "scenarios"
_MARKED = re.compile(r"(<!-- begin ([a-z-]+)[^>]*-->\n).*?(<!-- end \2 -->)", re.DOTALL)


def render(text: str, entries: Sequence[Entry], page: Path) -> str:
    """The page with every fault's block made anew, its links as they must be in the file `page`. Raises KeyError."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{block(found[2], entries, page)}\n{found[3]}", text)


def block(kind: str, entries: Sequence[Entry], page: Path) -> str:
    """One fault: what it does in a sentence, its keys, where to see it. Raises KeyError for a kind that is none."""
    model = FAULTS[kind]
    keys = ", ".join(_key(name, info.is_required(), default_of(info)) for name, info in fields_of(model).items())
    shown = [f"[{e.name}]({os.path.relpath(e.path, page.parent)})" for e in entries if kind in e.faults]
    return (
        f"{model.summary}\n\n"
        f"- **Keys**: {keys or 'none'} ([what each means](scenarios.md#{kind}))\n"
        f"- **Shown by**: {', '.join(shown)}\n"
    )


def _key(name: str, required: bool, default: object) -> str:
    if required:
        return f"**`{name}`**"
    return f"`{name}`" if default is None else f"`{name}` ({str(default).lower() if isinstance(default, bool) else default})"


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve()
    made = render(target.read_text(encoding="utf-8"), catalogue(find_scenarios([SCENARIOS])), target)
    target.write_text(made, encoding="utf-8")
