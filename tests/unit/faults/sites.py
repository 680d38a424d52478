"""Places for faults, and what a fault becomes there, for the tables beside this file."""

from __future__ import annotations

from typing import Any

from labctl.faults import FAULTS
from labctl.faults.base import FaultPlan, Site

NAMES = ("server", "client", "powerpc")
FOUR = {"server": ("10.0.1.3",), "client": ("10.0.2.3",), "powerpc": ("10.0.3.3",), "router": ("10.0.1.2", "10.0.2.2")}
SIX = {"server": ("fd::1:3",), "client": ("fd::2:3",), "powerpc": ("fd::3:3",), "router": ("fd::1:2", "fd::2:2")}
BOTH = {name: FOUR[name] + SIX[name] for name in FOUR}


def site(host: str, dual: bool = False) -> Site:
    """The host of that name in a lab of four, with IPv4 only or with both families."""
    networks = ("server-net", "client-net") if host == "router" else (f"{host}-net",)
    return Site(host, host == "router", networks, BOTH if dual else FOUR, (4, 6) if dual else (4,))


def planned(kind: str, spec: dict[str, Any], at: str, dual: bool = False) -> FaultPlan:
    """The plan of a fault called `x`. Raises ValidationError or Impossible."""
    return FAULTS[kind].model_validate(spec).plan(site(at, dual), "x")


def commands(plan: FaultPlan) -> list[str]:
    """What it does, as lines, without the option that every iptables command has."""
    return [" ".join(change.do).replace(" -w 5", "") for change in plan.changes]
