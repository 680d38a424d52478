"""One boot of the virtual machine for all the tests that were chosen: what they need is gathered first, then done there."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest
import vm_disks
import vm_machine
from vm_jobs import ROOT, Job
from vm_plan import jobs_for

from labctl.standing import build_images

# For everything in the guest, whatever the jobs together may take: three times what it takes on two quiet processors, as a busy
# machine is no failure. How long it took is in LAST.
LIMIT_S = 1800.0
LAST = ROOT / ".cache" / "vm-last.json"
JOBS = pytest.StashKey[list[Job]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "guest(job, scenario=None): what this test needs done in the virtual machine"
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    marks = [mark for item in session.items if (mark := item.get_closest_marker("guest"))]
    session.config.stash[JOBS] = jobs_for((mark.args[0], mark.kwargs.get("scenario")) for mark in marks)


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> vm_machine.Report:
    """What the guest brought back. Of several pytest processes the first boots it, the others read what it left."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = base / "vm"
    with (base / "vm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / vm_machine.REPORT).exists():
            boot(folder, request.config.stash[JOBS])
        return vm_machine.load(folder)


def boot(folder: Path, jobs: list[Job]) -> None:
    """Images, disks, machine; the times are kept in .cache/vm-last.json for whoever wants to know."""
    build_images(("server", "agent"), vm_disks.say)
    disks = vm_disks.ready()
    folder.mkdir()
    limit_s = min(LIMIT_S, vm_machine.BOOT_LIMIT_S + sum(job.timeout_s for job in jobs))
    done = vm_machine.boot(disks, jobs, folder, limit_s)
    LAST.parent.mkdir(exist_ok=True)
    LAST.write_text(json.dumps(done.summary(), indent=1) + "\n")
