"""What stands between the faults of one interface and direction and the kernel: the shape both backends have."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, Protocol

from .action import ActionFailed
from .command import Ran
from .linkclass import LinkClass
from .linkspec import Spec

Direction = Literal["egress", "ingress"]
BACKENDS = ("netem", "nfqueue")


class LinkRefused(ActionFailed):
    """A link fault that cannot be; the message says why. `ran` is what was tried."""

    def __init__(self, message: str, ran: list[Ran] | None = None) -> None:
        Exception.__init__(self, message)
        self.ran = ran or []


@dataclass(frozen=True)
class Where:
    """One interface, one direction: what leaves it or what arrives on it."""

    device: str
    direction: Direction

    def __str__(self) -> str:
        return f"{self.direction} of {self.device}"


@dataclass
class Effect:
    """Packets of one class, counted since its port was opened. What a backend cannot tell apart stays None."""

    seen: int = 0
    delayed: int = 0
    lost: int = 0
    over_limit: int = 0
    duplicated: int | None = None
    corrupted: int | None = None
    reordered: int | None = None
    unsent: int | None = None

    def add(self, later: Effect, earlier: Effect) -> None:
        """Count what happened between two readings."""
        for f in fields(self):
            now, before, own = getattr(later, f.name), getattr(earlier, f.name), getattr(self, f.name)
            if now is not None:
                setattr(self, f.name, (own or 0) + max(0, now - (before or 0)))

    def touched(self, spec: Spec) -> int:
        """How many packets a fault that asks for `spec` has done something to.

        Where the kernel does not count what happened (netem and duplicates, corruption), every packet it had is counted.
        """
        if spec.delay_s or spec.jitter_s or spec.rate_bps or spec.slot:
            return self.delayed + self.lost
        parts = [self.lost if spec.loss or spec.loss_gemodel or spec.loss_state else 0]
        for name, asked in (("duplicated", spec.duplicate), ("corrupted", spec.corrupt), ("reordered", spec.reorder)):
            if asked:
                counted: int | None = getattr(self, name)
                parts.append(self.seen if counted is None else counted)
        return max(sum(parts), self.over_limit)

    def of(self, spec: Spec) -> dict[str, int]:
        """What was done of that which `spec` asks for, to how many of the packets that were `seen`.

        What the backend cannot count is left out. What nobody asks for is in it where it happened: packets over the limit, and
        those that could not be sent on.
        """
        asked = {
            "delayed": bool(spec.delay_s or spec.jitter_s or spec.rate_bps or spec.slot),
            "lost": bool(spec.loss or spec.loss_gemodel or spec.loss_state),
            "duplicated": bool(spec.duplicate),
            "corrupted": bool(spec.corrupt),
            "reordered": bool(spec.reorder),
            "over_limit": bool(self.over_limit),
            "unsent": bool(self.unsent),
        }
        counted = {name: getattr(self, name) for name, wanted in asked.items() if wanted}
        return {"seen": self.seen, **{name: count for name, count in counted.items() if count is not None}}


class Port(Protocol):
    """One interface and direction, as a backend keeps it."""

    backend: str

    def stage(self, classes: tuple[LinkClass, ...]) -> None:
        """Have ready what these classes will need first and no packet notices. Raises LinkRefused."""

    def set(self, classes: tuple[LinkClass, ...]) -> list[Ran]:
        """Make the kernel do this from now on, losing no packet; all or nothing. Raises LinkRefused."""

    def effects(self) -> dict[str, Effect]:
        """What each class did, by its key; classes that went are in it still. Raises LinkRefused."""

    def close(self, drain_s: float) -> list[Ran]:
        """End it: first the effect, then, when what is held has gone on (at most drain_s), everything. Never raises."""
