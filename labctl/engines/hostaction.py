"""Faults that an engine makes of a whole host, as actions that a journal and a timeline treat like any other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from labctl.agent.action import Action, ActionFailed, failed
from labctl.agent.command import Ran, in_place
from labctl.agent.journal import Journal
from labctl.agent.timeline import Schedule, Timeline
from labctl.engines.agents import AgentClient, AgentRefused
from labctl.engines.base import Engine
from labctl.errors import LabctlError


@dataclass
class HostAction:
    """One host frozen and set going again.

    What it touched is what arrived at the host's interfaces meanwhile, counted by its agent.
    """

    engine: Engine
    agent: AgentClient
    host: str
    what: str = "pause"
    _arrived: int = 0
    _done: bool = False

    def do(self) -> list[Ran]:
        self._arrived = self.agent.call("arrived")
        self._done = True
        return [self._ran(self.what, True)]

    def undo(self) -> list[Ran]:
        if not self._done:
            return []
        self._done = False
        return [self._ran(self.what, False)]

    def count(self) -> int:
        return int(self.agent.call("arrived")) - self._arrived

    def _ran(self, what: str, on: bool) -> Ran:
        start = time.monotonic()
        words = (self.engine.name, what if on else f"un{what}", self.host)
        try:
            self.engine.disturb(self.host, what, on)
        except LabctlError as error:
            failure = Ran(words, 1, "", str(error), (time.monotonic() - start) * 1000, time.time())
            if on:
                self._done = False
                raise ActionFailed([failure]) from None
            return failure
        return Ran(words, 0, "", "", (time.monotonic() - start) * 1000, time.time())


@dataclass
class HostFaults:
    """The faults of one host that no agent can make; answers `apply`, `schedule` and `undo` as an agent does.

    `make` makes the action of a request, `tell` gets the events of a timeline.
    """

    host: str
    make: Callable[[str, Mapping[str, Any]], Action]
    tell: Callable[[str, dict[str, Any]], None]
    _journal: Journal = field(default_factory=Journal)
    _schedules: dict[str, Schedule] = field(default_factory=dict)

    def call(
        self, op: str, name: str, action: Mapping[str, Any] | None = None, timeline: Any = None, kind: str = ""  # noqa: ARG002
    ) -> dict[str, Any]:
        """Do what an agent would be asked to. Raises AgentRefused."""
        try:
            if op == "undo":
                return self._undo(name)
            make = partial(self.make, self.host, action or {})
            if op == "schedule":
                journal, tell = self._journal, partial(self.tell, self.host)
                self._schedules[name] = Schedule(name, make, Timeline(**timeline), journal, tell)
                self._schedules[name].start()
                return {"time": time.time()}
            ran = self._journal.apply(name, make())
            return {"ran": [r.as_json() for r in ran], "time": in_place(ran)}
        except (ActionFailed, ValueError) as error:
            raise AgentRefused(f"{self.host}: {error}", {}) from None

    def _undo(self, name: str) -> dict[str, Any]:
        if name in self._schedules:
            self._schedules.pop(name).cancel()
        ran, proof = self._journal.undo(name)
        if failed(ran):
            raise AgentRefused(f"could not undo: {failed(ran)[0]}", {})
        ended = ran[0].ended if ran else time.time()
        return {"ran": [r.as_json() for r in ran], **proof.as_json(), "time": ended}
