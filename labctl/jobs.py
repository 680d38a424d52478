"""Several runs at once, each in a process of its own, so that each undoes its own faults whatever happens to the others."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import multiprocessing.process
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labctl.errors import Interrupted, LabctlError, ScenarioError
from labctl.finished import Run
from labctl.interrupts import interrupt_main, interruptible, listen, noticed, withheld
from labctl.runs import Options, prepare, run_scenario, sharing
from labctl.scenario.files import cased
from labctl.scenario.loader import Loaded

_Event = tuple[int, str, Any]


def run_many(
    scenarios: Sequence[Loaded], options: Options, jobs: int, observe: Callable[[str, Mapping[str, Any]], None]
) -> list[Run | LabctlError]:
    """Run the scenarios, at most `jobs` at a time; for each the run, or what stopped it before it began.

    When this process is interrupted every run that goes on is, and is undone and saved; the rest are not begun.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["labctl.runner", "labctl.engines.docker", "labctl.report.html"])
    waiting = list(enumerate(scenarios))
    running: dict[int, _Running] = {}
    found: dict[int, Run | LabctlError] = {}
    with noticed() as is_interrupted, sharing(options) as shared:
        with withheld():
            events: multiprocessing.Queue[_Event] = context.Queue()
        while (waiting and not is_interrupted()) or running:
            while waiting and len(running) < jobs and not is_interrupted():
                index, one = waiting.pop(0)
                running[index] = _begin(context, index, one, shared, events)
            if is_interrupted():
                for one_running in running.values():
                    one_running.stop.close()
            _take(events, scenarios, running, found, observe)
    for index, one in waiting:
        found[index] = not_begun(one.path, one.case)
    return [found[index] for index in sorted(found)]


@dataclass(frozen=True)
class _Running:
    """A run's process, and what interrupts it when it is closed, or when this process is gone."""

    process: multiprocessing.process.BaseProcess
    stop: multiprocessing.connection.Connection


def _begin(
    context: multiprocessing.context.ForkServerContext, index: int, one: Loaded, options: Options,
    events: multiprocessing.Queue[_Event],
) -> _Running:  # fmt: skip
    heard, stop = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(index, one.path, one.case, options, events, heard))
    with withheld():  # one that has not begun to listen would die of a signal with a traceback
        process.start()
    heard.close()
    return _Running(process, stop)


def _take(
    events: multiprocessing.Queue[_Event],
    scenarios: Sequence[Loaded],
    running: dict[int, _Running],
    found: dict[int, Run | LabctlError],
    observe: Callable[[str, Mapping[str, Any]], None],
) -> None:
    try:
        index, kind, value = events.get(timeout=0.1)
    except queue.Empty:
        for index in [i for i, one in running.items() if not one.process.is_alive() and events.empty()]:
            process = running.pop(index).process
            found.setdefault(
                index, LabctlError(f"{scenarios[index].name}: the process of this run ended with {process.exitcode}")
            )
        return
    if kind == "event":
        observe(scenarios[index].name, value)
    else:
        found[index] = value
        ended = running.pop(index)
        ended.process.join()
        ended.stop.close()


def _run(
    index: int, path: Path, case: str | None, options: Options, events: multiprocessing.Queue[_Event],
    stop: multiprocessing.connection.Connection,
) -> None:  # fmt: skip
    def observe(event: Mapping[str, Any]) -> None:
        if event["event"] != "sockets":
            events.put((index, "event", event))

    is_interrupted = interruptible()
    try:
        threading.Thread(target=_follow, args=(stop,), daemon=True).start()
        # Read while the signals are withheld: pydantic loses exceptions that come while it makes a model's validator.
        loaded = prepare(path, options.overrides, case=case).loaded
        listen()
        events.put((index, "done", run_scenario(loaded, options, observe)))
    except LabctlError as error:
        events.put((index, "done", _portable(error)))
    except BaseException:
        if not is_interrupted():
            raise
        events.put((index, "done", _portable(not_begun(path, case))))


def not_begun(path: Path, case: str | None) -> Interrupted:
    """What stopped a run that was still to come when the command was interrupted."""
    return Interrupted(f"{cased(str(path), case)}: interrupted before it began")


def _follow(stop: multiprocessing.connection.Connection) -> None:
    """Interrupt this run when whoever asked for it wants that, or is gone: nobody would ever see its result."""
    multiprocessing.connection.wait([stop])
    interrupt_main()


def _portable(error: LabctlError) -> LabctlError:
    if isinstance(error, ScenarioError):
        return error
    # Others with arguments of their own do not travel between processes; their message and exit code do.
    plain = LabctlError(str(error))
    plain.exit_code = error.exit_code
    return plain
