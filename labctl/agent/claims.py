"""Whose a chain, a qdisc or an interface is: who holds a socket of its name lives, so what nobody holds is a dead agent's.

Several agents may live in one network namespace (a run's, and the one that holds what is broken by hand), and one that was
killed took nothing back. The sockets are abstract ones (unix(7)): each network namespace has its own, and the kernel closes
them with the process, however it ends. What a name is held for is a name too, and the kernel lists all of them
(/proc/net/unix, proc_net(5)), so who finds one taken can say by which fault, and whose that is:

    @labctl/LABCTL-E-eth2                       held: nobody else may change it
    @labctl+5b0c…/LABCTL-E-eth2/link/slow       by the agent 5b0c…, for its link fault `slow`
    @labctl@5b0c…/20261125T232801Z-first-c508   that agent works for this run; for nobody it works by hand
    @labctl*91d2…/offloads eth2/ffff:4b.0.0     somebody tells this of the interface
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .action import Action

SPACE = "labctl"
FAULT = "LABCTL-"
LONGEST = 107  # of an abstract name (unix(7), sun_path)
HELD_TIMEOUT_S = 10.0
POLL_S = 0.005
_PLACES = {"LABCTL-E-": "what leaves {} has", "LABCTL-I-": "what arrives on {} has", "interface ": "the interface {} has"}


@dataclass(frozen=True)
class Holder:
    """What a claim is held for: a fault and its kind, and whose it is: the run's `by`; empty when somebody put it by hand."""

    claim: str
    fault: str
    kind: str
    by: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        place = next((p.format(self.claim[len(w) :]) for w, p in _PLACES.items() if self.claim.startswith(w)), None)
        fault = f"{place} the {self.kind} fault {self.fault} already" if place else f"there is a fault {self.fault} already"
        whose = f"of the run {self.by}: wait until that has ended" if self.by else (
            f"put by hand: `labctl fault remove {self.fault}` takes it away"
        )  # fmt: skip
        return f"{fault}, {whose}"


class Taken(Exception):
    """Another agent holds what a fault needs; the message says for which fault, and what to do."""


def _address(name: str) -> bytes:
    return b"\0" + name.encode()[:LONGEST]


def is_held(name: str, space: str = SPACE) -> bool:
    """Whether a process in this network namespace holds the name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(_address(f"{space}/{name}"))  # a datagram socket: the holder hears nothing, and need not answer
        except ConnectionRefusedError:
            return False
    return True


def holders(space: str = SPACE) -> dict[str, list[Holder]]:
    """What is held for faults in this network namespace, by the agent that holds it."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    works_for: dict[str, str] = {}
    for name in _names():
        if name.startswith(f"{space}+"):
            agent, claim, kind, fault = name[len(space) + 1 :].split("/", 3)
            found.setdefault(agent, []).append((claim, fault, kind))
        elif name.startswith(f"{space}@"):
            agent, _, works_for_whom = name[len(space) + 1 :].partition("/")
            works_for[agent] = works_for_whom
    return {agent: [Holder(*one, works_for.get(agent, "")) for one in sorted(held)] for agent, held in found.items()}


def _names() -> Iterator[str]:
    """The abstract names of this network namespace."""
    for line in Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()[1:]:
        if "@" in line:
            words = line.split(maxsplit=7)
            if len(words) == 8 and words[7].startswith("@"):
                yield words[7][1:]


@dataclass
class Claims:
    """The names that this process holds. Thread-safe."""

    space: str = SPACE
    agent: str = field(default_factory=lambda: os.urandom(4).hex())
    _held: dict[str, socket.socket] = field(default_factory=dict)
    _faults: dict[str, dict[str, socket.socket]] = field(default_factory=dict)
    _works_for: socket.socket | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def introduce(self, run: str) -> None:
        """Say to others for which run this agent works."""
        with self._lock:
            if self._works_for is None:
                self._works_for = _bound(f"{self.space}@{self.agent}/{run}")

    def take(self, fault: str, kind: str, names: Sequence[str]) -> None:
        """Hold names for a fault of this agent, which may share them with its others. Raises Taken, and holds none of them."""
        with self._lock:
            noted = self._faults.setdefault(fault, {})
            for name in names:
                if not self.hold(name):
                    self.drop(fault)
                    raise Taken(self.why_taken(name))
                if name not in noted and (note := _bound(f"{self.space}+{self.agent}/{name}/{kind}/{fault}")) is not None:
                    noted[name] = note

    def drop(self, fault: str) -> None:
        """Let go what was held for a fault, but for what others of this agent hold as well."""
        with self._lock:
            for name, note in self._faults.pop(fault, {}).items():
                note.close()
                if not any(name in held for held in self._faults.values()):
                    self.release(name)

    def why_taken(self, name: str) -> str | None:
        """Why a name cannot be held here, as it is another's; None when it can."""
        with self._lock:
            if name in self._held or not is_held(name, self.space):
                return None
        return next((str(h) for h in self.others() if h.claim == name), f"another agent holds {name} here")

    def others(self) -> list[Holder]:
        """What other agents hold for faults in this network namespace."""
        return [one for agent, held in holders(self.space).items() if agent != self.agent for one in held]

    def hold(self, name: str) -> bool:
        """Hold a name from now on; False when another process has it. Held already: nothing happens."""
        with self._lock:
            if name not in self._held and (channel := _bound(f"{self.space}/{name}")) is not None:
                self._held[name] = channel
            return name in self._held

    def release(self, name: str) -> None:
        """Let a name go; what was made under it is gone."""
        with self._lock:
            if channel := self._held.pop(name, None):
                channel.close()

    def tell(self, name: str, value: str) -> socket.socket | None:
        """Have every agent here know a value under a name (short, the name without a slash), until what it gives is closed."""
        return _bound(f"{self.space}*{os.urandom(4).hex()}/{name}/{value}")

    def told(self, name: str) -> list[str]:
        """What agents here, this one as well, tell under a name."""
        words = [known[len(self.space) + 1 :].split("/", 2) for known in _names() if known.startswith(f"{self.space}*")]
        return [said for _, about, said in words if about == name]

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Hold a name while the block runs; another who has it is waited for. Raises TimeoutError."""
        deadline = time.monotonic() + HELD_TIMEOUT_S
        while not self.hold(name):
            if time.monotonic() > deadline:
                raise TimeoutError(f"another agent has held {name} for {HELD_TIMEOUT_S:g}s")
            time.sleep(POLL_S)
        try:
            yield
        finally:
            self.release(name)

    def close(self) -> None:
        """Let everything go."""
        with self._lock:
            for fault in list(self._faults):
                self.drop(fault)
            for name in list(self._held):
                self.release(name)
            if self._works_for is not None:
                self._works_for.close()
                self._works_for = None


def needed(name: str, action: Action) -> list[str]:
    """The names that a fault holds while it is in place: that of its chain, and what its action shares with no other agent.

    Raises what the action does when it cannot tell.
    """
    shared: list[str] = action.claims() if hasattr(action, "claims") else []
    return [f"{FAULT}{name}", *shared]


def _bound(name: str) -> socket.socket | None:
    """A socket of this name; None when there is one already."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        channel.bind(_address(name))
    except OSError:
        channel.close()
        return None
    return channel
