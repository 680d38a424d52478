"""Connection tracking entries that are taken away while their connections go on (conntrack(8), -D)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .action import ActionFailed, Commands
from .command import Ran, Runner, run

_DELETED = re.compile(r"(\d+) flow entries have been deleted")


@dataclass
class Expire:
    """Deletes entries once; `rules` then say what becomes of packets of connections that nobody knows any more."""

    deletes: tuple[tuple[str, ...], ...]
    rules: Commands
    runner: Runner = run
    _deleted: int = 0

    @classmethod
    def parse(cls, request: dict[str, Any]) -> Expire:
        """From its JSON: {"deletes": [argv, ...]} and what Commands takes."""
        return cls(tuple(tuple(argv) for argv in request["deletes"]), Commands.parse(request))

    def stage(self) -> None:
        self.rules.stage()

    def do(self) -> list[Ran]:
        # The rules first: a packet between the two would make a new entry.
        done = self.rules.do()
        for argv in self.deletes:
            ran = self.runner(argv)
            done.append(ran)
            found = _DELETED.search(ran.err)
            if not ran.ok and found is None:  # it ends with 1 when there was nothing to delete, which is no failure
                self.undo()
                raise ActionFailed([*done])
            self._deleted += int(found[1]) if found else 0
        return done

    def quench(self) -> list[Ran]:
        return self.rules.quench()

    def undo(self) -> list[Ran]:
        return self.rules.undo()

    def count(self) -> int:
        return self._deleted + self.rules.count()
