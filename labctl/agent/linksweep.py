"""What link faults of an agent that was killed left in this namespace, taken away: by our own names and handles only."""

from __future__ import annotations

import json
import re

from . import batch
from .command import Ran, run
from .linktree import ROOT, teardown

_CHAIN = re.compile(r"^:(LABCTL-[EI]-\S+) ", re.MULTILINE)
_JUMP = re.compile(r"^-A (?P<jump>(?:POSTROUTING|PREROUTING) .*-j LABCTL-[EI]-\S+)$", re.MULTILINE)
IFBS = ("lci", "lcd")


def sweep() -> list[Ran]:
    """Remove our chains, trees and ifb devices; answers with the commands, empty when nothing was there. Never raises."""
    ran: list[Ran] = []
    for tool in ("iptables", "ip6tables"):
        for table in ("mangle", "raw"):
            ran += _chains(tool, table)
    for qdisc in json.loads(run(("tc", "-j", "qdisc", "show")).out or "[]"):
        device = qdisc.get("dev", "")
        if qdisc["handle"] == f"{ROOT}:" and qdisc.get("root") and not device.startswith(IFBS):
            ran += batch.tc(teardown(device))
        elif qdisc["kind"] == "ingress" and "lci" in run(("tc", "filter", "show", "dev", device, "ingress")).out:
            ran += batch.tc([("tc", "qdisc", "del", "dev", device, "ingress")])
    links = json.loads(run(("ip", "-j", "link", "show", "type", "ifb")).out or "[]")
    names = [link["ifname"] for link in links if link.get("ifname", "").startswith(IFBS)]
    return ran + batch.ip([("ip", "link", "del", name) for name in names])


def _chains(tool: str, table: str) -> list[Ran]:
    rules = run((f"{tool}-save", "-t", table)).out
    jumps = [("-D", *match["jump"].split()) for match in _JUMP.finditer(rules)]
    chains = _CHAIN.findall(rules)
    return batch.iptables(tool, table, [*jumps, *(("-F", c) for c in chains), *(("-X", c) for c in chains)])
