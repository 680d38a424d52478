"""The catalogue: what the scenarios in some files show, found by error, fault or tag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labctl.scenario.loader import load
from labctl.scenario.model import FaultStep, RunStep, Scenario, StartStep


@dataclass(frozen=True)
class Entry:
    """One scenario: its name, what its first comment says, and what it produces."""

    name: str
    path: str
    summary: str
    tags: tuple[str, ...]
    errnos: tuple[str, ...]
    faults: tuple[str, ...]
    programs: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def catalogue(files: Sequence[Path]) -> list[Entry]:
    """One entry for each file. Raises ScenarioError for one that cannot be read."""
    return [_entry(path) for path in files]


def _entry(path: Path) -> Entry:
    loaded = load(path)
    scenario = loaded.scenario
    return Entry(
        scenario.scenario, str(path), summary_of(loaded.text), scenario.tags, _errnos(scenario),
        tuple(dict.fromkeys(s.spec.kind for s in scenario.steps if isinstance(s, FaultStep))),
        tuple(dict.fromkeys(_words(s)[0] for s in scenario.steps if isinstance(s, StartStep | RunStep))),
    )  # fmt: skip


def _words(step: StartStep | RunStep) -> tuple[str, ...]:
    return step.start if isinstance(step, StartStep) else step.run


def _errnos(scenario: Scenario) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for step in scenario.steps:
        expect = getattr(step, "expect", None)
        for symbol in (expect.errno or ()) if expect else ():
            if symbol:
                found[symbol] = None
    return tuple(found)


def summary_of(text: str) -> str:
    """The first sentence of a scenario's first comment; editors' own directives are passed over."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if "yaml-language-server" not in line:
            lines.append(line.lstrip("# ").rstrip())
    words = " ".join(lines)
    end = words.find(". ")
    return words if end < 0 else words[: end + 1]
