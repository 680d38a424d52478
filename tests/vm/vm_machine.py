"""One boot of the virtual machine: QEMU in a container, jobs in, events and files out."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vm_disks import GUEST_IMAGE, QEMU_IMAGE, Disks, VmError, in_container, pipe
from vm_jobs import Job, as_json, pack

from labctl.engines.daemon import connect

MEMORY_MIB = 4096
CPU_SHARES = 4096  # a process weighs 1024 (cgroups, cpu.shares)
RESULTS_BYTES = 512 * 2**20  # sparse
BOOT_LIMIT_S = 300.0
TAIL_LINES = 25
REPORT = "report.json"
# KVM only for who asks: a /dev/kvm that is there need not work (CI's own does not: "KVM internal error"), and then QEMU hangs.
KVM = "/dev/kvm"
KVM_WANTED = "LABCTL_VM_KVM"
# Nehalem without cx16: with it, and with `max`, QEMU 7.2's TCG guests panic (measured; kept for 10.0, which does not mind).
CPU = "Nehalem,-cx16"
# transparent_hugepage=never: under TCG a fork or exec takes half the time so (measured: 1.7 s for ten, against 2.9 s).
KERNEL_LINE = (
    "console=ttyS0 quiet panic=-1 mitigations=off apparmor=0 audit=0 nokaslr transparent_hugepage=never"
)


def qemu_argv(
    disks: str = "/disks", run: str = "/run/vm", kvm: bool = False, shell: bool = False
) -> list[str]:
    """QEMU's command line. Its own disks are never written: changes go to a temporary file that ends with it."""
    argv = ["qemu-system-x86_64"]
    argv += ["-accel", "kvm"] * kvm + ["-accel", "tcg,thread=multi,tb-size=512"]
    argv += ["-cpu", CPU, "-smp", "2", "-m", str(MEMORY_MIB)]
    argv += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none"]
    argv += ["-serial", "stdio" if shell else f"file:{run}/serial.log"]
    argv += ["-kernel", f"{disks}/root/vmlinuz", "-initrd", f"{disks}/root/initrd", "-append", KERNEL_LINE]
    argv += ["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"]
    argv += ["-device", "virtio-serial-pci", "-chardev", f"file,id=events,path={run}/events.jsonl"]
    argv += ["-device", "virtserialport,chardev=events,name=events"]
    argv += _disk("root", f"{disks}/root/root.ext4", "snapshot=on")
    argv += _disk("docker", f"{disks}/docker/docker.ext4", "snapshot=on")
    argv += _disk("tree", f"{run}/tree.tar", "readonly=on")
    argv += _disk("results", f"{run}/results.tar", "cache=unsafe")
    return argv


def _disk(name: str, file: str, option: str) -> list[str]:
    drive = f"file={file},format=raw,if=none,id={name},{option}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name},serial={name}"]


def container_argv(
    name: str, disks: Disks, run: Path, limit_s: float, qemu: Sequence[str], options: Sequence[str] = ()
) -> list[str]:
    """The `docker run` around QEMU. It ends with QEMU, with the time limit, or with whoever holds its standard input."""
    return [
        "docker", "run", "--rm", "--interactive", f"--name={name}", "--label=labctl.vm=1", "--network=none",
        "--cap-drop=ALL", "--cap-add=DAC_OVERRIDE", *options,
        f"--volume={disks.root}:/disks/root:ro", f"--volume={disks.docker}:/disks/docker:ro",
        f"--volume={run}:/run/vm", QEMU_IMAGE, "run-qemu", f"{limit_s:g}", *qemu,
    ]  # fmt: skip


def options(driver: str, kvm: bool) -> list[str]:
    """What `docker run` is told besides, for this machine.

    With cgroupfs all containers together weigh as much as one process outside of them, so beside a busy test run the
    machine would starve and everything in it time out: it gets a group of its own, and a weight.
    """
    weight = ["--cgroup-parent=/", f"--cpu-shares={CPU_SHARES}"] if driver == "cgroupfs" else []
    return weight + [f"--device={KVM}"] * kvm


def cgroup_driver() -> str:
    """How this machine's Docker makes control groups: `cgroupfs` or `systemd`."""
    with contextlib.closing(connect()) as api:
        return str(api.info()["CgroupDriver"])


@dataclass(frozen=True)
class Report:
    """What one boot brought back. `trouble` is None when the guest did everything and powered itself off."""

    events: tuple[dict[str, Any], ...]
    folder: Path
    seconds: float
    trouble: str | None

    def job(self, id: str) -> dict[str, Any]:
        """What one job ended with. Raises VmError, with the guest's last words, when it did not come to an end."""
        for event in self.events:
            if event["event"] == "job" and event["id"] == id:
                return event
        raise VmError(f"the guest did not finish {id}: {self.trouble or 'it was not among the jobs'}")

    def at(self, name: str) -> float | None:
        """Seconds from the kernel's start to the first event of this name."""
        return next((e["uptime_s"] for e in self.events if e["event"] == name), None)

    def summary(self) -> dict[str, Any]:
        """The times, for people."""
        jobs = {e["id"]: e["seconds"] for e in self.events if e["event"] in ("job", "scenario")}
        boot = {name: self.at(name) for name in ("init", "docker", "end")}
        return {"seconds": round(self.seconds, 1), **boot, "jobs": jobs, "trouble": self.trouble}


def boot(disks: Disks, jobs: Sequence[Job], folder: Path, limit_s: float | None = None) -> Report:
    """Boot, do the jobs, power off. Never raises for what happens in the guest: the report says it.

    `folder` (existing, empty) gets serial.log, events.jsonl and results/. `limit_s` defaults to what the jobs may take.
    """
    limit = limit_s or BOOT_LIMIT_S + sum(job.timeout_s for job in jobs)
    make_tree(folder, as_json(jobs))
    for name in ("serial.log", "events.jsonl"):
        (folder / name).touch()
    with (folder / "results.tar").open("wb") as results:
        results.truncate(RESULTS_BYTES)
    kvm = bool(os.environ.get(KVM_WANTED))
    name = f"labctl-vm-{uuid.uuid4().hex[:8]}"
    begun = time.monotonic()
    events_file = folder / "events.jsonl"
    argv = container_argv(name, disks, folder, limit, qemu_argv(kvm=kvm), options(cgroup_driver(), kvm))
    said = _run(name, argv, limit + 60, lambda: '"docker"' in events_file.read_text(errors="replace"))
    seconds = time.monotonic() - begun
    events = read_events(events_file.read_text(errors="replace"))
    trouble = diagnose(events, said, (folder / "serial.log").read_text(errors="replace"), limit)
    if events and events[-1]["event"] == "end":
        _unpack(folder)
    report = Report(events, folder, seconds, trouble)
    (folder / REPORT).write_text(json.dumps({"seconds": seconds, "trouble": trouble, "qemu": said}) + "\n")
    return report


def load(folder: Path) -> Report:
    """The report of a boot that another process did."""
    kept = json.loads((folder / REPORT).read_text())
    events = read_events((folder / "events.jsonl").read_text(errors="replace"))
    return Report(events, folder, kept["seconds"], kept["trouble"])


def make_tree(folder: Path, work: str) -> None:
    """tree.tar in `folder`: the repository's tree and jobs.json, with labctl compiled for the guest's Python."""
    packed = folder / "packed.tar"
    pack(packed, work)
    pipe(["cat", str(packed)], in_container(GUEST_IMAGE, folder, "make-tree"))
    packed.unlink()


def _run(name: str, argv: list[str], limit_s: float, up: Callable[[], bool]) -> str:
    """Run the container to its end; what it said on standard error. Whatever happens to us, it is gone afterwards.

    A guest that is not `up` within BOOT_LIMIT_S will never be, and is not waited for.
    """
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said)
        begun = time.monotonic()
        try:
            while child.poll() is None:
                late = time.monotonic() - begun
                if late > limit_s or (late > BOOT_LIMIT_S and not up()):
                    break
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(1.0)
        finally:
            if child.poll() is None:
                subprocess.run(["docker", "kill", name], capture_output=True, check=False)
                child.kill()
                child.wait()
            assert child.stdin is not None
            child.stdin.close()
        said.seek(0)
        return said.read().decode(errors="replace").strip()


def read_events(text: str) -> tuple[dict[str, Any], ...]:
    """The events of events.jsonl; a last line that was cut off is left out."""
    events = []
    for line in text.splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            break
    return tuple(events)


def diagnose(events: Sequence[dict[str, Any]], said: str, serial: str, limit_s: float) -> str | None:
    """Why the guest did not come to its end by itself, or None when it did."""
    kinds = [event["event"] for event in events]
    broken = next((event["error"] for event in events if event["event"] == "broken"), None)
    if broken is None and kinds and kinds[-1] == "end":
        return None
    tail = "\n".join(f"  | {line}" for line in [*serial.splitlines()[-TAIL_LINES:], *said.splitlines()[-5:]])
    if broken is not None:
        return f"{broken}\n{tail}"
    if "Kernel panic" in serial:
        return f"its kernel panicked\n{tail}"
    doing = [event["id"] for event in events if event["event"] == "begin"]
    where = (
        f"while it did {doing[-1]}"
        if doing
        else "before Docker was ready"
        if kinds
        else "before its init began"
    )
    return f"it ended or was ended (limit {limit_s:g}s) {where}\n{tail}"


def _unpack(folder: Path) -> None:
    """results.tar becomes results/: the jobs' folders with their run directories, the services' logs."""
    packed = folder / "results.tar"
    with tarfile.open(packed) as archive:
        # As tarfile's documentation has it for Pythons that may not know filters: Debian 12's own 3.11.2 does not.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(folder)
    packed.unlink()
    (folder / "tree.tar").unlink()
