"""What the kernel can do for every kind of fault, one thing after the other, each tried for real.

`python3 -m agent.features` runs in a network namespace that was made for it and goes away with it, so nothing is undone; it
prints one JSON object: name -> null where it works, else what the kernel or its tool said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

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
    "hashlimit": ("iptables", "-A", "INPUT", "-m", "hashlimit", "--hashlimit-above", "9/second", "--hashlimit-burst", "5",
                  "--hashlimit-name", "lcp", "-j", "DROP"),
    "recent": ("iptables", "-A", "INPUT", "-m", "recent", "--name", "lcp", "--mask", "0.0.0.0", "--set", "-j", "RETURN"),
    "mark": ("iptables", "-t", "mangle", "-A", "OUTPUT", "-m", "mark", "--mark", "1/1", "-j", "RETURN"),
    "length": ("iptables", "-t", "mangle", "-A", "POSTROUTING", "-m", "length", "--length", "1000:65535"),
    "string": ("iptables", "-A", "OUTPUT", "-m", "string", "--algo", "bm", "--hex-string", "|03|lab|00|", "-j", "DROP"),
    "TTL": ("iptables", "-t", "mangle", "-A", "POSTROUTING", *_RULE, "-m", "ttl", "!", "--ttl-eq", "1", "-j", "TTL",
            "--ttl-set", "1"),
    "HL": ("ip6tables", "-t", "mangle", "-A", "POSTROUTING", *_RULE, "-m", "hl", "!", "--hl-eq", "1", "-j", "HL",
           "--hl-set", "1"),
    "conntrack": ("iptables", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"),
    "MASQUERADE": ("iptables", "-t", "nat", "-A", "POSTROUTING", *_RULE, "-j", "MASQUERADE"),
    "REDIRECT": ("iptables", "-t", "nat", "-A", "OUTPUT", *_RULE, "-j", "REDIRECT", "--to-ports", "2"),
    "raw": ("iptables", "-t", "raw", "-A", "PREROUTING", *_RULE, "-j", "DROP"),
}


# linux/capability.h: what an agent may do, whatever user it is.
_CAPABILITIES = {"NET_ADMIN": 12, "NET_RAW": 13}


def features() -> dict[str, str | None]:
    """Each feature, and why it cannot be had (None where it can)."""
    found: dict[str, str | None] = {}
    for name, argv in RULES.items():
        ran = run((argv[0], "-w", "5", *argv[1:]))
        found[name] = None if ran.ok else (ran.err.strip().splitlines() or ["it failed and said nothing"])[0]
    can = capabilities()
    found |= {name: can["reasons"].get(name) for name in can if name != "reasons"}
    found["sock_diag"] = _sock_diag()
    return found | _permissions()


def _permissions() -> dict[str, str | None]:
    """Whether this process has the capabilities of an agent (capabilities(7))."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    return {
        name: None if effective >> bit & 1 else "Docker does not give it to containers"
        for name, bit in _CAPABILITIES.items()
    }


def _sock_diag() -> str | None:
    try:
        sockets("tcp")
    except OSError as error:
        return f"netlink says {error.strerror}"
    return None


if __name__ == "__main__":
    print(json.dumps(features()))
