"""tshark over the capture, started before there is anything to read: most of what it costs is starting it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import IO, Any

from .forks import Forked

TIMEOUT_S = 120.0
CHUNK_BYTES = 1 << 20
NICE = "5"


class Dissector:
    """One tshark that waits at its standard input for a capture and writes its lines to a file."""

    def __init__(self, argv: list[str], target: Path) -> None:
        self.argv = [*argv, "-r", "-"]
        self.target = target
        target.parent.mkdir(parents=True, exist_ok=True)
        self._errors = target.with_suffix(".tshark")
        with target.open("wb") as out, self._errors.open("wb") as err:
            self._process = _started(self.argv, out, err)

    def read(self, capture: Path, size: int) -> dict[str, Any]:
        """Give it the first `size` bytes of a capture and wait until it has said everything about them."""
        started = time.monotonic()
        assert self._process.stdin is not None
        try:
            with capture.open("rb") as source:
                while size > 0 and (chunk := source.read(min(CHUNK_BYTES, size))):
                    self._process.stdin.write(chunk)
                    size -= len(chunk)
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # it refused its arguments or the file; its own words say why
        try:
            exit_: int | None = self._process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            exit_ = None
        with self.target.open("rb") as lines:
            next(lines, None)  # the names of the columns
            packets = sum(1 for _ in lines)
        return {
            "file": str(self.target), "packets": packets, "argv": self.argv, "exit": exit_,
            "err": self._errors.read_text(errors="replace"), "ms": (time.monotonic() - started) * 1000,
        }  # fmt: skip

    def kill(self) -> None:
        """End it; what it wrote stays."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _started(argv: list[str], out: IO[bytes], err: IO[bytes]) -> subprocess.Popen[bytes] | Forked:
    try:
        return Forked(argv, out, err)
    except OSError:  # nobody forks here: this is no lab that stands, or its driver is elsewhere
        # Nice: it starts up while the scenario's first steps run, and must not be in their way.
        return subprocess.Popen(["nice", "-n", NICE, *argv], stdin=subprocess.PIPE, stdout=out, stderr=err)
