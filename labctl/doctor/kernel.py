"""What the kernel under Docker can do, feature by feature, each tried by an agent of its own."""

from __future__ import annotations

from collections.abc import Iterator

from docker import APIClient

from labctl.doctor.finding import Finding
from labctl.engines import agentimage
from labctl.errors import LabctlError

# What each feature of the kernel is for, and what to do where it is not there.
_MODULES = "load the kernel's modules, or install its extra ones (linux-modules-extra)"
_ROOTFUL = "use a Docker engine that lets containers have it: not rootless, no authorization plugin that forbids it"
FEATURES: dict[str, tuple[str, str]] = {
    "NET_ADMIN": ("every fault: an agent changes the network of its host", _ROOTFUL),
    "NET_RAW": ("captures and injected resets", _ROOTFUL),
    "iptables": ("drop, reject and partition on IPv4", _MODULES),
    "ip6tables": ("drop, reject and partition on IPv6", _MODULES),
    "REJECT": ("reject", _MODULES),
    "statistic": ("drop and reject of the n-th packet, or by probability", _MODULES),
    "hashlimit": ("drop and reject by rate", _MODULES),
    "recent": ("drop and reject of the first packets", _MODULES),
    "mark": ("drop and reject by a seed, and our emulator of links", _MODULES),
    "length": ("proof of an mtu", _MODULES),
    "string": ("resolve", _MODULES),
    "TTL": ("ttl on IPv4", _MODULES),
    "HL": ("ttl on IPv6", _MODULES),
    "conntrack": ("expire", _MODULES),
    "MASQUERADE": ("masquerade", _MODULES),
    "REDIRECT": ("resolve", _MODULES),
    "raw": ("our emulator of links, on what arrives", _MODULES),
    "netem": ("link faults by the kernel; without it our emulator makes them (nfqueue)", _MODULES),
    "seed": ("the same losses again with netem; our emulator has a seed of its own", "Linux 6.6 and iproute2 6.6"),
    "nfqueue": ("link faults where there is no netem", _MODULES),
    "htb": ("link faults by netem: the tree that it stands in", _MODULES),
    "ifb": ("link faults on what arrives", _MODULES),
    "sock_diag": ("socket samples: states and queues", "a kernel with CONFIG_INET_DIAG"),
}
# Without these no run can be made; the others are for some faults.
NEEDED = frozenset({"NET_ADMIN", "NET_RAW"})


def findings(api: APIClient) -> Iterator[Finding]:
    """Each feature, what it is for or why it is not there; nothing is asked before the agent's image is built."""
    if not api.images(agentimage.REPOSITORY):
        why = "not asked, as the agent's image is not built yet"
        yield Finding("kernel", False, why, "nobody knows which faults it can make", "labctl images agent", needed=False)
        return
    try:
        found = agentimage.kernel_features(api)
    except LabctlError as error:
        yield Finding("kernel", False, str(error), "nobody knows which faults it can make", "labctl images agent", needed=False)
        return
    for name, (purpose, cure) in FEATURES.items():
        refusal = found[name]
        needed = name in NEEDED
        kind = "permission" if name.startswith("NET_") else "kernel"
        yield Finding(f"{kind}: {name}", refusal is None, refusal or purpose, f"it is for {purpose}", cure, needed)
    can_link = found["netem"] is None or found["nfqueue"] is None
    backend = "netem" if found["netem"] is None else "nfqueue, our emulator"
    yield Finding(
        "link faults", can_link, f"by {backend}" if can_link else "neither netem nor NFQUEUE", "no link fault can be made",
        _MODULES, needed=False,
    )  # fmt: skip
