"""What this machine can do, what is missing, what each missing thing costs, and how to get it."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from docker import APIClient

from labctl.engines import agentimage, compose
from labctl.engines.docker import DockerEngine, connect, dead_runs
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
    yield _netem()


def _netem() -> Finding:
    config = Path(f"/lib/modules/{platform.release()}")
    loaded = (
        any(p.name.startswith("sch_netem") for p in config.rglob("sch_netem*")) if config.is_dir() else False
    )
    return Finding(
        "netem", loaded, "in this kernel" if loaded else "not found in this kernel's modules",
        "link faults use the nfqueue backend", "install the kernel's extra modules (linux-modules-extra)", needed=False,
    )  # fmt: skip
