"""Link faults: which are on, on which interface and direction, and the kernel made to match.

Faults are not undone command by command: those on one interface are merged, and when one comes, changes or goes the port of
that interface is brought to what the others still ask for.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

from . import netlink
from .action import Proof
from .claims import Claims
from .command import Ran
from .linkclass import LinkClass, LinkFault, classes
from .linknetem import NetemPort
from .linkport import BACKENDS, Direction, Effect, LinkRefused, Port, Where
from .linkqueue import QueuePort, Spares, chain
from .linkspec import Contradiction, Spec
from .probes import Support, netem

DRAIN_S = 1.0
LOSE = -1.0  # in the place of seconds to drain: what is held is lost, as the host that holds it dies


@dataclass
class Links:
    """All link faults of one network namespace. Thread-safe."""

    probe: Callable[[], Support] = netem
    spares: Spares = field(default_factory=Spares)
    claims: Claims = field(default_factory=Claims)
    drain_s: float = DRAIN_S
    _ports: dict[Where, Port] = field(default_factory=dict)
    _faults: dict[Where, dict[object, LinkFault]] = field(default_factory=dict)
    _read: dict[Where, dict[str, Effect]] = field(default_factory=dict)
    _effects: dict[tuple[object, Where], Effect] = field(default_factory=dict)
    _staged: dict[Where, tuple[object, int, tuple[int, ...]]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _support: Support | None = None

    def backend(self, asked: str) -> str:
        """`netem` or `nfqueue`: what is asked, or for `auto` netem where the kernel has it."""
        return asked if asked in BACKENDS else "netem" if self._netem() != "none" else "nfqueue"

    def learn(self, found: dict[str, Any]) -> None:
        """What `probes.capabilities` found, so that it need not be found again."""
        self._support = "none" if not found["netem"] else "seed" if found["seed"] else "plain"

    def _netem(self) -> Support:
        with self._lock:
            if self._support is None:
                self._support = self.probe()
            return self._support

    def stage(
        self, owner: object, parts: dict[Where, LinkFault], backend: str, seed: int, families: tuple[int, ...]
    ) -> None:
        """Have ready what a fault needs that is the first at its places; `take` lets go of it.

        What is refused now is told when the fault is put, if it is refused then.
        """
        with self._lock:
            for where in [w for w in parts if w not in self._ports]:
                try:
                    port = self._port(where, backend, seed, families)
                    self._staged[where] = owner, seed, families
                    port.stage(self._classes({owner: parts[where]}))
                except LinkRefused:
                    self._restore(where, {})

    def put(
        self, owner: object, parts: dict[Where, LinkFault], backend: str, seed: int, families: tuple[int, ...]
    ) -> list[Ran]:
        """Add a fault, or change one that is there (`owner` says which). All of its parts or none. Raises LinkRefused."""
        with self._lock:
            before = {where: dict(self._faults.get(where, {})) for where in parts}
            after = {where: {**before[where], owner: fault} for where, fault in parts.items()}
            planned = {where: self._classes(faults) for where, faults in after.items()}
            ran: list[Ran] = []
            done: list[Where] = []
            try:
                for where, wanted in planned.items():
                    done.append(where)
                    self._tally(where)
                    ran += self._port(where, backend, seed, families).set(wanted)
                    self._faults[where] = after[where]
                    self._staged.pop(where, None)
            except LinkRefused as error:
                ran += [r for r in error.ran if r not in ran]
                for where in reversed(done):
                    ran += self._restore(where, before[where])
                raise LinkRefused(str(error), ran) from None
            return ran

    def take(self, owner: object) -> list[Ran]:
        """Remove a fault; the others on its interfaces stay. Never raises; commands that failed are in the answer."""
        with self._lock:
            ran: list[Ran] = []
            for where in [w for w, (stager, *_) in self._staged.items() if stager is owner]:
                ran += self._restore(where, {})
            for where in [w for w, faults in self._faults.items() if owner in faults]:
                with contextlib.suppress(LinkRefused):  # an emulator that died cannot tell; its rules must go all the same
                    self._tally(where)
                left = {o: f for o, f in self._faults[where].items() if o is not owner}
                ran += self._restore(where, left)
            return ran

    def _restore(self, where: Where, faults: dict[object, LinkFault]) -> list[Ran]:
        """Bring a port to these faults, which were on it together before, or close it when there are none."""
        self._faults[where] = faults
        self._staged.pop(where, None)
        port = self._ports.get(where)
        if port is None:
            return []
        if faults:
            try:
                return port.set(self._classes(faults))
            except LinkRefused as error:
                return [*error.ran, Ran(("labctl-link", str(where)), None, "", str(error), 0.0)]
        ran = port.close(self.drain_s)
        del self._ports[where], self._faults[where]
        self._read.pop(where, None)
        return ran

    def _classes(self, faults: dict[object, LinkFault]) -> tuple[LinkClass, ...]:
        try:
            return classes(faults.values())
        except Contradiction as error:
            raise LinkRefused(str(error)) from None

    def _port(self, where: Where, backend: str, seed: int, families: tuple[int, ...]) -> Port:
        if where in self._staged and self._staged[where][1:] != (seed, families):
            self._restore(where, {})  # what another fault has made ready is of no use to this one
        port = self._ports.get(where)
        if port is not None:
            if port.backend != backend:
                raise LinkRefused(f"the {where} has a link fault by {port.backend}; it cannot have another by {backend}")
            return port
        try:
            index = socket.if_nametoindex(where.device)
        except OSError:
            raise LinkRefused(f"there is no interface {where.device} here") from None
        if backend == "netem":
            port = NetemPort(where, index, seed if self._netem() == "seed" else None, self.claims)
        else:
            port = QueuePort(where, families, seed, index, self.spares)
        self._ports[where] = port
        return port

    def _tally(self, where: Where) -> None:
        """Give every fault on a port its part of what happened there since the last look."""
        port = self._ports.get(where)
        faults = self._faults.get(where)
        if port is None or not faults:
            return
        now, before = port.effects(), self._read.get(where, {})
        for one in self._classes(faults):
            if one.key in now:
                for owner, fault in faults.items():
                    if fault.name in one.faults:
                        effect = self._effects.setdefault((owner, where), Effect())
                        effect.add(now[one.key], before.get(one.key, Effect()))
        self._read[where] = now

    def effect(self, owner: object) -> dict[Where, Effect]:
        """What a fault's packets met since it was put, by place. Raises LinkRefused when the kernel cannot be asked."""
        with self._lock:
            for where, faults in self._faults.items():
                if owner in faults:
                    self._tally(where)
            return {where: effect for (o, where), effect in self._effects.items() if o is owner}

    def forget(self, owner: object) -> None:
        """Drop what was counted for a fault that is gone."""
        self._effects = {key: effect for key, effect in self._effects.items() if key[0] is not owner}

    def close(self) -> None:
        """The agent is ending: hold nobody up."""
        self.drain_s = 0.0
        self.spares.close()


class LinkAction:
    """One link fault at one host, as the journal and the timeline know it.

    Its request: {"type": "link", "name": ..., "backend": "auto", "seed": 1, "families": [4], "parts": [{"device": "eth0" or
    null, "toward": [addresses], "direction": "egress", "spec": {...}, "target": [...]}], "ramp": {"over_s": 5, "spec": {...}}}.
    A part without a device is for the interface that leads to the first address of `toward` which has a route.
    """

    def __init__(self, links: Links, request: dict[str, Any]) -> None:
        self._links, self._request = links, request
        self.name: str = request["name"]
        ramp = request.get("ramp")
        self.ramp_s: float = ramp["over_s"] if ramp else 0.0
        self._goal: dict[str, Any] = ramp["spec"] if ramp else {}
        self._counted: int | None = None
        for part in request["parts"]:
            LinkFault.from_json(self.name, part)  # what is wrong with it is said before it is due

    def about(self) -> dict[str, Any]:
        """What the record says of it: the backend that was chosen and where it is."""
        return {"backend": self._backend(), "interface": ", ".join(dict.fromkeys(w.device for w in self._parts()))}

    def claims(self) -> list[str]:
        """What it shares with no other agent: each interface and direction. Raises LinkRefused."""
        return [chain(where) for where, _ in self._wheres()]

    def stage(self) -> None:
        self._links.stage(self, *self._asked(0.0))

    def do(self) -> list[Ran]:
        return self._put(0.0)

    def progress(self, fraction: float) -> list[Ran]:
        return self._put(fraction)

    def undo(self) -> list[Ran]:
        ran = self._links.take(self)
        self._links.forget(self)
        return ran

    def count(self) -> int:
        return self.proof().packets or 0

    def proof(self) -> Proof:
        """What it did at all its interfaces and directions together; see `Effect`."""
        found = self._effects()
        total: Counter[str] = Counter()
        for spec, effect in found:
            total.update(effect.of(spec))
        return Proof(sum(effect.touched(spec) for spec, effect in found), dict(total))

    def _effects(self) -> list[tuple[Spec, Effect]]:
        """For each of its places all that it asks for there, a ramp's goal too, and what came of it."""
        found = self._links.effect(self)
        specs = {where: Spec.from_json(part["spec"]).reaching(self._goal) for where, part in self._wheres()}
        return [(spec, found[where]) for where, spec in specs.items() if where in found]

    def _put(self, fraction: float) -> list[Ran]:
        return self._links.put(self, *self._asked(fraction))

    def _asked(self, fraction: float) -> tuple[dict[Where, LinkFault], str, int, tuple[int, ...]]:
        """What is asked of `Links`: where what, by which backend, with which seed, for which address families."""
        seed, families = self._request.get("seed", 0), tuple(self._request.get("families", (4,)))
        return self._parts(fraction), self._backend(), seed, families

    def _backend(self) -> str:
        return self._links.backend(self._request.get("backend", "auto"))

    def _parts(self, fraction: float = 0.0) -> dict[Where, LinkFault]:
        return {
            where: replace(LinkFault.from_json(self.name, part), spec=self._spec(part, fraction))
            for where, part in self._wheres()
        }

    def _spec(self, part: dict[str, Any], fraction: float) -> Spec:
        """The spec on the way to the ramp's goal: each number a straight line from what it was."""
        spec = Spec.from_json(part["spec"])
        start = {name: getattr(spec, name) for name in self._goal}
        return replace(spec, **{
            name: type(start[name])(start[name] + (goal - start[name]) * fraction) for name, goal in self._goal.items()
        })  # fmt: skip

    def _wheres(self) -> list[tuple[Where, dict[str, Any]]]:
        found: dict[Where, dict[str, Any]] = {}
        for part in self._request["parts"]:
            device = part.get("device") or device_toward(part["toward"])
            found.setdefault(Where(device, cast(Direction, part["direction"])), part)
        return list(found.items())


def device_toward(addresses: list[str]) -> str:
    """The interface that leads to the first of the addresses that has a route. Raises LinkRefused."""
    for address in addresses:
        try:
            return socket.if_indextoname(netlink.route_device(address))
        except OSError:
            continue
    raise LinkRefused(f"no interface leads to {', '.join(addresses)}")
