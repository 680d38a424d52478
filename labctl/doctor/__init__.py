"""What this machine can do, what is missing, what each missing thing costs, and how to get it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labctl.doctor import engine, kernel, machine
from labctl.doctor.finding import Finding
from labctl.engines.daemon import connect
from labctl.errors import LabctlError

__all__ = ["Finding", "examine", "summary"]


def examine(folder: Path) -> list[Finding]:
    """Everything, in the order in which it is needed; `folder` is where runs would go. Never raises for what is missing."""
    found = [*machine.findings(folder)]
    try:
        api = connect()
    except LabctlError as error:
        return [*found, *engine.refused(error)]
    return [*found, *engine.findings(api), *kernel.findings(api)]


def summary(found: Sequence[Finding]) -> str:
    """One sentence over all of it."""
    needed = [f.what for f in found if not f.ok and f.needed]
    others = [f.what for f in found if not f.ok and not f.needed]
    if needed:
        return f"no run can be made here before these are mended: {', '.join(needed)}"
    if others:
        return f"runs can be made here; not everything is as it could be: {', '.join(others)}"
    return "everything is here"
