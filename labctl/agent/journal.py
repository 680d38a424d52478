"""Changes that are applied, and how to take each back: last in, first out, exactly what was done and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from .command import Ran, run

# The only failures of an undo that mean "somebody took it away already": iptables(8) and tc(8), by their own words.
ALREADY_GONE = (
    "does a matching rule exist in that chain",
    "No chain/target/match by that name",
    "Cannot find specified qdisc",
    "Cannot delete qdisc with handle of zero",
    "Cannot find device",
)


@dataclass(frozen=True)
class Change:
    """One argv to do and one to undo."""

    do: tuple[str, ...]
    undo: tuple[str, ...]


class ChangeFailed(Exception):
    """A command of a fault was refused; what had been done before it is undone again."""

    def __init__(self, ran: list[Ran]) -> None:
        super().__init__(str(next(r for r in ran if not r.ok)))
        self.ran = ran


@dataclass
class Journal:
    """The undo lists, by fault. Thread-safe; a fault is applied or undone whole before the next is touched."""

    runner: Callable[[tuple[str, ...]], Ran] = run
    _undos: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _closed: bool = False

    def apply(self, name: str, changes: list[Change]) -> list[Ran]:
        """Do all changes or none. Raises ChangeFailed, or ValueError when `name` is applied already."""
        with self._lock:
            if self._closed:
                raise ValueError("this agent is ending and applies nothing more")
            if name in self._undos:
                raise ValueError(f"{name} is applied already")
            undos = self._undos[name] = []
            done: list[Ran] = []
            for change in changes:
                undos.append(change.undo)
                done.append(self.runner(change.do))
                if not done[-1].ok:
                    if done[-1].exit is not None:  # refused, so there is nothing of it to take back
                        undos.pop()
                    self._undo(name)
                    raise ChangeFailed(done)
            return done

    def undo(self, name: str) -> list[Ran]:
        """Take a fault back, in reverse; a fault that is not there needs nothing. Failed commands are in the answer."""
        with self._lock:
            return self._undo(name)

    def close(self) -> list[Ran]:
        """Take everything back, the newest fault first, and accept nothing more."""
        with self._lock:
            self._closed = True
            return [ran for name in reversed(list(self._undos)) for ran in self._undo(name)]

    def names(self) -> list[str]:
        """What is applied now, oldest first."""
        with self._lock:
            return list(self._undos)

    def _undo(self, name: str) -> list[Ran]:
        return [self.runner(argv) for argv in reversed(self._undos.pop(name, []))]


def failed(ran: list[Ran]) -> list[Ran]:
    """The undo commands that failed for another reason than that their work was gone already."""
    return [r for r in ran if not r.ok and not any(said in r.err for said in ALREADY_GONE)]
