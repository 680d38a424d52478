"""What this machine can do, what is missing, what each missing thing costs, and how to get it."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from docker import APIClient

from labctl.engines import agentimage, compose
from labctl.engines.daemon import connect
from labctl.engines.docker import DockerEngine
from labctl.engines.leftovers import dead_runs
from labctl.errors import LabctlError
from labctl.lab import BLOCKS, POOL

LEAST_FREE_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `cost` is what cannot be done without it, `cure` how to get it; `needed` by every run."""

    what: str
    ok: bool
    found: str
    cost: str = ""
    cure: str = ""
    needed: bool = True

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def examine() -> list[Finding]:
    """Everything, in the order in which it is needed. Never raises for what is missing."""
    found = [_python(), *_compose(), _disk()]
    try:
        api = connect()
    except LabctlError as error:
        return [*found, Finding("Docker engine", False, str(error), "no lab can run", "./script/bootstrap")]
    return [*found, *_engine(api)]


def _python() -> Finding:
    ok = sys.version_info >= (3, 11)
    return Finding(
        "Python", ok, platform.python_version(), "labctl needs 3.11", "install python3.11 or newer"
    )


def _compose() -> Iterator[Finding]:
    try:
        version = compose.version()
        ok = version.lstrip("v").startswith(("2.", "3.", "4.", "5."))
        yield Finding(
            "Docker Compose", ok, version, "labs are brought up with Compose v2", "./script/bootstrap"
        )
    except LabctlError as error:
        yield Finding(
            "Docker Compose", False, str(error), "labs are brought up with Compose v2", "./script/bootstrap"
        )


def _disk() -> Finding:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    return Finding(
        "disk", free > LEAST_FREE_BYTES, f"{free // 2**20} MiB free",
        "captures and images may not fit", "free some space", needed=False,
    )  # fmt: skip


def _engine(api: APIClient) -> Iterator[Finding]:
    version = api.version()
    yield Finding("Docker engine", True, f"{version['Version']} on kernel {version['KernelVersion']}")
    agent = agentimage.REPOSITORY
    for image, needed in (("labctl/host", False), (agent, False), ("labctl/powerpc", False)):
        here = bool(api.images(image))
        yield Finding(
            f"image {image}",
            here,
            "built" if here else "not built yet",
            "the first run that needs it builds it",
            "labctl images",
            needed,
        )
    try:
        DockerEngine(api, "doctor").free_blocks()
        yield Finding("addresses", True, f"free blocks in {POOL}")
    except LabctlError as error:
        yield Finding("addresses", False, str(error), f"a run needs one of {BLOCKS} blocks", "labctl gc")
    leftovers = dead_runs(api)
    yield Finding(
        "leftovers", not leftovers, f"{len(leftovers)} dead runs" if leftovers else "none",
        "they hold addresses and memory", "labctl gc", needed=False,
    )  # fmt: skip
    yield from _kernel(api)


# What each feature of the kernel is for, and what to do where it is not there.
_MODULES = "load the kernel's modules, or install its extra ones (linux-modules-extra)"
FEATURES: dict[str, tuple[str, str]] = {
    "iptables": ("drop, reject and partition on IPv4", _MODULES),
    "ip6tables": ("drop, reject and partition on IPv6", _MODULES),
    "REJECT": ("reject", _MODULES),
    "statistic": ("drop and reject of the n-th packet, or by probability", _MODULES),
    "limit": ("drop and reject by rate", _MODULES),
    "TTL": ("ttl on IPv4", _MODULES),
    "HL": ("ttl on IPv6", _MODULES),
    "conntrack": ("expire", _MODULES),
    "MASQUERADE": ("masquerade", _MODULES),
    "REDIRECT": ("resolve", _MODULES),
    "raw": ("drops before connection tracking", _MODULES),
    "netem": ("link faults by the kernel; without it our emulator makes them (nfqueue)", _MODULES),
    "seed": ("the same losses again with netem; our emulator has a seed of its own", "Linux 6.6 and iproute2 6.6"),
    "nfqueue": ("link faults where there is no netem", _MODULES),
    "htb": ("link faults on one peer or port", _MODULES),
    "tbf": ("rates", _MODULES),
    "ifb": ("link faults on what arrives", _MODULES),
    "sock_diag": ("socket samples: states and queues", "a kernel with CONFIG_INET_DIAG"),
}


def _kernel(api: APIClient) -> Iterator[Finding]:
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
        yield Finding(f"kernel: {name}", refusal is None, refusal or purpose, f"it is for {purpose}", cure, needed=False)
    can_link = found["netem"] is None or found["nfqueue"] is None
    backend = "netem" if found["netem"] is None else "nfqueue, our emulator"
    yield Finding(
        "link faults", can_link, f"by {backend}" if can_link else "neither netem nor NFQUEUE", "no link fault can be made",
        _MODULES, needed=False,
    )  # fmt: skip
