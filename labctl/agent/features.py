"""What the kernel can do for every kind of fault, one thing after the other, each tried for real.

`python3 -m agent.features` runs in a network namespace that was made for it and goes away with it, so nothing is undone; it
prints one JSON object: name -> null where it works, else what the kernel or its tool said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from .command import run
from .probes import capabilities
from .sockets import sockets

_RULE = ("-p", "tcp", "--dport", "1")
# What each fault asks of iptables(8) and iptables-extensions(8), tried as rules that match nothing here.
RULES: Mapping[str, tuple[str, ...]] = {
    "iptables": ("iptables", "-A", "INPUT", *_RULE, "-j", "DROP"),
    "ip6tables": ("ip6tables", "-A", "INPUT", *_RULE, "-j", "DROP"),
    "REJECT": ("iptables", "-A", "INPUT", *_RULE, "-j", "REJECT", "--reject-with", "tcp-reset"),
    "statistic": ("iptables", "-A", "INPUT", "-m", "statistic", "--mode", "nth", "--every", "2", "--packet", "0", "-j", "DROP"),
    "limit": ("iptables", "-A", "INPUT", "-m", "limit", "--limit", "10/second", "-j", "DROP"),
    "TTL": ("iptables", "-t", "mangle", "-A", "POSTROUTING", *_RULE, "-j", "TTL", "--ttl-set", "1"),
    "HL": ("ip6tables", "-t", "mangle", "-A", "POSTROUTING", *_RULE, "-j", "HL", "--hl-set", "1"),
    "conntrack": ("iptables", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"),
    "MASQUERADE": ("iptables", "-t", "nat", "-A", "POSTROUTING", *_RULE, "-j", "MASQUERADE"),
    "REDIRECT": ("iptables", "-t", "nat", "-A", "OUTPUT", *_RULE, "-j", "REDIRECT", "--to-ports", "2"),
    "raw": ("iptables", "-t", "raw", "-A", "PREROUTING", *_RULE, "-j", "DROP"),
}


def features() -> dict[str, str | None]:
    """Each feature, and why it cannot be had (None where it can)."""
    found: dict[str, str | None] = {}
    for name, argv in RULES.items():
        ran = run((argv[0], "-w", "5", *argv[1:]))
        found[name] = None if ran.ok else (ran.err.strip().splitlines() or ["it failed and said nothing"])[0]
    can = capabilities()
    found |= {name: can["reasons"].get(name) for name in can if name != "reasons"}
    found["sock_diag"] = _sock_diag()
    return found


def _sock_diag() -> str | None:
    try:
        sockets("tcp")
    except OSError as error:
        return f"netlink says {error.strerror}"
    return None


if __name__ == "__main__":
    print(json.dumps(features()))
