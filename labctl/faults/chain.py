"""Rules of a fault as a chain of its own (iptables(8)): made, filled, and hooked last; taken back in reverse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labctl.faults.base import Change, Counter, Family

TOOLS: dict[Family, str] = {4: "iptables", 6: "ip6tables"}
Match = tuple[str, ...]


@dataclass(frozen=True)
class Chain:
    """One fault's chain in one table of one family.

    `rules` are its rules, whole; `hooks` pairs a chain of the kernel with which packets go from there into this one.
    """

    family: Family
    rules: tuple[Match, ...]
    hooks: tuple[tuple[str, Match], ...]
    table: str = "filter"


@dataclass(frozen=True)
class Chains:
    """The commands of a fault's chains, as a FaultPlan has them; `ahead` of `changes` have no effect yet."""

    changes: tuple[Change, ...]
    counters: tuple[Counter, ...]
    quench: tuple[Change, ...]
    ahead: int


def chains(name: str, wanted: Sequence[Chain]) -> Chains:
    """All chains are made and filled before the first is hooked, so that families and directions begin together."""
    title = f"LABCTL-{name}"
    filled: list[Change] = []
    hooked: list[Change] = []
    counters: list[Counter] = []
    quench: list[Change] = []
    for chain in wanted:
        table = ("-t", chain.table) if chain.table != "filter" else ()
        tool = (TOOLS[chain.family], "-w", "5", *table)
        filled.append(Change((*tool, "-N", title), (*tool, "-X", title)))
        for rule in chain.rules:
            filled.append(Change((*tool, "-A", title, *rule), (*tool, "-D", title, *rule)))
        for hook, match in chain.hooks:
            words = (hook, *match, "-j", title)
            hooked.append(Change((*tool, "-I", *words), (*tool, "-D", *words)))
        counters.append(Counter(TOOLS[chain.family], chain.table, title))
        quench.append(Change((*tool, "-I", title, "1", "-j", "RETURN"), (*tool, "-D", title, "-j", "RETURN")))
    return Chains((*filled, *hooked), tuple(counters), tuple(quench), len(filled))
