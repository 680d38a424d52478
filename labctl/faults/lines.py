"""Link faults as they come and go on each line of a lab, an interface and a direction: the commands of each change. Pure.

Faults on one line act together, so what one more or one fewer changes there depends on those that are in place: tc changes the
netem that stands there, or adds a class to its tree; an emulator is told anew. The agent does the same (agent/linknetem.py,
agent/linkqueue.py); this is what it will do, for `labctl explain` and plan.json.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from labctl.agent.linkclass import ALL, LinkClass, LinkFault, classes
from labctl.agent.linkport import Where
from labctl.agent.linkqueue import FIRST_QUEUE, changed
from labctl.agent.linkspec import Contradiction
from labctl.agent.linktree import Tree, after, commands, removals, tree
from labctl.faults.base import Change, Family, FaultPlan, Impossible
from labctl.faults.link import Link, alone, placed

Argv = tuple[str, ...]
Place = tuple[str, str | None, str]


def place(host: str, part: Mapping[str, Any], way: Callable[[str, str], str | None]) -> Place:
    """The line that a part of a link fault's plan is about: host, network (None where no path leads), direction."""
    device = part["device"]
    return host, device[5:-1] if device else way(host, part["peer"]), part["direction"]


class _Numbers(dict[str, int]):
    """A number for each class, by its key: those that had one keep it, others get the next that none has had."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self._next = first

    def keep(self, keys: Sequence[str]) -> None:
        for key in self.keys() - set(keys):
            del self[key]
        for key in keys:
            if key not in self:
                self[key] = self._next
                self._next += 1


@dataclass
class _Line:
    """One interface and direction: its faults, and what the agent calls their classes, for tc and as queues."""

    where: Where
    families: tuple[Family, ...]
    faults: Mapping[str, LinkFault] = field(default_factory=dict)
    classids: _Numbers = field(default_factory=lambda: _Numbers(1))
    queues: _Numbers = field(default_factory=lambda: _Numbers(FIRST_QUEUE))
    now: tuple[LinkClass, ...] = ()
    tree: Tree | None = None

    def become(self, faults: Mapping[str, LinkFault]) -> tuple[list[Argv], list[Argv]]:
        """Have these faults from now on; the commands of netem and of nfqueue, none when there is no fault any more."""
        before, was = self.tree, self.now
        self.faults = faults
        if not faults:
            self.tree, self.now = None, ()
            self.classids, self.queues = _Numbers(1), _Numbers(FIRST_QUEUE)
            return [], []
        self.now = classes(faults.values())
        self.classids.keep([one.key for one in self.now if one.key != ALL])
        self.queues.keep([one.key for one in self.now if not one.spec.is_neutral])
        device = self.where.device if self.where.direction == "egress" else "lci0"
        self.tree = after(before, tree(device, self.now, {ALL: 0, **self.classids}))
        gone = [leaf for leaf in before.leaves if leaf.number not in {0, *self.classids.values()}] if before else []
        netem = [*commands(before, self.tree), *removals(device, gone)]
        return netem, changed(self.where, self.families, was, self.now, self.queues)


@dataclass
class Lines:
    """Every line of a lab; `way` says by which network a host reaches a peer (Lab.way)."""

    way: Callable[[str, str], str | None]
    _lines: dict[Place, _Line] = field(default_factory=dict)

    def put(self, plan: FaultPlan) -> FaultPlan:
        """A fault comes: its plan with the commands that it takes among those in place. Raises Impossible."""
        if plan.kind != Link.kind or plan.action is None:
            return plan
        families: tuple[Family, ...] = tuple(plan.action["families"])
        changes: list[Change] = []
        queued: list[Argv] = []
        for part in plan.action["parts"]:
            line = self._lines.setdefault(place(plan.host, part, self.way), _Line(placed(part), families))
            is_first = not line.faults
            netem, nfqueue = _become(line, {**line.faults, plan.name: LinkFault.from_json(plan.name, part)})
            changes += alone(part, plan.name, families)[0] if is_first else [Change(argv, ()) for argv in netem]
            queued += nfqueue
        return replace(plan, changes=tuple(changes), alternatives={"nfqueue": tuple(queued)})

    def take(self, name: str) -> Iterator[FaultPlan]:
        """A fault is healed: at each host what changes for those that stay; nothing where none does. Raises Impossible."""
        for (host, _, _), line in self._lines.items():
            if name in line.faults:
                netem, nfqueue = _become(line, {other: fault for other, fault in line.faults.items() if other != name})
                if line.faults:
                    alternatives = {"nfqueue": tuple(nfqueue)}
                    changes = tuple(Change(argv, ()) for argv in netem)
                    yield FaultPlan(name, Link.kind, host, "auto", changes, alternatives=alternatives)


def _become(line: _Line, faults: Mapping[str, LinkFault]) -> tuple[list[Argv], list[Argv]]:
    try:
        return line.become(faults)
    except Contradiction as error:
        raise Impossible(str(error)) from None
