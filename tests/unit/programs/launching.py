"""Starting the bundled programs in tests: processes of their own, on loopback, on ports the kernel chooses.

By default they run on this Python; a test of another machine (a container) gives the command to start its own
instead, or another way to launch them: `Running` is what it must give.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

PROGRAMS = Path(__file__).resolve().parents[3] / "images" / "programs"
# No site-packages (-S): the standard library must do. Bytecode is kept, but not beside the programs.
_BYTECODE = Path(tempfile.gettempdir()) / "labctl-programs-bytecode"
NATIVE = (sys.executable, "-S", "-E", "-X", f"pycache_prefix={_BYTECODE}")
PATIENCE_SECONDS = 30
BOUND = re.compile(r"^(?:listening on|bound to) \S+:(\d+)")


class Result(NamedTuple):
    """How a program ended."""

    exit: int
    outcome: dict[str, Any] | None
    lines: list[str]
    stderr: str


class Running(Protocol):
    """A program under way, however it was launched."""

    def port(self) -> int: ...
    def wait(self) -> Result: ...
    def __enter__(self) -> Running: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Program:
    """A program under way. As a context manager it is stopped at the end, whatever happens."""

    def __init__(
        self, argv: Sequence[str], python: Sequence[str] = NATIVE, programs: Path = PROGRAMS
    ) -> None:
        self.argv = argv
        self.lines: list[str] = []
        environment = {name: value for name, value in os.environ.items() if name != "LABCTL_OUTCOME"}
        self._process = subprocess.Popen(
            [*python, str(programs / f"{argv[0]}.py"), *argv[1:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        self.pid = self._process.pid

    def port(self) -> int:
        """The port it listens on or is bound to, read from its transcript: no guess, no sleep."""
        assert self._process.stdout
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            match = BOUND.match(line)
            if match:
                return int(match[1])
        raise AssertionError(f"{self.argv} ended without listening: {self.lines} {self.wait().stderr}")

    def read_until(self, pattern: str) -> str:
        """The first line of the transcript, from here on, in which the pattern is found."""
        assert self._process.stdout
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            if re.search(pattern, line):
                return line
        raise AssertionError(f"{self.argv} never said {pattern!r}: {self.lines}")

    def wait_until_it_waits(self) -> None:
        """Return when it sleeps in the kernel and goes on sleeping: it has entered the call that it said it would.

        One look is not enough: it may wait for a moment on its way there as well. What was not put to sleep again meanwhile
        (proc(5), /proc/pid/status: ctxt_switches) has slept all the time.
        """
        status = Path(f"/proc/{self.pid}/status")
        deadline = time.monotonic() + PATIENCE_SECONDS
        before = None
        while True:
            now = re.findall(r"^(?:State:\s+S|\w*ctxt_switches:\s+\d+)", status.read_text(encoding="utf-8"), re.MULTILINE)
            if len(now) == 3 and now == before:
                return
            assert time.monotonic() < deadline, f"{self.argv} never waits"
            before = now
            time.sleep(0.03)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Result:
        """Send a signal, and wait for the end."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self.wait()

    def wait(self) -> Result:
        """Wait for the end. The outcome is the last line of stdout."""
        out, err = self._process.communicate(timeout=PATIENCE_SECONDS)
        self.lines += out.splitlines()
        outcome = json.loads(self.lines[-1]) if self.lines and self.lines[-1].startswith("{") else None
        return Result(self._process.returncode, outcome, self.lines, err)

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()
        self._process.wait()


def run(*argv: str, python: Sequence[str] = NATIVE) -> Result:
    """Run a program to its end."""
    with Program(argv, python) as program:
        return program.wait()


def outcome_of(result: Result) -> dict[str, Any]:
    """The outcome, which a program that was called rightly always has."""
    assert result.outcome is not None, result
    assert "Traceback" not in result.stderr, result.stderr
    return result.outcome
