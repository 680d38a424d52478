"""Several runs at once, each in a process of its own, so that each undoes its own faults whatever happens to the others."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labctl.errors import Interrupted, LabctlError
from labctl.finished import Run
from labctl.interrupts import interruptible
from labctl.runs import Options, run_scenario
from labctl.scenario.files import cased
from labctl.scenario.loader import Loaded

_Event = tuple[int, str, Any]


def run_many(
    scenarios: Sequence[Loaded], options: Options, jobs: int, observe: Callable[[str, Mapping[str, Any]], None]
) -> list[Run | LabctlError]:
    """Run the scenarios, at most `jobs` at a time; for each the run, or what stopped it before it began.

    On KeyboardInterrupt every run that goes on is interrupted, undone and saved; the rest are not begun.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["labctl.runner", "labctl.engines.docker", "labctl.report.html"])
    events: multiprocessing.Queue[_Event] = context.Queue()
    waiting = list(enumerate(scenarios))
    running: dict[int, Any] = {}
    found: dict[int, Run | LabctlError] = {}
    stopping = False
    while (waiting and not stopping) or running:
        try:
            while waiting and len(running) < jobs and not stopping:
                index, one = waiting.pop(0)
                running[index] = context.Process(target=_run, args=(index, one.path, one.case, options, events))
                running[index].start()
            _take(events, scenarios, running, found, observe)
        except KeyboardInterrupt:
            stopping = True
            for process in running.values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGINT)
    for index, one in waiting:
        found[index] = Interrupted(f"{cased(str(one.path), one.case)}: interrupted before it began")
    return [found[index] for index in sorted(found)]


def _take(
    events: multiprocessing.Queue[_Event],
    scenarios: Sequence[Loaded],
    running: dict[int, Any],
    found: dict[int, Run | LabctlError],
    observe: Callable[[str, Mapping[str, Any]], None],
) -> None:
    try:
        index, kind, value = events.get(timeout=0.1)
    except queue.Empty:
        for index in [i for i, p in running.items() if not p.is_alive() and events.empty()]:
            process = running.pop(index)
            found.setdefault(
                index, LabctlError(f"{scenarios[index].name}: the process of this run ended with {process.exitcode}")
            )
        return
    if kind == "event":
        observe(scenarios[index].name, value)
    else:
        found[index] = value
        running.pop(index).join()


def _run(
    index: int, path: Path, case: str | None, options: Options, events: multiprocessing.Queue[_Event]
) -> None:
    interruptible()
    threading.Thread(target=_follow_parent, daemon=True).start()

    def observe(event: Mapping[str, Any]) -> None:
        if event["event"] != "sockets":
            events.put((index, "event", event))

    try:
        events.put((index, "done", run_scenario(path, options, observe, case=case)))
    except LabctlError as error:
        events.put((index, "done", _portable(error)))
    except KeyboardInterrupt:
        events.put((index, "done", _portable(Interrupted(f"{cased(str(path), case)}: interrupted before it began"))))


def _follow_parent() -> None:
    """Interrupt this run when the process that asked for it is gone: nobody would ever see its result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGINT)


def _portable(error: LabctlError) -> LabctlError:
    # Errors with arguments of their own do not travel between processes; their message and exit code do.
    plain = LabctlError(str(error))
    plain.exit_code = error.exit_code
    return plain
