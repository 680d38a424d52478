"""What a program says: a transcript for people while it runs, one JSON outcome for the driver when it ends.

Every network call worth reporting is wrapped in `Outcome.call`::

    with outcome.call("connect"):
        sock.connect(address)

so that whatever happens last — success, an errno, or nothing at all within the program's own limit — is
what the outcome says: the call, the errno *symbol*, and how long the call took. Numbers of errnos differ
between architectures (errno(3)), symbols do not.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType

# Two names for one number on Linux: the canonical one is what we print.
_CANONICAL = {errno.EAGAIN: "EAGAIN", errno.EOPNOTSUPP: "EOPNOTSUPP", errno.EDEADLK: "EDEADLK"}
_NAME_ERRORS = {getattr(socket, name): name for name in dir(socket) if name.startswith("EAI_")}


def errno_name(error: OSError) -> str | None:
    """The symbol of an error ("ECONNREFUSED", "EAI_NONAME"); None for a time-out that is ours."""
    if error.errno is None:
        return None
    if isinstance(error, socket.gaierror):
        return _NAME_ERRORS.get(error.errno, f"EAI_{error.errno}")
    return _CANONICAL.get(error.errno) or errno.errorcode.get(error.errno, f"E{error.errno}")


class Stopped(BaseException):
    """SIGTERM or SIGINT arrived. Not an Exception: nothing but `run` may swallow it."""


class Outcome:
    """The record of one run of one program.

    `errno` is the symbol the last call ended with, or None: success, a clean end of stream, or, with
    `timed_out` true, no answer within the program's own limit. ETIMEDOUT always means: the *kernel* gave up.
    `returned` is false while a call is going on: a signal that comes then ends it with no result at all.
    """

    def __init__(self, program: str, *, quiet: bool = False) -> None:
        self.program = program
        self.quiet = quiet
        self.op: str | None = None
        self.errno: str | None = None
        self.timed_out = False
        self.returned = True
        self.reason: str | None = None
        self.ms = 0.0
        self.sent = 0
        self.received = 0
        self.wanted: set[str] = set()  # errnos that are what this run exists to show: exit status 0
        self.silence_wanted = False  # true when our own time-out is what this run exists to show
        self.endless = False  # true for what runs until it is stopped: a signal is then its proper end
        self.extra: dict[str, object] = {}
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line of the transcript, now, unless --quiet."""
        if not self.quiet:
            self.announce(text)

    def announce(self, text: str) -> None:
        """Print one line even with --quiet: what others wait for."""
        with contextlib.suppress(BrokenPipeError):  # nobody reads our transcript: no reason to stop
            print(text, flush=True)

    def note(self, **fields: object) -> None:
        """Add fields of this program's own to the outcome."""
        self.extra.update(fields)

    def fail(self, reason: str) -> None:
        """Say that the run did not do what was asked, though no call gave an error."""
        self.reason = reason
        self.say(reason)

    @contextlib.contextmanager
    def call(self, op: str) -> Iterator[None]:
        """Time one call and keep how it ended; the error, if any, goes on to the caller."""
        self.op, self.errno, self.timed_out, self.returned = op, None, False, False
        began = time.monotonic()
        try:
            yield
            self.returned = True
        except OSError as error:
            self.returned = True
            self.record(error)
            raise
        finally:
            self.ms = (time.monotonic() - began) * 1000

    def record(self, error: OSError) -> None:
        """Keep the errno of an error, or that the program's own limit was reached."""
        self.errno = errno_name(error)
        self.timed_out = self.errno is None

    def describe(self, error: OSError) -> str:
        """One line for people about the call that just failed."""
        if self.timed_out:
            return f"{self.op}: no answer and no error within {self.ms:.0f} ms, our own limit"
        return f"{self.op}: {self.errno} ({error.strerror}) after {self.ms:.1f} ms"

    @property
    def exit_code(self) -> int:
        """0: did what was asked. 1: the network or the kernel said otherwise."""
        as_asked = self.errno is None or self.errno in self.wanted
        in_time = self.silence_wanted or not self.timed_out
        return 0 if as_asked and in_time and self.reason is None else 1

    def finish(self) -> int:
        """Write the JSON outcome: to the file named in LABCTL_OUTCOME, else as stdout's last line."""
        fields: dict[str, object] = {
            "program": self.program,
            "op": self.op,
            "errno": self.errno,
            "timed_out": self.timed_out,
            "ms": round(self.ms, 3),
            "total_ms": round((time.monotonic() - self._started) * 1000, 3),
            "sent": self.sent,
            "received": self.received,
            "byteorder": sys.byteorder,
            "machine": os.uname().machine,
            **({"reason": self.reason} if self.reason else {}),
            **self.extra,
        }
        text = json.dumps(fields)
        path = os.environ.get("LABCTL_OUTCOME")
        if path:
            with open(path + ".part", "w", encoding="ascii") as file:  # noqa: PTH123 (pathlib is slow to import under QEMU)
                file.write(text + "\n")
            os.replace(path + ".part", path)  # noqa: PTH105 — whoever waits for the file never reads half of it
        else:
            with contextlib.suppress(BrokenPipeError):
                print(text, flush=True)
        return self.exit_code


def _stop(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: the end may take its time to be written
    raise Stopped(signal.Signals(number).name)


def run(parser: argparse.ArgumentParser, main: Callable[[argparse.Namespace, Outcome], None]) -> None:
    """Parse the arguments (usage on stderr and exit 2 if they are wrong), run `main`, report, exit.

    Whatever the network or the kernel did ends here as an outcome, never as a traceback.
    """
    for stream in (sys.stdout, sys.stderr):  # a peer may make us print anything
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    args = parser.parse_args()
    outcome = Outcome(parser.prog.removesuffix(".py").replace("_", "-"), quiet=getattr(args, "quiet", False))
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        main(args, outcome)
    except OSError as error:
        if outcome.errno is None and not outcome.timed_out:
            outcome.record(error)
        outcome.say(outcome.describe(error))
    except Stopped as stopped:
        outcome.note(stopped=str(stopped), returned=outcome.returned)
        outcome.say(f"stopped by {stopped}")
        if not outcome.endless:
            outcome.reason = f"stopped by {stopped} in {outcome.op}"
    sys.exit(outcome.finish())
