"""script/vm: the virtual machine by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import vm_disks
import vm_machine
from vm_jobs import Job, as_json

from labctl.standing import build_images

SHELL_LIMIT_S = 8 * 3600.0


def run(jobs: list[Job]) -> int:
    """Do jobs, print what they said, and tell where the files are; the first exit status that is not 0."""
    folder = Path(tempfile.mkdtemp(prefix="labctl-vm-"))
    ready = disks()
    report = vm_machine.boot(ready, jobs, folder)
    worst = 0
    for job in jobs:
        done = report.job(job.id)
        print(done["out"], end="")
        print(done["err"], end="", file=sys.stderr)
        worst = worst or (124 if done["exit"] is None else int(done["exit"]))
    vm_disks.say(f"{report.seconds:.0f} s; everything it left is in {folder / 'results'}")
    return worst


def shell() -> int:
    """A shell on this terminal until it ends."""
    with tempfile.TemporaryDirectory(prefix="labctl-vm-") as scratch:
        folder = Path(scratch)
        ready = disks()
        vm_machine.make_tree(folder, as_json([], shell=True))
        (folder / "events.jsonl").touch()
        with (folder / "results.tar").open("wb") as results:
            results.truncate(vm_machine.RESULTS_BYTES)
        options = [*vm_machine.options(vm_machine.cgroup_driver(), kvm=False), "--tty"]
        qemu = vm_machine.qemu_argv(shell=True)
        name = f"labctl-vm-shell-{os.getpid()}"
        vm_disks.say("it takes half a minute to a shell; `exit` powers it off")
        argv = vm_machine.container_argv(name, ready, folder, SHELL_LIMIT_S, qemu, options)
        return subprocess.run(argv, check=False).returncode


def disks() -> vm_disks.Disks:
    """Both disks, with the lab's images as this tree has them."""
    build_images(("server", "agent"), vm_disks.say)
    return vm_disks.ready()


def main(verb: str, arguments: list[str]) -> int:
    """Do what script/vm was asked."""
    if verb == "shell":
        return shell()
    if verb == "run":
        return run(
            [
                Job(f"{n}-{Path(p).stem}", ("python3", "-m", "labctl", "run", p))
                for n, p in enumerate(arguments, 1)
            ]
        )
    if verb == "exec":
        return run([Job("command", tuple(arguments), 3600.0)])
    print(disks())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], sys.argv[2:]))
    except vm_disks.VmError as error:
        sys.exit(f"vm: {error}")
