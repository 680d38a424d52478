"""Faults that come and go by the agent's own clock: after a while, for a while, again and again, or growing."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .action import Action, ActionFailed, Proof, failed
from .command import Ran, in_place
from .journal import Journal

RAMP_STEP_S = 0.05
AHEAD_S = 0.05  # what is due sooner is done whole when it is due: to stage it first would be more commands, and later


@dataclass(frozen=True)
class Timeline:
    """When a fault is in place, in seconds from when it was asked for.

    It begins `after_s`, lasts `for_s` (None: until it is healed), and begins anew `every_s` after it began, `times` in all
    (None: until it is healed). `since_s` is how much of it is over when it is taken up (again): times that ended are passed
    over, one that should be in place begins at once.
    """

    after_s: float = 0.0
    for_s: float | None = None
    every_s: float | None = None
    times: int | None = None
    since_s: float = 0.0

    def moments(self) -> Iterator[tuple[float, bool]]:
        """Each change in order: (seconds from the start, whether it is in place from then on)."""
        number = 0
        while True:
            begin = self.after_s + number * (self.every_s or 0.0)
            is_over = self.for_s is not None and begin + self.for_s <= self.since_s
            if not is_over:
                yield begin, True
            if self.for_s is None:
                return
            if not is_over:
                yield begin + self.for_s, False
            number += 1
            if self.every_s is None or (self.times is not None and number >= self.times):
                return


class Schedule:
    """One fault on its timeline, run by a thread. `tell` gets an event when it really began and ended."""

    def __init__(
        self,
        name: str,
        make: Callable[[], Action],
        timeline: Timeline,
        journal: Journal,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self._name, self._make, self._timeline, self._journal, self._tell = (
            name,
            make,
            timeline,
            journal,
            tell,
        )
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"timeline-{name}", daemon=True)

    def start(self) -> None:
        """Begin counting."""
        self._start = time.monotonic() - self._timeline.since_s
        self._wall = time.time() - self._timeline.since_s
        self._thread.start()

    def cancel(self) -> None:
        """Change nothing more; what is in place stays for whoever cancels to undo."""
        self._cancelled.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=10)

    def _run(self) -> None:
        moments = self._timeline.moments()
        moment = next(moments, None)
        while moment is not None:
            offset_s, in_place = moment
            moment = next(moments, None)
            try:
                if in_place:
                    action = self._make()
                    if offset_s - self._now_s() > AHEAD_S:
                        self._journal.stage(self._name, action)
                if self._wait_until(offset_s):
                    return
                if in_place:
                    self._begin(offset_s, action)
                    self._ramp(action, moment[0] if moment else math.inf)
                else:
                    self._end(offset_s)
            except Exception as error:  # whatever it is: nobody else hears of what goes wrong in this thread
                impossible = isinstance(error, ActionFailed) and not error.ran
                self._tell(
                    {
                        "event": "fault-error", "name": self._name, "error": _words(error), "impossible": impossible,
                        "time": time.time(),
                    }
                )  # fmt: skip
                return

    def _begin(self, asked_s: float, action: Action) -> None:
        ran = self._journal.apply(self._name, action)
        about = action.about() if hasattr(action, "about") else {}
        self._said("applied", asked_s, in_place(ran), ran, Proof().as_json() | about)

    def _ramp(self, action: Action, end_s: float) -> None:
        """Have it grow from now on; one whose fault ends meanwhile (`end_s` from the start) is over with it."""
        ramp_s = getattr(action, "ramp_s", 0.0)
        now_s = begun_s = self._now_s()
        while ramp_s and not self._wait_until(min(now_s + RAMP_STEP_S, begun_s + ramp_s, end_s)):
            now_s = self._now_s()
            if now_s >= end_s:
                return
            fraction = min(1.0, (now_s - begun_s) / ramp_s)
            action.progress(fraction)  # type: ignore[attr-defined]
            if fraction >= 1.0:
                self._tell({"event": "fault-ramped", "name": self._name, "time": time.time()})
                return

    def _end(self, asked_s: float) -> None:
        ran, proof = self._journal.undo(self._name)
        if failed(ran):
            raise ActionFailed(failed(ran))
        # The first command of an undo takes the fault away.
        self._said("removed", asked_s, ran[0].ended if ran else time.time(), ran, proof.as_json())

    def _said(
        self,
        phase: str,
        asked_s: float,
        ended: float,
        ran: list[Ran],
        about: Mapping[str, Any],
    ) -> None:
        self._tell(
            {
                "event": f"fault-{phase}", "name": self._name, "asked": self._wall + asked_s, "time": ended,
                "ran": [r.as_json() for r in ran], **about,
            }
        )  # fmt: skip

    def _now_s(self) -> float:
        """Seconds from the start."""
        return time.monotonic() - self._start

    def _wait_until(self, offset_s: float) -> bool:
        return self._cancelled.wait(max(0.0, offset_s - self._now_s()))


def _words(error: Exception) -> str:
    """What went wrong, with its kind where it is none of those that an action raises."""
    return str(error) if isinstance(error, ActionFailed | ValueError) else f"{type(error).__name__}: {error}"
