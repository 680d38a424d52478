"""Which of the packets that match are touched: the n-th, the first n, every n-th, some by chance, those above a rate.

Sources: iptables-extensions(8), matches statistic, recent and hashlimit; net/netfilter/xt_statistic.c, xt_hashlimit.c. All
selections of one fault share one chain, so several peers are counted together; IPv4 and IPv6 are counted apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field, StrictInt, WithJsonSchema, model_validator

from labctl.faults.chain import Match
from labctl.faults.cycle import cycles
from labctl.faults.match import Packets
from labctl.units import Percent

# xt_statistic counts in 31 bits and begins anew after `every` packets; a cycle that long never ends.
NEVER_AGAIN = 2**31 - 1
# xt_hashlimit holds credits for a day at most (MAX_CPJ): more overflows, and the kernel refuses the rule.
MOST_CREDIT_S = 86400
MOST_PER_S = 10_000  # above it, its rounding of the interval between packets is more than 1 %
PERIODS_S = {"s": 1, "m": 60, "h": 3600}
UNITS = {"s": "sec", "m": "min", "h": "hour"}


@dataclass(frozen=True)
class PacketRate:
    """So many packets in so long: `count` each `unit` (s, m or h)."""

    count: int
    unit: str

    @property
    def period_s(self) -> float:
        """Seconds between two packets."""
        return PERIODS_S[self.unit] / self.count

    def __str__(self) -> str:
        return f"{self.count}/{self.unit}"


def _packet_rate(value: object) -> object:
    if isinstance(value, PacketRate):
        return value
    found = re.fullmatch(r"\s*0*([0-9]+)\s*/\s*([smh])\s*", str(value))
    if found is None:
        raise ValueError(f"{str(value)[:40]!r} is no rate of packets; write a number and a unit, like 100/s, 10/m or 5/h")
    rate = PacketRate(int(found[1][:19]), found[2])  # of more digits these are too many already
    if not rate.count or 1 / rate.period_s > MOST_PER_S:
        raise ValueError(f"a rate of packets is from 1/h to {MOST_PER_S}/s, and {str(value)[:40]} is not; write one like 100/s")
    return rate


class Selection(Packets):
    """Base of the faults that may touch some of the packets that match, and leave the rest alone."""

    nth: StrictInt | None = Field(default=None, ge=1, lt=NEVER_AGAIN, description="Only the n-th packet that matches, once.")
    first: StrictInt | None = Field(default=None, ge=1, lt=NEVER_AGAIN, description="Only the first n packets that match.")
    every: StrictInt | None = Field(default=None, ge=2, lt=NEVER_AGAIN, description="Every n-th packet: n, 2n, 3n and so on.")
    probability: Percent | None = Field(
        default=None, gt=0, lt=100, description="Each packet with this probability; which, the seed says."
    )
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] | None = Field(
        default=None,
        description="With probability: the same seed, the same packets, counted among those that match; "
        "from the run's seed when not given.",
    )
    above: (
        Annotated[
            PacketRate,
            BeforeValidator(_packet_rate),
            WithJsonSchema({"type": "string", "pattern": r"^\s*[0-9]+\s*/\s*[smh]\s*$", "examples": ["100/s"]}),
        ]
        | None
    ) = Field(default=None, description="Only what comes faster than so many packets a second (s), minute (m) or hour (h).")
    burst: StrictInt | None = Field(
        default=None, ge=1, le=10_000, description="How many may come at once before `above` counts; 5 when not given."
    )

    @model_validator(mode="after")
    def _selects_in_one_way(self) -> Selection:
        given = [key for key in ("nth", "first", "every", "probability", "above") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} select packets each in its own way; write one of them, or two faults")
        if self.seed is not None and self.probability is None:
            raise ValueError("seed repeats what is left to chance, and nothing is; write probability as well, like 30%")
        if self.burst is not None and self.above is None:
            raise ValueError("burst says how many packets above lets through at once; write above as well, like above: 100/s")
        if self.above is not None and self._burst * self.above.period_s > MOST_CREDIT_S:
            most = int(MOST_CREDIT_S / self.above.period_s)
            right = f"write burst: {most}, or a higher rate" if most else "write a higher rate"
            raise ValueError(f"the kernel keeps credit for a day, and {self._burst} packets at {self.above} are more; {right}")
        return self

    @property
    def _burst(self) -> int:
        return self.burst or 5

    def picks(self, chain: str, seed: str) -> list[Match]:
        """The rules of the chain, without what becomes of a packet: (match, or match and a helper's own jump).

        `seed` is for what is left to chance and has no seed of its own.
        """
        if self.nth is not None:
            return [_statistic(NEVER_AGAIN, self.nth - 1)]
        if self.first is not None:
            # The packet after the first n sets a mark that lasts; what finds the mark passes. The mask makes all packets one.
            recent = ("-m", "recent", "--name", chain, "--mask")
            return [
                (*_statistic(NEVER_AGAIN, self.first), *recent, "{none}", "--set", "-j", "RETURN"),
                (*recent, "{none}", "!", "--rcheck"),
            ]
        if self.every is not None:
            return [_statistic(self.every, self.every - 1)]
        if self.probability is not None:
            return _thrown(self.probability / 100, seed if self.seed is None else str(self.seed))
        if self.above is not None:
            rate = f"{self.above.count}/{UNITS[self.above.unit]}"
            limit = ("-m", "hashlimit", "--hashlimit-above", rate, "--hashlimit-burst", str(self._burst))
            return [(*limit, "--hashlimit-name", chain)]
        return [()]


def _thrown(share: float, seed: str) -> list[Match]:
    """Rules that hit this share of the packets, or, of more than half, pass by the others."""
    found = [_statistic(*nth) for part in cycles(min(share, 1 - share), seed) for nth in part.rules()]
    return found if share <= 0.5 else [*((*match, "-j", "RETURN") for match in found), ()]


def _statistic(every: int, packet: int) -> Match:
    return ("-m", "statistic", "--mode", "nth", "--every", str(every), "--packet", str(packet))
