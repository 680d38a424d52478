"""The programs that a scenario runs on its hosts, and what they said."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from labctl.engines.agents import AgentRefused
from labctl.engines.base import Process
from labctl.errors import LabError
from labctl.evidence.shapes import is_outcome
from labctl.matching import SIMPLER, TooSlow, matches
from labctl.plan import PlannedStep
from labctl.scenario.model import Ready, RunStep
from labctl.session.hosts import Hosts
from labctl.session.together import everywhere, recorded

WATCH_S = 0.05
STOP_GRACE_S = 3.0


class StepFailed(Exception):
    """A step could not be done: its own message, for the step; `program` is the id of the program it was about."""

    def __init__(self, message: str, program: str | None = None) -> None:
        super().__init__(message)
        self.program = program


@dataclass
class Running:
    """A program on a host, and what the record calls it.

    `signalled` is the last signal that we sent it while it ran, `searched` the output in which nothing was found.
    """

    id: str
    handle: str
    host: str
    step: int
    process: Process
    file: str
    finished: bool = False
    killed_by: str | None = None
    signalled: str | None = None
    searched: str | None = None

    def signal(self, name: str) -> None:
        """Send it a signal by name, unless it has ended. Raises LabError."""
        if not self.process.wait(0):
            self.signalled = name
            self.process.signal(name)


@dataclass
class Programs:
    """The programs of one run, by the step that started them. A fault may kill some of them while a step runs."""

    hosts: Hosts
    programs: dict[str, Running] = field(default_factory=dict)
    _ending: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.engine, self.record, self.agents = self.hosts.engine, self.hosts.record, self.hosts.agents

    def start(self, step: PlannedStep) -> Running:
        """Start the step's program and, where it says so, wait for the fact that it is ready."""
        assert step.host is not None
        if step.host in self.hosts.killed:
            raise StepFailed(f"{step.host} was killed by the fault {self.hosts.killed[step.host]} and is not up again")
        handle = step.handles[0] if step.handles else step.step.run[0] if isinstance(step.step, RunStep) else step.argv[0]
        running_id = f"{step.index}"
        asked = self.record.now()  # not when it is known: what takes two seconds must never seem to have taken less
        process = self.engine.start(step.host, step.argv, dict(step.env), step.beside)
        running = Running(running_id, handle, step.host, step.index, process, f"{step.index:02d}-{step.host}")
        self.programs[running_id] = running
        self.record.event(
            "program-start",
            t=asked,
            id=running_id,
            handle=handle,
            host=step.host,
            argv=list(step.argv),
            step=step.index,
        )
        return running

    def wait_ready(self, running: Running, ready: Ready) -> None:
        deadline = time.monotonic() + ready.timeout
        future = self.bound(running.host, ready) if ready.listen or ready.bound else None
        while True:
            if future is not None and future.done():
                try:
                    future.result()
                except AgentRefused as error:
                    raise StepFailed(
                        f"{running.handle} is not ready: {error}{self._said(running)}", running.id
                    ) from None
                return
            if ready.output and self._has_written(running, ready, deadline):
                return
            if running.process.wait(WATCH_S / 10):
                if ready.output and self._has_written(running, ready, deadline):
                    return  # the last that it did
                self._ended(running)
                raise StepFailed(
                    f"{running.handle} ended before it was ready{self._said(running)}", running.id
                )
            if time.monotonic() > deadline and future is None:
                raise StepFailed(
                    f"{running.handle} did not write {ready.output!r} within {ready.timeout:g}s{self._said(running)}",
                    running.id,
                )
            self.hosts.check()

    def _has_written(self, running: Running, ready: Ready, deadline: float) -> bool:
        """Whether what makes it ready is in its output. Raises StepFailed when that is not found out before the deadline."""
        text = self._text(running)
        if text == running.searched:
            return False
        try:
            found = matches(ready.output or "", text, max(WATCH_S, deadline - time.monotonic()))
        except TooSlow:
            raise StepFailed(
                f"{running.handle} is not known to be ready: looking for {ready.output!r} in what it wrote gave no answer "
                f"within {ready.timeout:g}s; {SIMPLER}{self._said(running)}",
                running.id,
            ) from None
        running.searched = None if found else text
        return found

    def bound(self, host: str, ready: Ready) -> Future[Any]:
        """Have a host's agent wait for a socket; refused when there is none in time."""
        port, protocol = (ready.listen, "tcp") if ready.listen else (ready.bound, "udp")
        return self.agents[host].ask("wait_bound", port=port, protocol=protocol, timeout_s=ready.timeout)

    def named(self, handle: str) -> Running:
        """The program that a scenario calls so; one that a fault killed is there until another takes its name."""
        found = [r for r in self.programs.values() if r.handle == handle]
        return next((r for r in reversed(found) if not r.finished), found[-1])

    def host_dies(self, host: str, fault: str) -> list[Running]:
        """A fault is about to kill a host: what runs there ends by that, which is no error. Which programs those are."""
        dying = [r for r in self.programs.values() if r.host == host and not r.finished and not r.process.wait(0)]
        for running in dying:
            running.killed_by = fault
        return dying

    def gone(self, dying: list[Running]) -> None:
        """Wait until programs of a host that was killed have ended, and save what they said."""
        for running in dying:
            _ends(running.process, STOP_GRACE_S)
            self._ended(running)

    def kill(self, handle: str, host: str, fault: str) -> None:
        """SIGKILL a program that runs on a host. Raises LabError when it does not run or cannot be signalled."""
        running = next(
            (r for r in self.programs.values() if (r.handle, r.host) == (handle, host) and not r.finished), None
        )
        if running is None or running.process.wait(0):
            raise LabError(f"{handle} does not run on {host} any more, so there is nothing to kill")
        running.killed_by = fault
        running.signal("KILL")

    def wait_end(self, running: Running, timeout_s: float) -> None:
        if not _ends(running.process, timeout_s, self.hosts.check):
            running.signal("KILL")
            _ends(running.process, STOP_GRACE_S)
            self._ended(running)
            raise StepFailed(
                f"{running.handle} did not end within {timeout_s:g}s and was killed{self._said(running)}",
                running.id,
            )
        self._ended(running)

    def _stop(self, running: Running) -> None:
        with contextlib.suppress(LabError):  # a program that cannot be signalled ends with its host
            running.signal("TERM")
            if not _ends(running.process, STOP_GRACE_S):
                running.signal("KILL")
                _ends(running.process, STOP_GRACE_S)
        self._ended(running)

    def _ended(self, running: Running) -> None:
        """Save what a program said and how it ended."""
        with self._ending:  # a step and a fault may both see it end
            if running.finished:
                return
            out, err = running.process.output()
            text, outcome = split_outcome(out)
            self.record.write(f"programs/{running.file}.out", text)
            self.record.write(f"programs/{running.file}.err", err)
            if outcome is not None:
                self.record.write_json(f"programs/{running.file}.json", outcome)
            status = running.process.exit_status()
            if status is None and running.killed_by is not None:
                status = 128 + signal.SIGKILL  # the engine forgets what ran on a host that is no more
            # One that a fault killed before it had begun was not refused.
            refused = running.process.refusal() if running.killed_by is None else None
            ended_at = running.process.ended_at()
            self.record.event(
                "program-end", t=self.record.now() if ended_at is None else self.record.at(ended_at), id=running.id,
                handle=running.handle, host=running.host, step=running.step, exit=status, outcome=outcome, file=running.file,
                killed=running.killed_by, signalled=running.signalled, refused=refused,
                left_out=dict(running.process.left_out()),
            )  # fmt: skip
            running.finished = True

    def _text(self, running: Running) -> str:
        out, err = running.process.output()
        return (out + b"\n" + err).decode(errors="replace")

    def _said(self, running: Running) -> str:
        said = self._text(running).strip()
        return f"; it said:\n{said[-1500:]}" if said else "; it said nothing"

    def stop_all(self) -> None:
        """End what still runs. What fails at one is recorded and keeps no other from being ended."""
        left = [r for r in self.programs.values() if not r.finished]
        everywhere(recorded(self.record, self._stop), left)


def _ends(process: Process, timeout_s: float, check: Callable[[], object] = lambda: None) -> bool:
    """Whether a program ends in time; then, once the engine says how, which may be later. `check` may raise meanwhile."""
    deadline = time.monotonic() + timeout_s
    is_late = False
    while not process.wait(min(WATCH_S, max(0.0, deadline - time.monotonic()) or WATCH_S)):
        check()
        if is_late and process.ended_at() is None:
            return False
        is_late = time.monotonic() >= deadline  # look once more: it may have been this process that stood still
    return True


def split_outcome(out: bytes) -> tuple[bytes, dict[str, Any] | None]:
    """A program's stdout without its outcome line, and the outcome: a last line that is a JSON object with `op` and `errno`."""
    head, _, last = out.rstrip(b"\n").rpartition(b"\n")
    try:
        outcome = json.loads(last)
    except (ValueError, RecursionError):
        return out, None
    if not is_outcome(outcome):
        return out, None
    return (head + b"\n" if head else b""), outcome
