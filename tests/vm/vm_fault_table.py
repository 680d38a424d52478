"""Link faults and what a real kernel's tc must say of them: the rows of the fault table, as data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labctl.agent.linktree import later_seed

ROOT_QDISC = "qdisc htb 1ab: dev eth0 root r2q 10 default 0x10 direct_packets_stat 0 direct_qlen 1000"
# Counts and numbers that the kernel chooses itself; a seed that was asked for, or made from one, is short and stays.
CHOSEN = re.compile(r" refcnt \d+| seed \d{11,}| fh \S+| chain \d+| pref \d+| not_in_hw")
IFB = re.compile(r"\blci\d+\b")


@dataclass(frozen=True)
class Row:
    """`faults`: link specs put one after the other and on together, but for the last `healed`, which are healed again.

    `says`: each of these lines must be in tc's listing.
    `netem` is short for the one line that most rows need: everything after `limit N` of the only netem qdisc.
    """

    name: str
    faults: tuple[Mapping[str, Any], ...]
    netem: str = ""
    says: tuple[str, ...] = ()
    limit: int = 1000
    healed: int = 0

    def __str__(self) -> str:
        return self.name

    @property
    def lines(self) -> tuple[str, ...]:
        """Every line that tc must say."""
        if self.says:
            return self.says
        return ROOT_QDISC, f"qdisc netem 1b0: dev eth0 parent 1ab:10 limit {self.limit} {self.netem}".rstrip()


def one(name: str, netem: str, **spec: Any) -> Row:
    """A row with one fault."""
    return Row(name, (spec,), netem)


PEER = {"family": 4, "destination": "198.18.0.9"}
TABLE = (
    one("delay", "delay 100ms", delay_s=0.1),
    one("microseconds", "delay 123us  45us", delay_s=0.000123, jitter_s=0.000045),
    one("jitter", "delay 100ms  20ms", delay_s=0.1, jitter_s=0.02),
    one("jitter-correlated", "delay 100ms  20ms 25%", delay_s=0.1, jitter_s=0.02, delay_correlation=25),
    one("distribution-normal", "delay 100ms  20ms", delay_s=0.1, jitter_s=0.02, distribution="normal"),
    one("distribution-pareto", "delay 100ms  20ms", delay_s=0.1, jitter_s=0.02, distribution="pareto"),
    one("loss", "loss 5% seed 7", loss=5, seed=7),
    one("loss-correlated", "loss 5% 25% seed 7", loss=5, loss_correlation=25, seed=7),
    one("loss-gemodel", "loss gemodel p 1% r 10% 1-h 70% 1-k 0.1% seed 7", loss_gemodel=[1, 10, 70, 0.1], seed=7),
    one(
        "loss-state", "loss state p13 1% p31 10% p32 5% p23 20% p14 0.5% seed 7", loss_state=[1, 10, 5, 20, 0.5], seed=7
    ),
    one("duplicate", "duplicate 5%", duplicate=5),
    one("duplicate-correlated", "duplicate 5% 25%", duplicate=5, duplicate_correlation=25),
    one("corrupt", "corrupt 0.125% seed 7", corrupt=0.125, seed=7),
    one("reorder", "delay 10ms reorder 25% gap 1", delay_s=0.01, reorder=25),
    one("reorder-gap", "delay 10ms reorder 25% 50% gap 5", delay_s=0.01, reorder=25, reorder_correlation=50, gap=5),
    one("rate", "rate 1Mbit", rate_bps=1_000_000),
    one(
        "rate-cells", "rate 1Mbit packetoverhead 20 cellsize 48 celloverhead 5",
        rate_bps=1_000_000, overhead_bytes=20, cell_bytes=48, cell_overhead_bytes=5,
    ),
    Row("limit", ({"delay_s": 0.1, "limit": 50},), "delay 100ms", limit=50),
    one("slot", "slot 80ms 120ms", slot={"min_s": 0.08, "max_s": 0.12}),
    one(
        "slot-limits", "slot 80ms 80ms packets 10 bytes 15000",
        slot={"min_s": 0.08, "max_s": 0.08, "packets": 10, "size_bytes": 15000},
    ),
    one(
        "slot-distribution", "slot distribution 50ms 10ms",
        slot={"distribution": "normal", "delay_s": 0.05, "jitter_s": 0.01},
    ),
    Row("two-delays", ({"delay_s": 0.04}, {"delay_s": 0.06}), "delay 100ms"),
    Row(
        "distribution-healed", ({"delay_s": 0.05, "jitter_s": 0.01}, {"jitter_s": 0.01, "distribution": "normal"}),
        "delay 50ms  10ms", healed=1,
    ),
    Row("delay-and-loss", ({"delay_s": 0.1}, {"loss": 5, "seed": 7}), "delay 100ms loss 5% seed 7"),
    Row("two-losses", ({"loss": 50, "seed": 7}, {"loss": 50}), f"loss 75% seed {later_seed(7, 1)}"),
    Row(
        "everything",
        ({"delay_s": 0.04, "jitter_s": 0.01, "distribution": "normal", "loss": 5, "seed": 7}, {"duplicate": 4, "corrupt": 2},
         {"reorder": 10}, {"rate_bps": 1_000_000, "limit": 100}),
        f"delay 40ms  10ms loss 5% duplicate 4% reorder 10% corrupt 2% rate 1Mbit seed {later_seed(7, 3)} gap 1", limit=100,
    ),
    Row(
        "rate-with-a-burst", ({"rate_bps": 1_000_000, "burst_bytes": 10_000},),
        says=(ROOT_QDISC, "class htb 1ab:1 root rate 1Mbit ceil 1Mbit burst 10000b cburst 10000b"),
    ),
    Row(
        "one-peer", ({"delay_s": 0.1}, {"loss": 100, "seed": 7, "target": [PEER]}),
        says=(
            ROOT_QDISC, "qdisc netem 1b1: dev eth0 parent 1ab:11 limit 1000 delay 100ms loss 100% seed 7",
            "qdisc netem 1b0: dev eth0 parent 1ab:10 limit 1000 delay 100ms",
        ),
    ),
    Row(
        "ingress", ({"delay_s": 0.1, "direction": "ingress"},),
        says=(
            "qdisc ingress ffff: dev eth0 parent ffff:fff1 ----------------",
            ROOT_QDISC.replace("eth0", "ifb").replace("1000", "32"),
            "qdisc netem 1b0: dev ifb parent 1ab:10 limit 1000 delay 100ms",
        ),
    ),
)  # fmt: skip


def as_argument(rows: Sequence[Row]) -> str:
    """The rows as guest/fault_table.py takes them."""
    return json.dumps([
        {"name": row.name, "faults": row.faults, **({"healed": row.healed} if row.healed else {})} for row in rows
    ])  # fmt: skip


def plain(line: str) -> str:
    """A line of tc without what the kernel chose."""
    return IFB.sub("ifb", CHOSEN.sub("", line))


def missing(row: Row, listing: Sequence[str]) -> list[str]:
    """The lines that tc should say and does not."""
    said = [plain(line) for line in listing]
    return [line for line in row.lines if line not in said]
