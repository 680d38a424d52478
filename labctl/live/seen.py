"""What the events of a run have said so far of its programs and faults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labctl.live.outcome import Outcome


class Seen:
    """Listens to the events of one run."""

    def __init__(self) -> None:
        self._started: dict[str, Mapping[str, Any]] = {}
        self._ended: dict[str, Mapping[str, Any]] = {}
        self._touched: dict[str, int | None] = {}
        self._last: str | None = None

    def observe(self, event: Mapping[str, Any]) -> None:
        """Take in one event."""
        kind = event["event"]
        if kind == "program-start":
            self._started[event["id"]] = event
        elif kind == "program-end":
            self._ended[event["id"]] = event
        elif kind == "step-end":
            self._last = event["program"]
        elif kind == "fault-removed":
            before, now = self._touched.get(event["name"], 0), event["packets"]
            self._touched[event["name"]] = None if before is None or now is None else before + now

    def outcome(self, path: Path, step: int) -> Outcome | None:
        """What the program of the last step, `step`, ended in; None when it goes on, or there was none."""
        ended = self._ended.get(self._last or "")
        return None if ended is None else Outcome.read(path, step, self._started[ended["id"]], ended)

    def expect_fault(self, name: str) -> None:
        """A fault of this name is about to be put in place: its count begins anew."""
        self._touched[name] = 0

    def touched(self, name: str) -> int | None:
        """How many packets a fault has touched, as counted when it was last taken away; None when nobody could."""
        return self._touched[name]

    @property
    def handles(self) -> frozenset[str]:
        """What the programs that were started are called."""
        return frozenset(program["handle"] for program in self._started.values())
