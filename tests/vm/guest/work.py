"""What runs inside the guest: start Docker, do the jobs one after the other, hand everything back.

Standard library only. Reads jobs.json beside the tree (see vm_jobs.py for its form). Every event is one JSON line on the
virtio port named `events`, written when it happens, so that a guest that hangs later loses nothing it said; files come
back as a tar written straight onto the disk given as the argument.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

JOBS = Path("/work/jobs.json")
RESULTS = Path("/results")
PORTS = Path("/sys/class/virtio-ports")
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
DOCKER_LIMIT_S = 300.0
# What containerd would look for and not find, or offer and nobody use; each costs time under emulation.
CONTAINERD_CONFIG = """
version = 2
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing", "io.containerd.nri.v1.nri",
]
"""

Event = dict[str, Any]
Write = Callable[[Event], None]


def uptime_s() -> float:
    """Seconds since the kernel started."""
    return float(Path("/proc/uptime").read_text().split()[0])


def port() -> Path:
    """The device of the virtio port `events`. Raises FileNotFoundError."""
    for entry in PORTS.iterdir():
        if (entry / "name").read_text().strip() == "events":
            return Path("/dev") / entry.name
    raise FileNotFoundError("QEMU was started without a virtio port named events")


def wait_for(what: str, ready: Callable[[], bool], service: subprocess.Popen[bytes]) -> None:
    """Until `ready()`. Raises RuntimeError when the service ends first or takes longer than DOCKER_LIMIT_S."""
    deadline = time.monotonic() + DOCKER_LIMIT_S
    while not ready():
        if service.poll() is not None:
            raise RuntimeError(f"{what} ended with {service.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} is not ready after {DOCKER_LIMIT_S:g}s")
        time.sleep(0.1)


def start(argv: list[str]) -> subprocess.Popen[bytes]:
    """A service in the background, its output in /results/<name>.log."""
    with (RESULTS / f"{argv[0]}.log").open("wb") as log:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)


def docker_answers() -> bool:
    """Whether the engine answers a ping (no `docker` command: starting one takes a second here)."""
    import http.client
    import socket

    connection = http.client.HTTPConnection("docker", timeout=5)
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect("/run/docker.sock")
        connection.request("GET", "/_ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def start_docker() -> None:
    """containerd and dockerd, ready to use. dockerd waits only 15 s for a containerd that it starts itself."""
    config = Path("/run/containerd.toml")
    config.write_text(CONTAINERD_CONFIG)
    containerd = start(["containerd", "--config", str(config), "--root", "/run/containerd-root"])
    wait_for("containerd", Path(CONTAINERD_SOCKET).exists, containerd)
    dockerd = start(["dockerd", "--containerd", CONTAINERD_SOCKET, "--userland-proxy=false"])
    wait_for("dockerd", docker_answers, dockerd)


def do(job: dict[str, Any], events: int) -> Event:
    """Run one job to its end or its limit; never raises for what the job does.

    A job may write events of its own, JSON lines, to the file descriptor that EVENTS_FD names.
    """
    begun = time.monotonic()
    folder = RESULTS / "jobs" / job["id"]
    folder.mkdir(parents=True)
    files = folder / "out", folder / "err"
    env = {**os.environ, **job["env"], "RESULTS": str(folder), "EVENTS_FD": str(events)}
    with files[0].open("wb") as out, files[1].open("wb") as err:
        child = subprocess.Popen(
            job["argv"], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, start_new_session=True, pass_fds=(events,)
        )  # fmt: skip
        try:
            exit_: int | None = child.wait(job["timeout_s"])
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            exit_ = None
    out_text, err_text = (file.read_text(errors="replace") for file in files)
    seconds = round(time.monotonic() - begun, 2)
    return {
        "event": "job",
        "id": job["id"],
        "exit": exit_,
        "seconds": seconds,
        "out": out_text,
        "err": err_text,
    }


def hand_back(disk: Path) -> None:
    """Write /results onto the disk as a tar."""
    with (RESULTS / "dmesg").open("wb") as log:
        subprocess.run(["dmesg"], stdout=log, check=False)
    with disk.open("r+b") as raw, tarfile.open(fileobj=raw, mode="w") as archive:
        archive.add(RESULTS, "results")
    os.sync()


def serve(work: dict[str, Any], write: Write, events: int) -> None:
    """Docker, then the jobs; a job that breaks is an event and does not stop the next."""
    write({"event": "init", "uptime_s": uptime_s(), "kernel": os.uname().release})
    start_docker()
    write({"event": "docker", "uptime_s": uptime_s()})
    for job in work["jobs"]:
        print(f"work: {job['id']}", flush=True)
        write({"event": "begin", "id": job["id"], "uptime_s": uptime_s()})
        write(do(job, events))
    if work.get("shell"):
        os.environ |= {"PS1": "labctl-vm# ", "TERM": "linux"}
        with Path("/dev/ttyS0").open("r+b", buffering=0) as console:
            subprocess.run(
                ["setsid", "-c", "sh", "-i"], stdin=console, stdout=console, stderr=console, check=False
            )


def main(disk: Path) -> None:
    """Do what jobs.json says; whatever goes wrong is the last event."""
    with port().open("w", buffering=1) as events:

        def write(event: Event) -> None:
            events.write(json.dumps(event) + "\n")

        try:
            serve(json.loads(JOBS.read_text()), write, events.fileno())
        except Exception as error:
            write({"event": "broken", "error": f"{type(error).__name__}: {error}"})
        hand_back(disk)
        write({"event": "end", "uptime_s": uptime_s()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
