"""What is applied now, by name, and how to take it back: last in, first out, exactly what was done and nothing else."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .action import Action, ActionFailed, Proof, failed
from .command import Ran


@dataclass
class Journal:
    """The applied actions. Thread-safe; a fault is applied or undone whole before the next is touched.

    `_staged` names those of which only that was done which has no effect: nothing is quenched or counted of them.
    """

    _applied: dict[str, Action] = field(default_factory=dict)
    _staged: set[str] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _closed: bool = False

    def stage(self, name: str, action: Action) -> None:
        """Do ahead what of an action can be done without effect. Raises as `apply` does."""
        with self._register(name, action):
            self._staged.add(name)
            if hasattr(action, "stage"):
                action.stage()

    def apply(self, name: str, action: Action) -> list[Ran]:
        """Do an action whole or not at all. Raises ActionFailed, or ValueError when `name` is applied already."""
        with self._register(name, action):
            done = action.do()
            self._staged.discard(name)
            return done

    @contextlib.contextmanager
    def _register(self, name: str, action: Action) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise ValueError("this agent is ending and applies nothing more")
            if self._applied.get(name, action) is not action:
                raise ValueError(f"{name} is applied already")
            self._applied[name] = action
            try:
                yield
            except ActionFailed:
                del self._applied[name]
                self._staged.discard(name)
                raise

    def undo(self, name: str) -> tuple[list[Ran], Proof]:
        """Take a fault back; the commands, and what it touched (nothing known when it is not in place).

        The packets are counted before the undo takes the counters away. A count that cannot be read does not keep the
        fault in place; it is reported as None.
        """
        with self._lock:
            action = self._applied.pop(name, None)
            if action is None:
                return [], Proof()
            in_place = name not in self._staged
            quenched: list[Ran] = action.quench() if in_place and hasattr(action, "quench") else []
            proof = _proof(action) if in_place else Proof()
            undone = action.undo()
            if failed(undone):
                self._applied[name] = action  # so that `close` tries again
            else:
                self._staged.discard(name)
            return quenched + undone, proof

    def count(self, name: str) -> int | None:
        """Packets a fault has touched so far; None when it is not in place or that cannot be read."""
        with self._lock:
            action = self._applied.get(name)
            return None if action is None or name in self._staged else _proof(action).packets

    def close(self) -> list[Ran]:
        """Take everything back, the newest first, and accept nothing more."""
        with self._lock:
            self._closed = True
            return [ran for name in reversed(list(self._applied)) for ran in self._applied.pop(name).undo()]

    def when_empty(self, action: Callable[[], object]) -> None:
        """Do something only while nothing is applied, and let nothing be applied meanwhile."""
        with self._lock:
            if not self._applied:
                action()

    def names(self) -> list[str]:
        """What is applied now, oldest first."""
        with self._lock:
            return list(self._applied)


def _proof(action: Action) -> Proof:
    try:
        return action.proof() if hasattr(action, "proof") else Proof(action.count())
    except ActionFailed:
        return Proof()
