"""Running one command and keeping what it said; and reading what one that goes on has said."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

TIMEOUT_S = 20.0
SAID_BYTES = 2**20
Argv = tuple[str, ...]


@dataclass(frozen=True)
class Ran:
    """One command with its exit status; `exit` is None when it could not be started or did not end in time.

    `ms` is how long it took, `ended` the wall clock when it was over.
    """

    argv: tuple[str, ...]
    exit: int | None
    out: str
    err: str
    ms: float
    ended: float = 0.0

    @property
    def ok(self) -> bool:
        return self.exit == 0

    @property
    def looks(self) -> bool:
        """Whether it only reads what is there, as `tc qdisc show` does."""
        return "show" in self.argv

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))

    def __str__(self) -> str:
        answer = (self.err or self.out).strip() or "nothing"
        return f"`{' '.join(self.argv)}` ended with {self.exit} and said: {answer}"


class Runner(Protocol):
    """What runs the commands of an action: `run`, and made-up ones in the tests."""

    def __call__(self, argv: Argv, *, stdin: str = "") -> Ran: ...


def run(argv: Argv, timeout_s: float = TIMEOUT_S, out: Path | None = None, *, stdin: str = "") -> Ran:
    """Run a command to its end, at most timeout_s seconds; never raises for what the command does.

    `stdin` is what it reads; with `out` its standard output goes to that file and is not in the answer.
    """
    start = time.monotonic()

    def ran(exit_: int | None, said: str | None, err: str) -> Ran:
        return Ran(argv, exit_, said or "", err, round((time.monotonic() - start) * 1000, 3), time.time())

    try:
        stdout = out.open("wb") if out else subprocess.PIPE
        read: dict[str, Any] = {"input": stdin} if stdin else {"stdin": subprocess.DEVNULL}
        # close_fds=False lets CPython use vfork: 1 ms less for each command, and our descriptors are all close-on-exec.
        done = subprocess.run(
            argv, **read, stdout=stdout, stderr=subprocess.PIPE, text=True, errors="replace",
            timeout=timeout_s, check=False, close_fds=False,
        )  # fmt: skip
    except OSError as error:
        return ran(None, "", f"{argv[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return ran(None, "", f"{argv[0]}: not ended after {timeout_s:g}s")
    return ran(done.returncode, done.stdout, done.stderr)


def in_place(ran: list[Ran]) -> float:
    """When what these commands put in place was there, in seconds since the epoch: the last that changed something was over."""
    return next((r.ended for r in reversed(ran) if not r.looks), None) or time.time()


def said_so_far(file: IO[bytes]) -> str:
    """The first SAID_BYTES of what a process has written to a file that it was given as a stream.

    It writes at the file's offset, which it has in common with us (open(2)), so that is not moved: pread(2).
    """
    return os.pread(file.fileno(), SAID_BYTES, 0).decode(errors="replace").strip()
