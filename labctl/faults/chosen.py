"""A firewall fault whose packets are chosen by a seed: a chain in mangle has them chosen, a chain in filter takes what was.

The agent serves the queue (`labctl.agent.choose`) and puts its number, and the two bits that the fault has in packets' marks,
in the place of `{queue}`, `{done}` and `{hit}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from labctl.faults.base import FaultPlan, Site
from labctl.faults.chain import Chain, chains

CHOOSE = (
    ("-m", "mark", "--mark", "{done}/{done}", "-j", "RETURN"),
    ("-j", "NFQUEUE", "--queue-num", "{queue}", "--queue-bypass"),
)


def chosen_plan(kind: str, name: str, site: Site, wanted: Sequence[Chain], percent: float, seed: int) -> FaultPlan:
    """The plan of a fault whose chains would touch every packet, for some of them: `percent`, by the seed."""
    hit = ("-m", "mark", "--mark", "{hit}/{hit}")
    touching = [replace(c, hooks=tuple((hook, (*match, *hit)) for hook, match in c.hooks)) for c in wanted]
    choosing = [replace(c, rules=CHOOSE, table="mangle") for c in wanted]
    made = chains(name, [*touching, *choosing])
    counters = tuple(counter for counter in made.counters if counter.table == "filter")
    action: dict[str, Any] = {
        "type": "choose",
        "percent": percent,
        "seed": seed,
        "changes": [{"do": list(c.do), "undo": list(c.undo)} for c in made.changes],
        "counters": [asdict(counter) for counter in counters],
        "quench": [{"do": list(c.do), "undo": list(c.undo)} for c in made.quench],
        "ahead": made.ahead,
    }
    return FaultPlan(name, kind, site.host, "nfqueue", made.changes, counters, made.quench, made.ahead, action=action)
