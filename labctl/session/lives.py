"""Hosts that are killed while a scenario runs, and started again: what ends with them, and what comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from labctl.agent.action import ActionFailed
from labctl.agent.command import Ran
from labctl.agent.death import CHAIN
from labctl.engines.agents import AgentClient
from labctl.errors import LabctlError
from labctl.session.captures import Captures
from labctl.session.hosts import Hosts
from labctl.session.programs import Programs


@dataclass
class Lives:
    """Ends the lives of hosts and begins new ones.

    `counted` is told what the faults at a host had touched when it died (host, what the agent said of each); `restore` puts
    them in place again. With `leaves` what is dead stays dead: the run ends, and the lab goes with it.
    """

    hosts: Hosts
    captures: Captures
    programs: Programs
    counted: Callable[[str, list[dict[str, Any]]], None]
    restore: Callable[[str], None]
    leaves: bool = False

    def kill(self, host: str, fault: str) -> tuple[list[Ran], int]:
        """Kill a host; the commands, the last of which ended when it fell silent, and how much of it was alive.

        Alive is what others could tell it by: its open sockets, and packets that came or wanted to leave since it fell silent.
        """
        agent = self.hosts.agents[host]
        dying = self.programs.host_dies(host, fault)
        last = agent.call("die")
        ran = [_ran(answer) for answer in last["ran"]]
        try:
            ran.append(self._engine(host, on=True, at=last["time"] - agent.clock_offset_s))
        except ActionFailed:
            agent.call("undo", name=CHAIN)
            raise
        self.hosts.killed[host] = fault
        self.programs.gone(dying)
        self.counted(host, last["faults"])
        self.captures.ended(host, self.hosts.at(host, last["time"]), last["missing"])
        self.hosts.record.event(
            "host-killed", host=host, fault=fault, open=last["open"], programs=[r.handle for r in dying]
        )
        return ran, len(last["open"]) + int(last["packets"])

    def revive(self, host: str) -> list[Ran]:
        """Start a host that was killed: agent, routes, capture, and the faults that are to be there. Programs stay ended."""
        if self.leaves:
            return []
        ran = self._engine(host, on=False)
        self.hosts.reopen(host)
        self.captures.resume(host)
        del self.hosts.killed[host]
        self.restore(host)
        self.hosts.record.event("host-started", host=host)
        return [replace(ran, ended=time.time())]  # healed is a host that is what it was, not one that has begun to start

    def _engine(self, host: str, on: bool, at: float | None = None) -> Ran:
        """Have the engine do it. Raises ActionFailed."""
        start = time.monotonic()
        argv = (self.hosts.engine.name, "kill" if on else "start", host)
        try:
            self.hosts.engine.disturb(host, "kill", on)
        except LabctlError as error:
            raise ActionFailed([Ran(argv, 1, "", str(error), (time.monotonic() - start) * 1000, time.time())]) from None
        return Ran(argv, 0, "", "", (time.monotonic() - start) * 1000, at or time.time())


def _ran(answer: dict[str, Any]) -> Ran:
    return Ran(**{**answer, "argv": tuple(answer["argv"])})


@dataclass
class Killed:
    """A host killed and, when it is healed, started again."""

    lives: Lives
    host: str
    fault: str
    _touched: int = 0
    _is_dead: bool = False

    def do(self) -> list[Ran]:
        if self.host in self.lives.hosts.killed:
            why = f"the fault {self.lives.hosts.killed[self.host]} has killed it already"
            raise ActionFailed([Ran(("kill", self.host), 1, "", why, 0.0, time.time())])
        try:
            ran, self._touched = self.lives.kill(self.host, self.fault)
        except LabctlError as error:
            raise ActionFailed([Ran(("kill", self.host), 1, "", str(error), 0.0, time.time())]) from None
        self._is_dead = True
        return ran

    def undo(self) -> list[Ran]:
        if not self._is_dead:
            return []
        try:
            ran = self.lives.revive(self.host)
        except ActionFailed as error:
            return error.ran
        except LabctlError as error:
            return [Ran(("start", self.host), 1, "", str(error), 0.0, time.time())]
        self._is_dead = False
        return ran

    def count(self) -> int:
        return self._touched


@dataclass
class ProgramKilled:
    """A program killed; nothing is there to be taken back."""

    programs: Programs
    agent: AgentClient
    program: str
    fault: str
    _killed: list[str] = field(default_factory=list)

    def do(self) -> list[Ran]:
        start = time.monotonic()
        argv = ("kill", "-s", "KILL", self.program)
        try:
            self.programs.kill(self.program, self.agent.host, self.fault)
        except LabctlError as error:
            raise ActionFailed([Ran(argv, 1, "", str(error), 0.0, time.time())]) from None
        self._killed.append(self.program)
        return [Ran(argv, 0, "", "", (time.monotonic() - start) * 1000, time.time())]

    def undo(self) -> list[Ran]:
        return []

    def count(self) -> int:
        """Programs it killed."""
        return len(self._killed)
