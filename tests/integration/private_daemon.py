"""A Docker daemon of the test's own, which it may kill: it shares no network, rule, mount or file with the machine's."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

START_TIMEOUT_S = 60.0


def why_not() -> str | None:
    """Why there can be none here; None when there can."""
    if os.geteuid() != 0:
        return "a Docker daemon of one's own needs root"
    missing = [tool for tool in ("dockerd", "unshare", "nsenter", "ip") if shutil.which(tool) is None]
    return f"{', '.join(missing)}: not on this machine" if missing else None


@dataclass
class PrivateDaemon:
    """dockerd in a network and a mount namespace that live as long as `holder`: started again it finds what it left there.

    `folder` holds its data; its path is short, as a socket's path has 108 bytes at most (unix(7)).
    """

    folder: Path
    options: tuple[str, ...] = ()
    holder: subprocess.Popen[bytes] | None = None
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environment = {"DOCKER_HOST": f"unix://{self.folder}/socket"}

    def __enter__(self) -> PrivateDaemon:
        ready = self.folder / "ready"
        script = f"ip link set lo up && touch {ready} && exec sleep infinity"
        self.holder = subprocess.Popen(["unshare", "--net", "--mount", "sh", "-c", script])
        _until(ready.exists, "the namespaces are not there")
        self.start()
        return self

    def start(self) -> None:
        """Start it unless it runs, and wait until it answers."""
        assert self.holder is not None
        if self.process is not None and self.process.poll() is None:
            return
        # What one that was killed leaves keeps the next from starting (docs/troubleshooting.md).
        for left in ("pid", "exec/containerd/containerd.pid"):
            (self.folder / left).unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "nsenter", "--target", str(self.holder.pid), "--net", "--mount",
                    "dockerd", "--host", self.environment["DOCKER_HOST"], "--data-root", f"{self.folder}/data",
                    "--exec-root", f"{self.folder}/exec", "--pidfile", f"{self.folder}/pid", *self.options,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        _until(self._answers, f"dockerd does not answer; see {self.folder}/log")

    def end(self, number: int) -> None:
        """Send it a signal, and wait until it has ended."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(timeout=60)

    def namespace(self) -> str:
        """What iptables says of the namespace in which it is."""
        assert self.holder is not None
        argv = ["nsenter", "--target", str(self.holder.pid), "--net", "iptables-save"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    def load(self, archive: Path) -> None:
        """Give it images."""
        load = ["docker", "load", "--quiet", "--input", archive]
        subprocess.run(load, env=os.environ | self.environment, check=True, capture_output=True)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"dockerd ended: {(self.folder / 'log').read_text()[-2000:]}"
        asked = subprocess.run(["docker", "version"], env=os.environ | self.environment, capture_output=True, check=False)
        return asked.returncode == 0

    def _end_shims(self) -> None:
        """End what stood between containerd and containers that a killed daemon has half removed: nobody asks for it again."""
        socket = f"{self.folder}/exec/containerd/containerd.sock".encode()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if socket in path.read_bytes().split(b"\0"):
                    os.kill(int(path.parts[2]), signal.SIGKILL)

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            everything = "docker ps --all --quiet | xargs --no-run-if-empty docker rm --force"
            subprocess.run(["sh", "-c", everything], env=os.environ | self.environment, capture_output=True, check=False)
            self.end(signal.SIGTERM)
        self._end_shims()
        if self.holder is not None:
            self.holder.kill()
            self.holder.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _until(holds: object, otherwise: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    assert callable(holds)
    while not holds():
        assert time.monotonic() < deadline, otherwise
        with contextlib.suppress(InterruptedError):
            time.sleep(0.05)
