"""A host that is about to be killed: from one moment on it hears nothing and says nothing, as when its power is cut.

Without that a host would not die but go away politely: the kernel closes the sockets of a process that is killed, and the
peer is told by a FIN or a reset (net/ipv4/tcp.c, tcp_close). The rules stand in raw, before all others; frames of a capture
go beside them (packet(7)), so what arrives at the dead host is still recorded.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from .action import Change, Commands
from .command import Runner

CHAIN = "LABCTL-DEAD"
TOOLS = ("iptables", "ip6tables")
HOOKS = ("PREROUTING", "OUTPUT")


def silence(runner: Runner) -> Commands:
    """The action that makes a host deaf and mute; it counts the packets that died so."""
    made: list[Change] = []
    hooked: list[Change] = []
    for tool in TOOLS:
        raw = (tool, "-w", "5", "-t", "raw")
        made.append(Change((*raw, "-N", CHAIN), (*raw, "-X", CHAIN)))
        made.append(Change((*raw, "-A", CHAIN, "-j", "DROP"), (*raw, "-D", CHAIN, "-j", "DROP")))
        hooked += [
            Change((*raw, "-I", hook, "-j", CHAIN), (*raw, "-D", hook, "-j", CHAIN)) for hook in HOOKS
        ]
    counters = tuple({"tool": tool, "table": "raw", "chain": CHAIN} for tool in TOOLS)
    return Commands((*made, *hooked), counters, (), len(made), runner)


def alive(sockets: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The sockets by which a host was there for others: not those of loopback, nor what is over (TIME-WAIT)."""
    return [
        s for s in sockets
        if s["state"] != "TIME-WAIT" and not ipaddress.ip_address(s["local"]).is_loopback
    ]  # fmt: skip
