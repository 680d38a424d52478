"""The faults of a run: applied by the agent of their host, or by the engine, and taken back counted."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from labctl.agent.action import Action
from labctl.engines.agents import AgentClient, AgentRefused
from labctl.engines.hostaction import HostAction, HostFaults
from labctl.errors import LabctlError, LabError
from labctl.faults.base import FaultPlan
from labctl.plan import PlannedStep
from labctl.session.captures import Captures
from labctl.session.hosts import Hosts
from labctl.session.lives import Killed, Lives, ProgramKilled
from labctl.session.programs import WATCH_S, Programs, StepFailed
from labctl.session.together import everywhere

BEGIN_TIMEOUT_S = 30.0
_DEVICE = re.compile(r"\{dev:([^}]+)\}")


@dataclass
class Faults:
    """What is broken now, by name and host: `applied`. `steps` knows those that were healed too: word may come late.

    `standing` is in place at the moment; what is on a timeline may be waiting for its time instead.
    """

    hosts: Hosts
    captures: Captures
    programs: Programs
    seed: int = 0
    applied: dict[tuple[str, str], FaultPlan] = field(default_factory=dict)
    by_driver: dict[str, HostFaults] = field(default_factory=dict)
    steps: dict[tuple[str, str], PlannedStep] = field(default_factory=dict)
    since: dict[tuple[str, str], float] = field(default_factory=dict)
    begun: dict[tuple[str, str], threading.Event] = field(default_factory=dict)
    standing: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.agents, self.record = self.hosts.agents, self.hosts.record
        self.lives = Lives(self.hosts, self.captures, self.programs, self._counted, self._restore)
        self.hosts.heard["fault-applied"] = lambda host, message: self._applied(self._put_there(message["name"], host), message)
        self.hosts.heard["fault-removed"] = lambda host, message: self._removed(self._put_there(message["name"], host), message)
        self.hosts.heard["fault-error"] = self._failed

    def check_free(self) -> None:
        """Whether what others have at these hosts leaves room for every fault of the plan. Raises LabError for the first."""
        for fault in (fault for step in self.hosts.plan.steps for fault in step.faults):
            if (why := self._why_not(fault)) is not None:
                raise LabError(f"the fault {fault.name} cannot be put at {fault.host}: {why}")

    def _why_not(self, fault: FaultPlan) -> str | None:
        if fault.engine is None:
            agent = self.agents[fault.host]
            why: str | None = agent.call("clash", name=fault.name, action=bind(fault.request(), agent.devices))
            return why
        there = [one for one in self.hosts.before if one.host == fault.host]
        if fault.engine == "kill" and there:
            return f"it would take with it {there[0]}"
        frozen = [one for one in there if one.kind == fault.engine]
        return f"{frozen[0]}, has done that already" if frozen else None

    def apply(self, step: PlannedStep) -> None:
        """Put a fault step's faults in place, or on their timeline. Raises StepFailed."""
        everywhere(lambda fault: self._apply(fault, step), step.faults)

    def named(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """What is in place under these names, the newest first."""
        return [key for key in reversed(self.applied) if key[0] in names]

    def tally(self, step: int) -> None:
        """Record what each fault has touched before step `step` begins: so each step has its own share. Raises LabError."""
        counted = [key for key, fault in self.applied.items() if fault.engine is None and key[1] not in self.hosts.killed]
        asked = {host: self.agents[host].ask("faults") for host in dict.fromkeys(host for _, host in counted)}
        answers = {host: self.agents[host].result(answer, "faults") for host, answer in asked.items()}
        found = {(one["name"], host): one["packets"] for host, answer in answers.items() for one in answer}
        if counted:
            faults = [{"name": name, "host": host, "packets": found.get((name, host))} for name, host in counted]
            self.record.event("fault-counts", step=step, faults=faults)
        self._tally_damage(step)

    def _tally_damage(self, step: int) -> None:
        """Where links may damage packets: how many each host's kernel has thrown away for a wrong checksum so far."""
        if not any(fault.kind == "link" for planned in self.hosts.plan.steps for fault in planned.faults):
            return
        asked = {host: agent.ask("damaged") for host, agent in self.agents.items() if host not in self.hosts.killed}
        hosts = {host: self.agents[host].result(answer, "damaged") for host, answer in asked.items()}
        self.record.event("checksums", step=step, hosts=hosts)

    def _apply(self, fault: FaultPlan, step: PlannedStep) -> None:
        key = fault.name, fault.host
        if fault.engine is None and fault.host in self.hosts.killed:
            raise StepFailed(f"{fault.host} was killed by the fault {self.hosts.killed[fault.host]} and is not up again")
        self.steps[key], self.since[key] = step, time.monotonic()
        self.applied[key] = fault  # the moment before, so that whatever happens it is undone
        self.begun[key] = threading.Event()
        try:
            self._put(fault, step)
            self._await(fault, step)
        except AgentRefused as error:
            del self.applied[key]
            raise StepFailed(f"the fault {fault.name} could not be applied: {error}") from None

    def _await(self, fault: FaultPlan, step: PlannedStep) -> None:
        """A fault whose timeline begins now is in place before the next step. Raises StepFailed."""
        if step.timeline is None or step.timeline.get("after_s"):
            return
        deadline = time.monotonic() + BEGIN_TIMEOUT_S
        while not self.begun[fault.name, fault.host].wait(WATCH_S):
            self.hosts.check()
            if time.monotonic() > deadline:
                raise StepFailed(f"the fault {fault.name} at {fault.host} has not begun after {BEGIN_TIMEOUT_S:g}s")

    def _put(self, fault: FaultPlan, step: PlannedStep, over_s: float = 0.0) -> None:
        """Ask for a fault, of whose timeline over_s seconds are over. Raises AgentRefused."""
        agent = self.agents[fault.host]
        request = bind(fault.request(), agent.devices)
        if request["type"] == "link":
            request["backend"] = self.hosts.link_backend
            request["seed"] = crc32(f"{self.seed}/{fault.host}/{fault.name}".encode())
        maker = self._maker(fault)
        asked = self._now_at(fault.host)
        if step.timeline is None:
            answer = maker.call("apply", name=fault.name, action=request, kind=fault.kind)
            self._applied(fault, {"asked": asked, **answer})
        else:
            timeline = {**step.timeline, "since_s": over_s}
            maker.call("schedule", name=fault.name, action=request, timeline=timeline, kind=fault.kind)

    def _now_at(self, host: str) -> float:
        """The present by the clock of a host's agent."""
        return self.record.epoch + self.record.now() + self.agents[host].clock_offset_s

    def _put_there(self, name: str, host: str) -> FaultPlan:
        """What the last step that put a fault of this name at this host put there."""
        return next(fault for fault in self.steps[name, host].faults if (fault.name, fault.host) == (name, host))

    def _counted(self, host: str, answers: list[dict[str, Any]]) -> None:
        """A host died, and with it the faults that were in place there."""
        for answer in answers:
            self._removed(self._put_there(answer["name"], host), answer)

    def _restore(self, host: str) -> None:
        """A host is up again, and so are the faults that nobody has healed meanwhile. Raises AgentRefused."""
        for (name, at), fault in list(self.applied.items()):
            if at == host and fault.engine is None:
                self._put(fault, self.steps[name, at], time.monotonic() - self.since[name, at])

    def _failed(self, host: str, message: Mapping[str, Any]) -> None:
        """A fault could not do what its timeline says: the scenario is not what it claims to be."""
        self.begun[message["name"], host].set()
        self.record.event("error", message=f"the fault {message['name']} at {host}: {message['error']}")

    def heal(self, keys: Sequence[tuple[str, str]]) -> None:
        """Take faults back, each after what it touched was counted. Raises the first error after trying all."""
        errors: list[LabctlError] = []
        for key in keys:
            fault = self.applied.pop(key)
            try:
                maker, asked = self._maker(fault), self._now_at(fault.host)
                self._removed(fault, {"asked": asked, **maker.call("undo", name=fault.name)})
            except LabctlError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _maker(self, fault: FaultPlan) -> AgentClient | HostFaults:
        """Who makes a fault and takes it back: the host's agent, or the driver what no agent can do."""
        if fault.engine is None:
            return self.agents[fault.host]
        if fault.host not in self.by_driver:
            self.by_driver[fault.host] = HostFaults(fault.host, self._action, self.hosts.hear)
        return self.by_driver[fault.host]

    def _action(self, host: str, request: Mapping[str, Any]) -> Action:
        agent, fault = self.agents[host], str(request.get("name"))
        if request["what"] == "kill":
            return Killed(self.lives, host, fault)
        if request["what"] == "kill-program":
            return ProgramKilled(self.programs, agent, str(request["program"]), fault)
        return HostAction(self.hosts.engine, agent, host)

    def _applied(self, fault: FaultPlan, message: Mapping[str, Any]) -> None:
        self.begun[fault.name, fault.host].set()
        self.standing.add((fault.name, fault.host))
        self.record.event(
            "fault-applied", step=self.steps[fault.name, fault.host].index,
            t=self.hosts.at(fault.host, message["time"]), name=fault.name, kind=fault.kind, host=fault.host,
            interface=message.get("interface", fault.interface), backend=message.get("backend", fault.backend),
            asked=self.hosts.at(fault.host, message["asked"]),
            ran=message["ran"], commands=[r["argv"] for r in message["ran"]],
        )  # fmt: skip

    def _removed(self, fault: FaultPlan, message: Mapping[str, Any]) -> None:
        if (fault.name, fault.host) not in self.standing:
            return  # it was taken back while it waited for its time: what it had touched before has been told
        self.standing.discard((fault.name, fault.host))
        asked = message.get("asked")
        self.record.event(
            "fault-removed", t=self.hosts.at(fault.host, message["time"]), name=fault.name, host=fault.host,
            packets=message["packets"], effect=message.get("effect"), ran=message["ran"],
            asked=None if asked is None else self.hosts.at(fault.host, asked),
        )  # fmt: skip


def bind(value: Any, devices: Mapping[str, str]) -> Any:
    """A fault's request with the host's real interface names in the place of `{dev:NETWORK}`."""
    if isinstance(value, str):
        return _DEVICE.sub(lambda match: devices[match[1]], value)
    if isinstance(value, Mapping):
        return {key: bind(item, devices) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [bind(item, devices) for item in value]
    return value
