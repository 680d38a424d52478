"""What this kernel can do for link faults, found out by trying it on devices and chains made for that and removed again."""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Literal

from . import batch, nftables
from .command import run
from .nfqueue import NfQueue

QDISCS = {
    "netem": ("netem", "delay", "1ms"),
    "htb": ("htb",),
}
Support = Literal["none", "plain", "seed"]

PROBE_QUEUE = 64999
PROBE_CHAIN = "LABCTL-PROBE"


def netem() -> Support:
    """Whether a netem qdisc can be added here, and whether it takes a seed: a kernel that knows none forgets it silently."""
    device = _device()
    made = run(("ip", "link", "add", device, "type", "veth", "peer", "name", f"{device}p"))
    if not made.ok:
        return "none"
    where = ("dev", device, "root", "handle", "1:", "netem", "loss", "1%")
    if run(("tc", "qdisc", "add", *where, "seed", "7")).ok:
        found: Support = "seed" if '"seed":7' in run(("tc", "-j", "qdisc", "show", "dev", device)).out else "plain"
    else:
        found = "plain" if run(("tc", "qdisc", "add", *where)).ok else "none"
    run(("ip", "link", "del", device))
    return found


@cache
def has_netem() -> bool:
    """Whether this kernel has netem, asked once: an agent that is born in a nursery knows it from there."""
    return netem() != "none"


def capabilities() -> dict[str, Any]:
    """{"netem": true, …, "reasons": {"netem": "Specified qdisc kind is unknown"}}: each thing that can be had, and why not."""
    found: dict[str, str | None] = {**_qdiscs(tuple(QDISCS)), "ifb": _ifb(), "seed": _seed(), "nfqueue": _nfqueue()}
    return {name: why is None for name, why in found.items()} | {"reasons": {n: why for n, why in found.items() if why}}


def _device() -> str:
    return f"lcp{os.getpid() % 10**8}"


def _qdiscs(names: tuple[str, ...]) -> dict[str, str | None]:
    device = _device()
    made = run(("ip", "link", "add", device, "type", "veth", "peer", "name", f"{device}p"))
    if not made.ok:
        return dict.fromkeys(names, _why(made.err))
    found = {}
    for name in names:
        ran = run(("tc", "qdisc", "add", "dev", device, "root", "handle", "1:", *QDISCS[name]))
        found[name] = None if ran.ok else _why(ran.err)
        if ran.ok:
            run(("tc", "qdisc", "del", "dev", device, "root"))
    run(("ip", "link", "del", device))
    return found


def _ifb() -> str | None:
    """ifb, ingress, u32 and mirred together, as what arrives needs them."""
    device = _device()
    made = batch.ip([("ip", "link", "add", device, "type", "ifb"), ("ip", "link", "set", device, "up")])
    if not made[0].ok:
        return _why(made[0].err)
    done = batch.tc([
        ("tc", "qdisc", "add", "dev", device, "clsact"),
        ("tc", "filter", "add", "dev", device, "egress", "protocol", "all", "prio", "1", "u32", "match", "u32", "0", "0",
         "action", "mirred", "ingress", "redirect", "dev", "lo"),
    ])  # fmt: skip
    run(("ip", "link", "del", device))
    return None if done[0].ok else _why(done[0].err)


def _seed() -> str | None:
    return None if netem() == "seed" else "no netem here takes a seed (it needs Linux 6.6 and iproute2 6.6)"


def _nfqueue() -> str | None:
    before = nftables.tables()
    try:
        queue = NfQueue()
        queue.bind(PROBE_QUEUE)
        queue.unbind(PROBE_QUEUE)
        queue.channel.close()
    except OSError as error:
        return f"this kernel has no NFQUEUE: {error}"
    rule = ("-A", PROBE_CHAIN, "-j", "NFQUEUE", "--queue-num", str(PROBE_QUEUE), "--queue-bypass")
    done = batch.iptables("iptables", "raw", [("-N", PROBE_CHAIN), rule])
    if done[0].ok:
        batch.iptables("iptables", "raw", [("-F", PROBE_CHAIN), ("-X", PROBE_CHAIN)])
    nftables.remove_new(before)
    return None if done[0].ok else _why(done[0].err)


def _why(said: str) -> str:
    return said.strip().splitlines()[0].removeprefix("Error: ") if said.strip() else "it failed and said nothing"
