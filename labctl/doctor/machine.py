"""What labctl itself needs of this machine: Python, Compose, and a place for runs."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from labctl.doctor.finding import Finding, at_least
from labctl.engines import compose
from labctl.errors import LabctlError

LEAST_COMPOSE = (2, 20)
# A run takes some 2 MB, and at most 100 MiB for each capture.
LEAST_FREE_BYTES = 2**30


def findings(folder: Path) -> Iterator[Finding]:
    """Python, Compose, and whether runs can be kept in `folder`."""
    yield _python()
    yield _compose()
    yield from _place(folder)


def _python() -> Finding:
    ok = sys.version_info >= (3, 11)
    return Finding("Python", ok, platform.python_version(), "labctl needs 3.11", "install python3.11 or newer")


def _compose() -> Finding:
    cost = f"labs are brought up with Docker Compose {LEAST_COMPOSE[0]}.{LEAST_COMPOSE[1]} or newer"
    try:
        version = compose.version()
    except LabctlError as error:
        return Finding("Docker Compose", False, str(error), cost, "./script/bootstrap")
    return Finding("Docker Compose", at_least(version, LEAST_COMPOSE), version, cost, "./script/bootstrap")


def _place(folder: Path) -> Iterator[Finding]:
    """The nearest folder that is there, of those in which runs/ would be made."""
    there = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())
    may = os.access(there, os.W_OK | os.X_OK)
    yield Finding(
        "permission to write", may, f"{there} is {'yours' if may else 'not yours'} to write in", "no run can be kept here",
        "go to a folder of yours, or give labctl run --out DIR",
    )  # fmt: skip
    cure = "remove old runs, or give labctl run --out DIR"
    yield disk("disk for runs", there, LEAST_FREE_BYTES, "captures may not fit", cure)


def disk(what: str, path: Path, least_bytes: int, cost: str, cure: str) -> Finding:
    """How much is free where `path` is."""
    free = shutil.disk_usage(path).free
    return Finding(what, free >= least_bytes, f"{free // 2**20} MiB free at {path}", cost, cure, needed=False)
