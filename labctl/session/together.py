"""Doing one thing at several hosts at once, and cleaning up so that one failure hides no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from labctl.errors import LabctlError
from labctl.evidence.rundir import RunDirectory
from labctl.interrupts import uninterrupted


def everywhere(action: Callable[[Any], Any], things: Sequence[Any]) -> list[Any]:
    """Do one thing for each, at once; raises the first error after all are done."""
    if len(things) == 1:
        return [action(things[0])]
    with ThreadPoolExecutor(max_workers=max(1, len(things))) as pool:
        with uninterrupted():  # or a thread may have begun that the pool does not know of
            futures = [pool.submit(action, thing) for thing in things]
        # Waited for here, as an interrupt would end the pool's own waiting and leave its threads at work.
        wait(futures)
    return [future.result() for future in futures]


def recorded(record: RunDirectory, action: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The action as a part of clean-up: when it fails that is recorded, and does not hide what made it necessary."""

    def tried(thing: Any) -> Any:
        try:
            return action(thing)
        except LabctlError as error:
            record.event("error", message=str(error), undoing=True)
            return None

    return tried
