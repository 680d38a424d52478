"""The faults of a run: applied by the agent of their host, or by the engine, and taken back counted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from labctl.engines.agents import AgentClient, AgentRefused
from labctl.engines.hostaction import HostFaults
from labctl.errors import LabctlError
from labctl.faults.base import FaultPlan
from labctl.plan import PlannedStep
from labctl.session.hosts import Hosts
from labctl.session.programs import StepFailed
from labctl.session.together import everywhere

_DEVICE = re.compile(r"\{dev:([^}]+)\}")


@dataclass
class Faults:
    """What is broken now, by name and host."""

    hosts: Hosts
    seed: int = 0
    applied: dict[tuple[str, str], FaultPlan] = field(default_factory=dict)
    by_engine: dict[str, HostFaults] = field(default_factory=dict)
    steps: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.agents, self.record = self.hosts.agents, self.hosts.record
        self.hosts.heard["fault-applied"] = lambda host, message: self._applied(
            self.applied[message["name"], host], message
        )
        self.hosts.heard["fault-removed"] = lambda host, message: self._removed(
            self.applied[message["name"], host], message
        )

    def apply(self, step: PlannedStep) -> None:
        """Put a fault step's faults in place, or on their timeline. Raises StepFailed."""
        everywhere(lambda fault: self._apply(fault, step), step.faults)

    def named(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """What is in place under these names, the newest first."""
        return [key for key in reversed(self.applied) if key[0] in names]

    def _apply(self, fault: FaultPlan, step: PlannedStep) -> None:
        agent = self.agents[fault.host]
        request = bind(fault.request(), agent.devices)
        if request["type"] == "link":
            request["backend"] = self.hosts.link_backend
            request["seed"] = crc32(f"{self.seed}/{fault.host}/{fault.name}".encode())
        maker = self._maker(fault)
        asked = self.record.now()
        self.steps[fault.name, fault.host] = step.index
        self.applied[fault.name, fault.host] = (
            fault  # the moment before, so that whatever happens it is undone
        )
        try:
            if step.timeline is None:
                answer = maker.call("apply", name=fault.name, action=request)
                self._applied(fault, {"asked": self.record.epoch + asked + agent.clock_offset_s, **answer})
            else:
                maker.call("schedule", name=fault.name, action=request, timeline=dict(step.timeline))
        except AgentRefused as error:
            del self.applied[fault.name, fault.host]
            raise StepFailed(f"the fault {fault.name} could not be applied: {error}") from None

    def heal(self, keys: Sequence[tuple[str, str]]) -> None:
        """Take faults back, each after what it touched was counted. Raises the first error after trying all."""
        errors: list[LabctlError] = []
        for key in keys:
            fault = self.applied.pop(key)
            try:
                answer = self._maker(fault).call("undo", name=fault.name)
                if answer["packets"] is not None or answer["ran"]:
                    self._removed(fault, answer)
            except LabctlError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _maker(self, fault: FaultPlan) -> AgentClient | HostFaults:
        """Who makes a fault and takes it back: the host's agent, or the engine for what only an engine can do."""
        if fault.engine is None:
            return self.agents[fault.host]
        if fault.host not in self.by_engine:
            self.by_engine[fault.host] = HostFaults(
                self.hosts.engine, self.agents[fault.host], self.hosts.hear
            )
        return self.by_engine[fault.host]

    def _applied(self, fault: FaultPlan, message: Mapping[str, Any]) -> None:
        self.record.event(
            "fault-applied", step=self.steps[fault.name, fault.host],
            t=self.hosts.at(fault.host, message["time"]), name=fault.name, kind=fault.kind, host=fault.host,
            interface=message.get("interface", fault.interface), backend=message.get("backend", fault.backend),
            asked=self.hosts.at(fault.host, message["asked"]),
            ran=message["ran"], commands=[r["argv"] for r in message["ran"]],
        )  # fmt: skip

    def _removed(self, fault: FaultPlan, message: Mapping[str, Any]) -> None:
        self.record.event(
            "fault-removed", t=self.hosts.at(fault.host, message["time"]), name=fault.name, host=fault.host,
            packets=message["packets"], ran=message["ran"],
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
