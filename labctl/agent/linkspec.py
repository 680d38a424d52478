"""What a link does to packets, as one value: merged from all faults on it, and said in tc-netem(8)'s words. Pure.

Times are seconds, probabilities percent (0 to 100), rates bits per second. A field that is 0 or empty is not asked for.
The driver imports this module to explain a plan, the agent to carry it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import reduce
from typing import Any

DEFAULT_LIMIT = 1000  # packets; what netem itself takes (tc/q_netem.c)
UINT32_MAX = 2**32 - 1
_NO_MEANING = "have no joint meaning; heal one of the faults first"

Seconds = float
Percent = float


@dataclass(frozen=True)
class Slot:
    """Delivery in bursts: a slot opens every min_s to max_s, or delay_s ± jitter_s by a distribution; tc-netem(8), slot."""

    min_s: Seconds = 0.0
    max_s: Seconds = 0.0
    distribution: str = ""
    delay_s: Seconds = 0.0
    jitter_s: Seconds = 0.0
    packets: int = 0
    size_bytes: int = 0

    @property
    def holds(self) -> bool:
        """Whether packets wait for it: one that opens at once is none to netem either (sch_netem.c, get_slot)."""
        return bool(self.min_s or self.max_s or self.delay_s or self.jitter_s)


@dataclass(frozen=True)
class Spec:
    """One link impairment, or several merged into one.

    `loss_gemodel` is (p, r, 1-h, 1-k), `loss_state` (p13, p31, p32, p23, p14), as tc-netem(8) orders them.
    """

    delay_s: Seconds = 0.0
    jitter_s: Seconds = 0.0
    delay_correlation: Percent = 0.0
    distribution: str = ""
    loss: Percent = 0.0
    loss_correlation: Percent = 0.0
    loss_gemodel: tuple[Percent, ...] = ()
    loss_state: tuple[Percent, ...] = ()
    duplicate: Percent = 0.0
    duplicate_correlation: Percent = 0.0
    corrupt: Percent = 0.0
    corrupt_correlation: Percent = 0.0
    reorder: Percent = 0.0
    reorder_correlation: Percent = 0.0
    gap: int = 0
    rate_bps: int = 0
    burst_bytes: int = 0
    overhead_bytes: int = 0
    cell_bytes: int = 0
    cell_overhead_bytes: int = 0
    limit: int = 0
    slot: Slot | None = None
    seed: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Only what is asked for, so that a record stays readable."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Spec:
        """The inverse of as_json. Raises TypeError for a field that does not exist."""
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
        if given.get("slot") is not None:
            given["slot"] = Slot(**given["slot"])
        return cls(**given)

    @property
    def is_neutral(self) -> bool:
        """Whether a packet passes through it untouched: a limit, a seed, a correlation or a reordering alone does nothing."""
        holds = self.delay_s or self.jitter_s or self.rate_bps or (self.slot is not None and self.slot.holds)
        return not (holds or self.loses or self.duplicate or self.corrupt)

    @property
    def loses(self) -> bool:
        """Whether it ever loses a packet."""
        p, _, bad, good = self.loss_gemodel or (0.0, 0.0, 0.0, 0.0)
        p13, _, _, _, p14 = self.loss_state or (0.0, 0.0, 0.0, 0.0, 0.0)
        return bool(self.loss or good or (p and bad) or p13 or p14)


    def reaching(self, goal: Mapping[str, Any]) -> Spec:
        """Everything that a ramp from here to these values asks for at one time or another: of each the larger."""
        return replace(self, **{name: max(getattr(self, name), value) for name, value in goal.items()})


def _plain(value: object) -> object:
    return asdict(value) if isinstance(value, Slot) else list(value) if isinstance(value, tuple) else value


class Contradiction(ValueError):
    """Faults that cannot be on one link together; the message says which fields and what to do."""


def merge(specs: Iterable[Spec]) -> Spec:
    """One spec that does to a packet what all of them do, in any order. Raises Contradiction.

    Delays and jitters add; independent probabilities combine as 1-(1-a)(1-b); the smaller limit holds; a random loss joins
    a Gilbert-Elliott model in both of its states; a uniform distribution is none. What has no joint meaning (two rates, two
    seeds, …) is refused.
    """
    return reduce(_merge_two, (replace(s, distribution="") if s.distribution == "uniform" else s for s in specs), Spec())


def _merge_two(a: Spec, b: Spec) -> Spec:
    loss: dict[str, Any] = {
        "loss": _either(a.loss, b.loss),
        "loss_gemodel": _one(a, b, "loss_gemodel", "two loss_gemodel"),
        "loss_state": _one(a, b, "loss_state", "two loss_state"),
    }
    if loss["loss_gemodel"] and loss["loss"]:
        p, r, bad, good = loss["loss_gemodel"]
        loss |= {"loss": 0.0, "loss_gemodel": (p, r, _either(bad, loss["loss"]), _either(good, loss["loss"]))}
    if loss["loss_state"] and (loss["loss"] or loss["loss_gemodel"]):
        raise Contradiction(f"a 4-state loss model and another loss {_NO_MEANING}")
    limits = [x.limit for x in (a, b) if x.limit]
    rate = b if b.rate_bps else a
    if a.rate_bps and b.rate_bps:
        raise Contradiction(f"two rates on one link {_NO_MEANING}, or give one rate")
    if a.seed is not None and b.seed is not None and a.seed != b.seed:
        raise Contradiction(f"two seeds on one link {_NO_MEANING}, or give both the same")
    return Spec(
        delay_s=round(a.delay_s + b.delay_s, 9),
        jitter_s=round(a.jitter_s + b.jitter_s, 9),
        delay_correlation=_correlation(a, b, "delay_correlation", "jitter_s"),
        distribution=_one(a, b, "distribution", "two distributions"),
        **loss,
        loss_correlation=_correlation(a, b, "loss_correlation", "loss"),
        duplicate=_either(a.duplicate, b.duplicate),
        duplicate_correlation=_correlation(a, b, "duplicate_correlation", "duplicate"),
        corrupt=_either(a.corrupt, b.corrupt),
        corrupt_correlation=_correlation(a, b, "corrupt_correlation", "corrupt"),
        reorder=_either(a.reorder, b.reorder),
        reorder_correlation=_correlation(a, b, "reorder_correlation", "reorder"),
        gap=_one(a, b, "gap", "two gaps"),
        rate_bps=rate.rate_bps,
        burst_bytes=rate.burst_bytes,
        overhead_bytes=rate.overhead_bytes,
        cell_bytes=rate.cell_bytes,
        cell_overhead_bytes=rate.cell_overhead_bytes,
        limit=min(limits, default=0),
        slot=_one(a, b, "slot", "two slots"),
        seed=b.seed if a.seed is None else a.seed,
    )


def _either(a: Percent, b: Percent) -> Percent:
    """The probability that at least one of two independent things happens."""
    return a or b if not (a and b) else round(100 - (100 - a) * (100 - b) / 100, 9)


def _one(a: Spec, b: Spec, name: str, both: str) -> Any:
    x, y = getattr(a, name), getattr(b, name)
    if x and y and x != y:
        raise Contradiction(f"{both} on one link {_NO_MEANING}, or give both the same")
    return x or y


def _correlation(a: Spec, b: Spec, name: str, of: str) -> Percent:
    """A correlation belongs to its probability: it stays while only one of the two has one, or both the same."""
    asked = {getattr(x, name) for x in (a, b) if getattr(x, of) or getattr(x, name)}
    if len(asked) > 1:
        values = " and ".join(f"{value:g}%" for value in sorted(asked))
        raise Contradiction(f"{name} {values} on one link have no joint meaning; give both faults the same")
    return asked.pop() if asked else 0.0


def netem_args(spec: Spec, before: Spec | None = None) -> tuple[str, ...]:
    """The arguments after `netem`, as tc-netem(8) has them.

    With `before` they change a qdisc that holds it: the kernel keeps what a change does not mention (net/sched/sch_netem.c,
    netem_change: an absent attribute is not touched), so what is no longer asked for is set to nothing by name. A distribution
    cannot be: see `linktree.after`.
    """
    old = before or Spec()
    correlated = any(
        (s.delay_correlation, s.loss_correlation, s.duplicate_correlation) != (0.0, 0.0, 0.0) for s in (spec, old)
    )
    args = ["limit", str(spec.limit or DEFAULT_LIMIT)]
    args += _delay_args(spec, correlated)
    args += _loss_args(spec, correlated)
    args += _chance_args("duplicate", spec.duplicate, spec.duplicate_correlation, bool(old.duplicate))
    args += _chance_args("corrupt", spec.corrupt, spec.corrupt_correlation, bool(old.corrupt))
    args += _chance_args("reorder", spec.reorder, spec.reorder_correlation, bool(old.reorder))
    args += ["gap", str(spec.gap)] if spec.gap else []
    args += _rate_args(spec, old)
    args += _slot_args(spec.slot, old.slot is not None)
    args += ["seed", str(spec.seed)] if spec.seed is not None else []
    return tuple(args)


def _delay_args(spec: Spec, correlated: bool) -> list[str]:
    if not (spec.delay_s or spec.jitter_s or correlated):
        return []
    args = ["delay", usec(spec.delay_s)]
    if spec.jitter_s or correlated:
        args.append(usec(spec.jitter_s))
    if correlated:
        args.append(percent(spec.delay_correlation))
    if spec.jitter_s and spec.distribution and spec.distribution != "uniform":
        args += ["distribution", spec.distribution]
    return args


def _loss_args(spec: Spec, correlated: bool) -> list[str]:
    if spec.loss_gemodel:
        return ["loss", "gemodel", *map(percent, spec.loss_gemodel)]
    if spec.loss_state:
        return ["loss", "state", *map(percent, spec.loss_state)]
    if spec.loss or correlated:
        return ["loss", "random", percent(spec.loss), *([percent(spec.loss_correlation)] if correlated else [])]
    return []


def _chance_args(word: str, chance: Percent, correlation: Percent, was: bool) -> list[str]:
    if not chance and not was:
        return []
    return [word, percent(chance), *([percent(correlation)] if correlation else [])]


def _rate_args(spec: Spec, old: Spec) -> list[str]:
    if not spec.rate_bps:
        return ["rate", "0bit"] if old.rate_bps else []
    extra = (spec.overhead_bytes, spec.cell_bytes, spec.cell_overhead_bytes)
    needed = max((i for i, value in enumerate(extra, 1) if value), default=0)
    return ["rate", bits(spec.rate_bps), *map(str, extra[:needed])]


def _slot_args(slot: Slot | None, was: bool) -> list[str]:
    if slot is None:
        return ["slot", "0s", "0s"] if was else []
    if slot.distribution:
        args = ["slot", "distribution", slot.distribution, usec(slot.delay_s), usec(slot.jitter_s)]
    else:
        args = ["slot", usec(slot.min_s), usec(slot.max_s)]
    args += ["packets", str(slot.packets)] if slot.packets else []
    return args + (["bytes", str(slot.size_bytes)] if slot.size_bytes else [])


def usec(seconds: Seconds) -> str:
    """A time as tc writes it, exact to the microsecond: `100ms`, `1500us`, `2s`."""
    us = round(seconds * 1e6)
    for unit, scale in (("s", 10**6), ("ms", 10**3)):
        if us and us % scale == 0:
            return f"{us // scale}{unit}"
    return f"{us}us"


def bits(rate_bps: int) -> str:
    """A rate as tc writes it, exact to the bit: `10mbit`, `1500bit`."""
    for unit, scale in (("gbit", 10**9), ("mbit", 10**6), ("kbit", 10**3)):
        if rate_bps and rate_bps % scale == 0:
            return f"{rate_bps // scale}{unit}"
    return f"{rate_bps}bit"


def percent(value: Percent) -> str:
    """A percentage as tc reads it, without an exponent: `5%`, `0.125%`."""
    return f"{value:.7f}".rstrip("0").rstrip(".") + "%"
