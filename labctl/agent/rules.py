"""Rules of iptables that are many: as `Commands`, and fed to one process for each table instead of one for each rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from . import batch
from .action import ActionFailed, Change, Commands, failed
from .command import Ran

Place = tuple[str, str]


@dataclass
class Rules(Commands):
    """All rules of a table are there at once or none is."""

    feed: Callable[[str, str, list[batch.Argv]], list[Ran]] = batch.iptables

    def _do(self, changes: Sequence[Change]) -> None:
        for (tool, table), group in groupby(changes, lambda change: _place(change.do)):
            both = list(group)
            self._undos += [change.undo for change in both]  # the moment before, as in Commands
            done = self.feed(tool, table, [_rule(change.do) for change in both])
            self._done += done
            if not done[0].ok:
                if done[0].exit is not None:  # refused, and all of it
                    del self._undos[-len(both) :]
                self.undo()
                raise ActionFailed(self._done)

    def undo(self) -> list[Ran]:
        ran = [done for place, group in _by_place(reversed(self._undos)) for done in self._take_back(place, group)]
        self._undos = [r.argv for r in reversed(failed(ran))]
        return ran

    def _take_back(self, place: Place, undos: list[batch.Argv]) -> list[Ran]:
        done = self.feed(*place, [_rule(argv) for argv in undos])
        # Where somebody took a part of it away, the rest still goes: one by one.
        return done if done[0].ok else [self.runner(argv) for argv in undos]


def _by_place(commands: Iterable[batch.Argv]) -> Iterator[tuple[Place, list[batch.Argv]]]:
    return ((place, list(group)) for place, group in groupby(commands, _place))


def _place(argv: batch.Argv) -> Place:
    """The tool and the table of an iptables command of ours: TOOL -w 5 [-t TABLE] RULE."""
    return argv[0], argv[4] if argv[3] == "-t" else "filter"


def _rule(argv: batch.Argv) -> batch.Argv:
    return argv[5:] if argv[3] == "-t" else argv[3:]
