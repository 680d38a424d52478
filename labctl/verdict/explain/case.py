"""One program's part of the evidence, as explanations look at it: its packets, its connection, the names of things."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from labctl.evidence.packets import Packet
from labctl.evidence.record import Evidence, FaultRecord, ProgramRecord, Sample
from labctl.evidence.shapes import number as is_number
from labctl.faults.base import Fault
from labctl.scenario.model import FaultStep, Scenario
from labctl.verdict.programs import unreturned

SHOWN = 6


@dataclass(frozen=True)
class Flow:
    """One connection, or a UDP socket and its peer, as its own end knows it: own port, peer's address and port."""

    port: int
    remote: str
    peer: int
    local: str | None = None

    def sent(self, packet: Packet) -> bool:
        return (packet.sport, packet.destination, packet.dport) == (self.port, self.remote, self.peer)

    def heard(self, packet: Packet) -> bool:
        return (packet.source, packet.sport, packet.dport) == (self.remote, self.peer, self.port)

    def has(self, packet: Packet) -> bool:
        return self.sent(packet) or self.heard(packet)


@dataclass(frozen=True)
class Case:
    """How one program ended, and all that can say why."""

    evidence: Evidence
    step: int
    program: ProgramRecord
    outcome: Mapping[str, Any]
    scenario: Scenario | None = None

    @property
    def host(self) -> str:
        return self.program.host

    @property
    def op(self) -> str:
        return str(self.outcome.get("op"))

    @property
    def errno(self) -> str | None:
        """The errno it ended in; None for success and for a limit of its own."""
        found = self.outcome.get("errno")
        return None if found is None else str(found)

    @property
    def timed_out(self) -> bool:
        """Whether its own limit ended it: no answer and no error."""
        return self.errno is None and bool(self.outcome.get("timed_out"))

    @property
    def in_vain(self) -> bool:
        """Whether its last call waited for what never came, until its own limit or a signal ended it."""
        return self.timed_out or unreturned(self.outcome)

    @property
    def ended(self) -> str:
        """Who ended the last call, one that waited in vain or one that the kernel gave up."""
        if unreturned(self.outcome):
            return f"{self.outcome.get('stopped', 'a signal')} ended it after {self.seconds:.1f} s"
        if self.timed_out:
            return f"the program's own limit ended it after {self.seconds:.1f} s"
        return f"the kernel gave up after {self.seconds:.1f} s"

    @property
    def seconds(self) -> float:
        """How long its last call took."""
        return float(self.outcome.get("ms", 0.0)) / 1000

    @property
    def first(self) -> int:
        """The step that started the program, or the one that saw it end where the record has no other."""
        return self.program.step if self.program.step in self.evidence.steps else self.step

    @cached_property
    def start(self) -> float:
        """When the step that started the program began: nothing before that is its doing."""
        return self.evidence.covered(self.step)[0]

    @cached_property
    def end(self) -> float:
        """When the next step began, after the one that saw it end."""
        return self.evidence.window(self.step)[1]

    @property
    def last(self) -> float:
        """When the program ended, and where that is not known when its step did: what came later it did not see."""
        return self.end if self.program.ended is None else self.program.ended

    @cached_property
    def own(self) -> frozenset[str]:
        """The addresses of its host."""
        return frozenset({*self.evidence.addresses.get(self.host, ()), "127.0.0.1", "::1"})

    @cached_property
    def packets(self) -> tuple[Packet, ...]:
        """What its host captured while it ran, in the order of time."""
        return self.at(self.host)

    def at(self, host: str) -> tuple[Packet, ...]:
        """What a host captured while the program ran; nothing where its capture is missing or not complete."""
        capture = self.evidence.captures.get(host)
        if capture is None or not capture.complete:
            return ()
        found = [p for p in self.evidence.packets[host] if self.start <= p.t < self.end]
        return tuple(sorted(found, key=lambda p: p.t))

    @cached_property
    def flow(self) -> Flow | None:
        """The connection that it had last, from its own words; None when it had none."""
        local, peer = endpoint(self.outcome.get("local")), endpoint(self.outcome.get("peer"))
        return None if local is None or peer is None else Flow(local[1], peer[0], peer[1], local[0])

    @cached_property
    def talk(self) -> tuple[Packet, ...]:
        """The packets of its connection, until the program had ended: what came later it did not see."""
        flow = self.flow
        return () if flow is None else tuple(p for p in self.packets if flow.has(p) and p.t <= self.last)

    def samples(self, host: str) -> list[Sample]:
        """The socket samples of a host that hold while the program ran."""
        return self.evidence.sampled(host, self.start, self.end)

    def name(self, address: str) -> str:
        """A host's name for its address; the address itself when it is nobody's."""
        known = self.evidence.addresses.items()
        return next((name for name, addresses in known if address in addresses), address)

    def settings(self, fault: FaultRecord) -> Fault | None:
        """What the scenario says of a fault; None when there is no scenario at hand or the step is another's."""
        if self.scenario is None or not 0 < fault.step <= len(self.scenario.steps):
            return None
        step = self.scenario.steps[fault.step - 1]
        return step.spec if isinstance(step, FaultStep) and step.fault == fault.name else None

    def argument(self, option: str) -> str | None:
        """What the program was given for an option: `--option=VALUE` or `--option VALUE`."""
        words = self.program.argv
        for index, word in enumerate(words):
            if word.startswith(option + "="):
                return word.partition("=")[2]
            if word == option and index + 1 < len(words):
                return words[index + 1]
        return None


def endpoint(text: object) -> tuple[str, int] | None:
    """`192.0.2.1:80` or `[::1]:80` as address and port."""
    if not isinstance(text, str):
        return None
    address, _, port = text.rpartition(":")
    return (address.strip("[]"), int(port)) if address and port.isdecimal() and len(port) < 6 else None


def as_number(value: object) -> float:
    """What a program reports as a number; 0 for what is none."""
    return float(value) if is_number(value) and isinstance(value, int | float) else 0.0


def numbers(packets: Iterable[Packet]) -> str:
    """`#1, #2, #3`, the first few."""
    given = list(packets)
    return ", ".join(f"#{p.number}" for p in given[:SHOWN]) + (", …" if len(given) > SHOWN else "")


def count(things: Sequence[object] | int, what: str) -> str:
    """`1 SYN`, `2 SYNs`."""
    number = things if isinstance(things, int) else len(things)
    return f"{number} {what}{'s' * (number != 1)}"


def span(packets: Iterable[Packet]) -> str:
    """`#5 to #14`, the first and the last; `#5` where there is but one."""
    found = sorted(p.number for p in packets)
    return f"#{found[0]}" if found[0] == found[-1] else f"#{found[0]} to #{found[-1]}"


def brief(seconds: float) -> str:
    """A time of which a tenth of a millisecond matters: `0.4 ms`, `85 ms`, `3.1 s`."""
    return f"{seconds * 1000:.1f} ms" if seconds < 0.00995 else lasting(seconds)


def lasting(seconds: float) -> str:
    """A time for people: `85 ms`, `3.1 s`."""
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"
