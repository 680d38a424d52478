"""What agents that were killed left in this namespace, taken away: what is ours and no living agent holds.

Ours are chains by their name (LABCTL-…), qdiscs by their handle, ifb devices by theirs, and interfaces whose alias says so;
`labctl.agent.claims` says which of them somebody holds. To find nothing costs a few netlink messages and no command.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterable

from . import batch, netlink, nftables
from .claims import FAULT as PREFIX
from .claims import is_held
from .command import Ran, run
from .interface import mend
from .linktree import ROOT, teardown

IFBS = ("lci", "lcd")
RTM_GETQDISC = 38
TCA_KIND = 1
TC_H_ROOT = 0xFFFFFFFF
_JUMP = re.compile(r"^-A (?P<rule>\S+ (?:.* )?-j (?P<chain>LABCTL-\S+))$", re.MULTILINE)


def sweep() -> list[Ran]:
    """Remove what nobody holds; answers with the commands, empty when nothing was there. Never raises for what they do."""
    ran: list[Ran] = []
    swept = set()
    for (family, table), chains in _orphans().items():
        tool = next(t for t, number in nftables.FAMILIES.items() if number == family)
        ran += _chains(tool, table, chains)
        swept.add((family, table))
    ran += _qdiscs()
    names = [name for _, name in socket.if_nameindex() if name.startswith(IFBS) and not is_held(f"{PREFIX}I-{_behind(name)}")]
    ran += batch.ip([("ip", "link", "del", name) for name in names])
    if swept:
        nftables.remove_new(nftables.tables() - swept)
    return ran + mend()


def _orphans() -> dict[nftables.Table, list[str]]:
    """Chains of ours that nobody holds, by (family, table)."""
    found: dict[nftables.Table, list[str]] = {}
    for family, table, chain in nftables.chains():
        if chain.startswith(PREFIX) and not is_held(chain):
            found.setdefault((family, table), []).append(chain)
    return found


def _chains(tool: str, table: str, chains: list[str]) -> list[Ran]:
    """Remove whole chains and every rule that leads into them; all of one table at once, or nothing."""
    rules = run((f"{tool}-save", "-t", table)).out
    jumps = [("-D", match["rule"]) for match in _JUMP.finditer(rules) if match["chain"] in chains]
    return batch.iptables(tool, table, [*jumps, *(("-F", c) for c in chains), *(("-X", c) for c in chains)])


def _qdiscs() -> list[Ran]:
    ran: list[Ran] = []
    for device, kind, handle, parent in _all_qdiscs():
        if device.startswith(IFBS):
            continue
        if parent == TC_H_ROOT and handle == int(ROOT, 16) << 16 and not is_held(f"{PREFIX}E-{device}"):
            ran += batch.tc(teardown(device))
        elif kind == "ingress" and not is_held(f"{PREFIX}I-{device}") and _leads_to_us(device):
            ran += batch.tc([("tc", "qdisc", "del", "dev", device, "ingress")])
    return ran


def _leads_to_us(device: str) -> bool:
    return IFBS[0] in run(("tc", "filter", "show", "dev", device, "ingress")).out


def _all_qdiscs() -> Iterable[tuple[str, str, int, int]]:
    """(device, kind, handle, parent) of every qdisc, as rtnetlink(7) tells it; none where that cannot be asked."""
    names = dict(socket.if_nameindex())
    request = netlink.message(RTM_GETQDISC, netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP, struct.pack("=BxxxiIII", 0, 0, 0, 0, 0))
    for _, body in netlink.ask(netlink.NETLINK_ROUTE, request):
        index, handle, parent = struct.unpack_from("=iII", body, 4)
        kind = netlink.attributes(body, 20).get(TCA_KIND, b"").rstrip(b"\0").decode()
        if index in names:
            yield names[index], kind, handle, parent


def _behind(ifb: str) -> str:
    """The interface that an ifb of ours stands behind: its number is that interface's; empty when that is gone."""
    try:
        return socket.if_indextoname(int(ifb[len(IFBS[0]) :]))
    except (OSError, ValueError):
        return ""
