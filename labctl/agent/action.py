"""What a fault is to an agent: something that can be done, undone and counted.

Most are lists of commands (`Commands`); a fault that needs more (a link tree, a DNS responder) brings an action of its own and
is made from its request by the table in `__main__`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol

from . import batch
from .command import Argv, Ran, Runner, run

# The only failures of an undo that mean "somebody took it away already": iptables(8) and tc(8), by their own words.
ALREADY_GONE = (
    "does a matching rule exist in that chain",
    "No chain/target/match by that name",
    "Cannot find specified qdisc",
    "Cannot delete qdisc with handle of zero",
    "Cannot find device",
)
# A rule's packets in a listing; what only returns has let its packets pass, so they were not touched.
_CHAIN_COUNT = re.compile(r"^\s*(\d+)\s+\d+\s+(?!RETURN\s)\S")


class Action(Protocol):
    """One fault at one host."""

    def do(self) -> list[Ran]:
        """Put it in place, whole or not at all. Raises ActionFailed, having taken back what it had done."""

    def undo(self) -> list[Ran]:
        """Take it back: exactly what was done. Never raises; commands that failed are in the answer."""

    def count(self) -> int:
        """Packets it has touched since it was done. Raises ActionFailed when that cannot be read."""


class Staged(Protocol):
    """An action of which most can be done ahead without effect, so that it begins within a few milliseconds of its time."""

    def stage(self) -> None:
        """Do what has no effect yet; `do` then does the rest, and `undo` takes all of it back. Raises ActionFailed."""


class Quenched(Protocol):
    """An action whose effect can be ended sooner than it can be taken back."""

    def quench(self) -> list[Ran]:
        """End the effect; `count` still tells what it had been, and `undo` follows. Never raises."""


@dataclass(frozen=True)
class Proof:
    """How many packets a fault touched; and of those it has `seen`, to how many it did what. None is not known."""

    packets: int | None = None
    effect: dict[str, int] | None = None

    def as_json(self) -> dict[str, Any]:
        return {"packets": self.packets, "effect": self.effect}


class Detailed(Protocol):
    """An action that counts more than the packets it has touched."""

    def proof(self) -> Proof:
        """What `count` tells and the effect, by one look. Raises ActionFailed."""


class Ramping(Protocol):
    """An action that can also change while it is in place, from 0.0 (as it begins) to 1.0, over `ramp_s` seconds."""

    ramp_s: float

    def progress(self, fraction: float) -> list[Ran]:
        """Be as far as this. Raises ActionFailed."""


class ActionFailed(Exception):
    """A command of a fault was refused; what had been done before it is undone again. Without any, nothing was tried."""

    def __init__(self, ran: list[Ran]) -> None:
        super().__init__(str(next(r for r in ran if not r.ok)))
        self.ran = ran


class Impossible(ActionFailed):
    """What is asked for cannot be here, as things are; the message says why, and nothing was tried."""

    def __init__(self, why: str) -> None:
        Exception.__init__(self, why)
        self.ran = []


@dataclass(frozen=True)
class Change:
    """One argv to do and one to undo."""

    do: tuple[str, ...]
    undo: tuple[str, ...]


Place = tuple[str, str]


@dataclass
class Commands:
    """An action made of commands, each with its undo, and counted by iptables chains ({tool, table, chain}).

    Rules of iptables that follow each other in one table are given to one process: they are all there at once or none is, and
    sooner made and gone. The first `ahead` changes have no effect yet (a chain is filled before it is hooked).
    """

    changes: tuple[Change, ...]
    counters: tuple[dict[str, str], ...] = ()
    quenching: tuple[Change, ...] = ()
    ahead: int = 0
    runner: Runner = run
    _undos: list[Argv] = field(default_factory=list)
    _done: list[Ran] = field(default_factory=list)

    @classmethod
    def parse(cls, request: dict[str, Any]) -> Commands:
        """From its JSON: {"changes": [{"do": [...], "undo": [...]}], "counters": [...], "quench": [...], "ahead": 2}."""
        changes = _changes(request["changes"])
        ahead = request.get("ahead", len(changes) - 1)
        return cls(changes, tuple(request.get("counters", ())), _changes(request.get("quench", ())), ahead)

    def stage(self) -> None:
        self._do(self.changes[: self.ahead])

    def do(self) -> list[Ran]:
        self._do(self.changes[len(self._undos) :])
        done, self._done = self._done, []
        return done

    def _do(self, changes: Sequence[Change]) -> None:
        for place, group in groupby(changes, lambda change: _place(change.do)):
            together = list(group)
            if place is None or not self._at_once(place, together):
                for change in together:  # refused at once, they are tried in turn: which one it is should be told
                    self._one(change)

    def _at_once(self, place: Place, changes: Sequence[Change]) -> bool:
        """Whether all of them were done by one process; if not, none of them is. One alone needs no such process."""
        if len(changes) == 1:
            return False
        self._undos += [change.undo for change in changes]  # the moment before, so that nothing is ever done without its undo
        done = self._feed(place, [change.do for change in changes])
        if done[0].exit is None:
            self._refused(done)
        if not done[0].ok:
            del self._undos[-len(changes) :]
            return False
        self._done += done
        return True

    def _one(self, change: Change) -> None:
        self._undos.append(change.undo)
        done = self.runner(change.do)
        if not done.ok:
            if done.exit is not None:  # refused, so there is nothing of it to take back
                self._undos.pop()
            self._refused([done])
        self._done.append(done)

    def _refused(self, ran: list[Ran]) -> None:
        self.undo()
        raise ActionFailed([*self._done, *ran])

    def _feed(self, place: Place, commands: Sequence[Argv]) -> list[Ran]:
        return batch.iptables(*place, [_rule(argv) for argv in commands], self.runner)

    def quench(self) -> list[Ran]:
        done = []
        for change in self.quenching:
            # Taken back right after the hooks into its own chain: not before, or the fault would be in force again until
            # they are gone. A chain that is not hooked yet has no effect that could be ended.
            tool, chain = change.undo[0], change.undo[change.undo.index("-D") + 1]
            hooks = [i for i, undo in enumerate(self._undos) if undo[0] == tool and undo[-2:] == ("-j", chain)]
            if hooks:
                done.append(self.runner(change.do))
                self._undos.insert(min(hooks), change.undo)
        return done

    def undo(self) -> list[Ran]:
        groups = groupby(reversed(self._undos), _place)
        ran = [done for place, group in groups for done in self._take_back(place, list(group))]
        # What could not be undone is not forgotten: it is tried again when this is asked for again.
        self._undos = [r.argv for r in reversed(failed(ran))]
        return ran

    def _take_back(self, place: Place | None, undos: Sequence[Argv]) -> list[Ran]:
        if place is not None and len(undos) > 1 and (done := self._feed(place, undos))[0].ok:
            return done
        return [self.runner(argv) for argv in undos]  # where somebody took a part of it away, the rest still goes

    def count(self) -> int:
        return sum(self._count(counter) for counter in self.counters)

    def _count(self, counter: dict[str, str]) -> int:
        listing = self.runner((counter["tool"], "-w", "5", "-t", counter["table"], "-nvxL", counter["chain"]))
        if not listing.ok:
            raise ActionFailed([listing])
        return sum(int(m[1]) for m in map(_CHAIN_COUNT.match, listing.out.splitlines()[2:]) if m)


def _place(argv: Argv) -> Place | None:
    """The tool and the table of an iptables command of ours: TOOL -w 5 [-t TABLE] RULE."""
    if argv[0] not in batch.IPTABLES:
        return None
    return argv[0], argv[4] if argv[3] == "-t" else "filter"


def _rule(argv: Argv) -> Argv:
    return argv[5:] if argv[3] == "-t" else argv[3:]


def _changes(requests: Sequence[dict[str, Any]]) -> tuple[Change, ...]:
    return tuple(Change(tuple(c["do"]), tuple(c["undo"])) for c in requests)


def failed(ran: list[Ran]) -> list[Ran]:
    """The undo commands that failed for another reason than that their work was gone already."""
    return [r for r in ran if not r.ok and not any(said in r.err for said in ALREADY_GONE)]
