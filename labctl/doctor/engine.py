"""What Docker is, lets us do, and has: version, permission, images, addresses, what dead runs left, space."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path

from docker import APIClient

from labctl.doctor.finding import Finding, at_least
from labctl.doctor.machine import disk
from labctl.engines import agentimage
from labctl.engines.daemon import DaemonRefuses
from labctl.engines.docker import DockerEngine
from labctl.engines.endpoint import NoContext, chosen
from labctl.engines.leftovers import dead_runs
from labctl.errors import LabctlError
from labctl.lab import BLOCKS, POOL

LEAST_ENGINE = (20, 10)
# What the three images take, and a user's own.
LEAST_FREE_BYTES = 2 * 2**30
NO_LAB = "no lab can run"


def refused(error: LabctlError) -> Iterator[Finding]:
    """An engine that cannot be spoken to: because it is not there, or because this user may not."""
    if isinstance(error, DaemonRefuses):
        cure = f"sudo usermod -aG docker {getpass.getuser()}   and log in again; or run this as root"
        yield Finding("permission to use Docker", False, str(error), NO_LAB, cure)
    elif isinstance(error, NoContext):
        yield Finding("Docker engine", False, str(error), NO_LAB, "docker context ls")
    else:
        yield Finding("Docker engine", False, str(error), NO_LAB, "./script/bootstrap")


def findings(api: APIClient) -> Iterator[Finding]:
    """All about an engine that answers."""
    version = api.version()
    found = f"{version['Version']} on kernel {version['KernelVersion']}, {chosen().where}"
    cost = f"labctl is made for {LEAST_ENGINE[0]}.{LEAST_ENGINE[1]} and newer"
    yield Finding("Docker engine", at_least(version["Version"], LEAST_ENGINE), found, cost, "install a newer Docker engine")
    yield Finding("permission to use Docker", True, "it answers this user")
    yield from _disk(api)
    yield from _images(api)
    yield _addresses(api)
    yield _leftovers(api)


def _disk(api: APIClient) -> Iterator[Finding]:
    """Space where Docker keeps images; nothing where that is on another machine."""
    root = Path(api.info()["DockerRootDir"])
    if root.is_dir():
        yield disk("disk for images", root, LEAST_FREE_BYTES, "images may not fit", "docker image prune, or free some space")


def _images(api: APIClient) -> Iterator[Finding]:
    uses = {
        "labctl/host": "hosts of labctl's own lab",
        agentimage.REPOSITORY: "the agents, which every run has",
        "labctl/powerpc": "the big-endian host",
    }
    for image, use in uses.items():
        here = bool(api.images(image))
        said = f"built, for {use}" if here else "not built yet"
        cost = f"the first run that needs it builds it: {use}"
        yield Finding(f"image {image}", here, said, cost, "labctl images", needed=False)


def _addresses(api: APIClient) -> Finding:
    try:
        free = len(DockerEngine(api, "doctor").free_blocks())
    except LabctlError as error:
        return Finding("addresses", False, str(error), f"a run needs one of {BLOCKS} blocks", "labctl gc")
    return Finding("addresses", True, f"{free} of {BLOCKS} blocks of {POOL} are free; a run takes one")


def _leftovers(api: APIClient) -> Finding:
    dead = dead_runs(api)
    return Finding(
        "leftovers", not dead, f"of {len(dead)} dead runs" if dead else "none",
        "they hold addresses and memory", "labctl gc", needed=False,
    )  # fmt: skip
