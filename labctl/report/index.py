"""One page over several runs, linking to the page of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from labctl.report.html import page

_ORDER = ("error", "fail", "skip", "pass")


def index(runs: Sequence[Mapping[str, Any]], title: str = "labctl runs") -> str:
    """The index page, to stand in the folder of the run directories.

    Arguments: what result.json holds of each run, and a title. A run is linked by its key `directory` where the caller
    added one (relative to the index), else by its name.
    """
    counts = Counter(str(run.get("verdict")) for run in runs)
    ordered = sorted(runs, key=lambda run: (_rank(run), str(run.get("scenario"))))
    return page(
        "index.html",
        title=title,
        runs=[_row(run) for run in ordered],
        counts=[(verdict, counts[verdict]) for verdict in _ORDER if counts[verdict]],
        worst=next((v for v in _ORDER if counts[v]), "skip"),
        seconds=sum(float(run.get("seconds") or 0.0) for run in runs),
    )


def _rank(run: Mapping[str, Any]) -> int:
    verdict = str(run.get("verdict"))
    return _ORDER.index(verdict) if verdict in _ORDER else 0


def _row(run: Mapping[str, Any]) -> dict[str, Any]:
    verdict = str(run.get("verdict"))
    return {
        "scenario": str(run.get("scenario", "?")),
        "verdict": verdict if verdict in _ORDER else "error",
        "reason": str(run.get("reason") or ""),
        "directory": str(run.get("directory") or run.get("run", ".")),
        "run": str(run.get("run", "?")),
        "seconds": run.get("seconds"),
        "packets": sum(int(c.get("packets") or 0) for c in run.get("captures", ())),
        "faults": sum(bool(f.get("fired")) for f in run.get("faults", ())),
        "steps": [_tile(number, step) for number, step in enumerate(run.get("steps", ()), 1)],
    }


def _tile(number: int, step: Mapping[str, Any]) -> tuple[int, str, str, bool]:
    """A step's number, name, verdict, and whether it only set things up."""
    is_setup = step["verdict"] == "pass" and not step.get("findings")
    return step.get("index", number), str(step["name"]), step["verdict"], is_setup
