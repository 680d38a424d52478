"""What is wrong with a scenario that reads well by itself: held against its lab, and its steps against each
other. Pure.

The steps are gone through in order, with what runs and what is broken at each point, as a run would have it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from labctl.errors import Problem
from labctl.faults.base import Fault, Impossible
from labctl.faults.kill import Kill
from labctl.faults.link import Link
from labctl.faults.pause import Pause
from labctl.lab import Lab
from labctl.scenario.expectations import cannot_hold
from labctl.scenario.loader import Loaded
from labctl.scenario.model import (
    PROGRAMS,
    Expectation,
    FaultStep,
    FinishStep,
    HealStep,
    RunStep,
    StartStep,
    StopStep,
    UntilStep,
)
from labctl.scenario.together import LinksInPlace
from labctl.scenario.tree import Loc
from labctl.scenario.usage import misuse
from labctl.scenario.words import did_you_mean, listing, nearest, shorten
from labctl.units import format_duration

Finding = tuple[Loc, str]
ALL = "all"
DEAD, FROZEN = "dead", "frozen"
# So near to a bundled program's name that nothing else can be meant.
_MISSPELT = 0.85


def check(loaded: Loaded, lab: Lab) -> list[Problem]:
    """Every problem that needs the lab or several steps to be seen, by line; empty when the scenario can be
    run.
    """
    now = _Now(loaded, lab)
    problems = []
    for index, step in enumerate(loaded.scenario.steps):
        at: Loc = ("steps", index)
        problems += [loaded.problem((*at, *loc), message) for loc, message in _step(step, at, now)]
    return sorted(dict.fromkeys(problems), key=lambda p: (p.line, p.column))


@dataclass
class _Now:
    """What is so at one point of the scenario: programs that run, those that have ended, faults in place.

    `killed` are programs that run unless a fault has ended them (they can be waited for, and be started anew), `down` the
    hosts that a fault keeps dead or frozen, with its name, its line and which of the two. One on a timeline may be over.
    """

    loaded: Loaded
    lab: Lab
    running: dict[str, tuple[StartStep, int]] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    killed: set[str] = field(default_factory=set)
    down: dict[str, tuple[str, int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.links = LinksInPlace(self.lab)

    def line(self, loc: Loc) -> int:
        """The line of the file where a step or key stands."""
        return self.loaded.problem(loc, "").line

    def unknown(self, host: str) -> str | None:
        """What to say of a host that the lab has not; None when it has it."""
        return unknown_host(self.lab, host)

    def stop(self, step: FaultStep, line: int, how: str) -> None:
        """From now on its hosts are dead or frozen (`how`), if that is certain."""
        if step.timeline is None:
            self.down = dict.fromkeys(step.at, (step.fault, line, how)) | self.down

    def stopped(self, host: str, *hows: str) -> str | None:
        """What to say of a host that is dead or frozen, where it must not be (`hows`: which); None when it is not."""
        fault, line, how = self.down.get(host, ("", 0, ""))
        return f"{host} is {how} since line {line}, by the fault {fault}; write heal: {fault} first" if how in hows else None


def unknown_host(lab: Lab, host: str) -> str | None:
    """What to say of a host that the lab has not; None when it has it."""
    if host in lab.hosts:
        return None
    if host in lab.no_hosts:
        return f"the service {shorten(host)} has {lab.no_hosts[host]}, so it is no host of the lab"
    known = f"it has {listing(lab.hosts, 'and')}"
    return f"the lab has no host {shorten(host)!r}{did_you_mean(host, lab.hosts, known)}"


def _step(step: object, at: Loc, now: _Now) -> Iterator[Finding]:
    line = now.line(at)
    if isinstance(step, StartStep):
        yield from _command(step.start, "start", step.on, now)
        yield from _started(step, line, now)
    elif isinstance(step, RunStep):
        yield from _command(step.run, "run", step.on, now)
        # A misspelt program is reported as that, not as one that reports no outcome.
        meant = nearest(step.run[0], PROGRAMS, cutoff=_MISSPELT) or step.run[0]
        yield from _expected(step.expect, meant, step.timeout or now.loaded.scenario.timeout, now)
    elif isinstance(step, FinishStep | StopStep):
        kind, handle = ("finish", step.finish) if isinstance(step, FinishStep) else ("stop", step.stop)
        program = yield from _ended(kind, handle, line, now)
        if step.expect and program:
            yield from _expected(step.expect, program, None, now)
    elif isinstance(step, FaultStep):
        yield from _fault(step, line, now)
        if isinstance(step.spec, Kill):
            yield from _kill(step, step.spec, line, now)
        elif isinstance(step.spec, Pause):
            now.stop(step, line, FROZEN)
    elif isinstance(step, UntilStep):
        if message := now.unknown(step.on) or now.stopped(step.on, DEAD):
            yield ("on",), message
    elif isinstance(step, HealStep):
        yield from _heal(step.heal, now)


def _command(words: tuple[str, ...], key: str, host: str, now: _Now) -> Iterator[Finding]:
    if message := now.unknown(host):
        yield ("on",), message
        return
    has_programs = now.lab.hosts[host].programs is not None
    word = words[0]
    if not word:
        yield (key, 0), "no program is called ''; write one, like [probe, connect, server, 65432]"
    # A bundled program on a host that has none runs beside it, and is not frozen with it.
    is_beside = word in PROGRAMS and not has_programs
    if message := now.stopped(host, DEAD, *(() if is_beside else (FROZEN,))):
        yield ("on",), message
    if word not in PROGRAMS and has_programs and (near := nearest(word, PROGRAMS, cutoff=_MISSPELT)):
        yield (key, 0), f"there is no bundled program {word!r}; did you mean {near}?"
    if word in PROGRAMS and (wrong := misuse(words)) is not None:
        yield (key, wrong[0]), wrong[1]


def _started(step: StartStep, line: int, now: _Now) -> Iterator[Finding]:
    handle = step.handle
    if handle in now.running and handle not in now.killed:
        since = now.running[handle][1]
        place: Loc = ("as",) if step.label else ("start",)
        yield place, f"{handle} has been running since line {since}; stop it first, or name this one with as:"
    now.killed.discard(handle)
    now.running[handle] = (step, line)
    now.ended.pop(handle, None)


def _ended(kind: str, handle: str, line: int, now: _Now) -> Generator[Finding, None, str | None]:
    """Yields what is wrong, returns the program's word if it runs."""
    if handle in now.running:
        step, _ = now.running.pop(handle)
        now.ended[handle] = line
        now.killed.discard(handle)
        return step.start[0]
    if handle in now.ended:
        yield (
            (kind,),
            f"{handle} has ended already, in line {now.ended[handle]}; remove this step, or start it again",
        )
        return None
    runs = (
        f"running here: {listing(now.running, 'and')}" if now.running else "nothing runs here; start it first"
    )
    yield (kind,), f"no program {handle!r} runs at this point{did_you_mean(handle, now.running, runs)}"
    return None


def _fault(step: FaultStep, line: int, now: _Now) -> Iterator[Finding]:
    name, hosts, spec = step.fault, step.at, step.spec
    if name == ALL:
        yield ("fault",), "no fault can be called all: heal: all removes every fault; choose another name"
    elif name in now.faults:
        since = now.faults[name]
        yield (
            ("fault",),
            f"a fault {name} is in place since line {since}; heal it first, or choose another name",
        )
    if name != ALL:
        now.faults[name] = line
    if isinstance(spec, Link) and spec.ramp and step.for_ is not None and spec.ramp.over > step.for_:
        over, for_ = format_duration(spec.ramp.over), format_duration(step.for_)
        yield (
            (spec.kind, "ramp", "over"),
            f"this ramp takes {over}, and the fault ends after {for_}; write over: {for_} or less, or a longer for:",
        )
    known = True
    for index, host in enumerate(hosts):
        if message := now.unknown(host):
            known = False
            yield ("at", index), message
        elif host in hosts[:index]:
            yield ("at", index), f"{host} stands here twice; one fault is put once at each host"
        elif message := _stopped(step, host, now):
            yield ("at", index), message
    for host in spec.hosts():
        if message := now.unknown(host):
            known = False
            yield _mention(spec, host), message
    for host in dict.fromkeys(hosts) if known else ():
        try:
            plan = spec.plan(now.lab.site(host), name)
        except Impossible as error:
            yield (spec.kind,), str(error)
            continue
        # On a timeline it may be there when the other is not.
        if isinstance(spec, Link) and not step.timeline and (said := now.links.put(plan)):
            yield (spec.kind,), f"at {host}: {said}"
    if known:
        try:
            spec.check_places([now.lab.site(host) for host in dict.fromkeys(hosts)])
        except Impossible as error:
            yield (spec.kind,), str(error)


def _stopped(step: FaultStep, host: str, now: _Now) -> str | None:
    """What to say of a fault at a host that is dead or frozen; None where it may be put."""
    if isinstance(step.spec, Kill) and step.spec.program is not None:
        return None  # whether that runs is looked at elsewhere
    if not isinstance(step.spec, Kill | Pause):
        return now.stopped(host, DEAD)  # the kernel of a frozen host goes on
    return None if step.after else now.stopped(host, DEAD, FROZEN)  # by then it may be healed


def _kill(step: FaultStep, spec: Kill, line: int, now: _Now) -> Iterator[Finding]:
    """What ends with a host that is killed, or the one program that is."""
    if spec.program is None:
        now.killed |= {handle for handle, (started, _) in now.running.items() if started.on in step.at}
        now.stop(step, line, DEAD)
        return
    if step.for_ is not None:
        yield ("for",), "a program that was killed does not come back by itself; leave for: out, and start it again in a step"
    where = now.running[spec.program][0].on if spec.program in now.running else None
    if where is None or spec.program in now.killed:
        known = [handle for handle in now.running if handle not in now.killed]
        runs = f"running here: {listing(known, 'and')}" if known else "nothing runs here; start it first"
        hint = did_you_mean(spec.program, known, runs)
        yield (spec.kind, "program"), f"no program {spec.program!r} runs at this point{hint}"
    elif step.at != (where,):
        yield ("at",), f"{spec.program} runs on {where}; write at: {where}"
    now.killed.add(spec.program)


def _mention(spec: Fault, host: str) -> Loc:
    """Where in a fault a host is named."""
    for key, info in type(spec).model_fields.items():
        value = getattr(spec, key)
        if value == host:
            return (spec.kind, info.alias or key)
        if isinstance(value, tuple) and host in value:
            return (spec.kind, info.alias or key, value.index(host))
    return (spec.kind,)


def _heal(names: tuple[str, ...], now: _Now) -> Iterator[Finding]:
    if names == (ALL,):
        if not now.faults:
            yield ("heal",), "no fault is in place here, so there is nothing to heal"
        for name in now.faults:
            now.links.take(name)
        now.faults.clear()
        now.down.clear()
        return
    for index, name in enumerate(names):
        if name == ALL:
            yield ("heal", index), "all stands alone: write heal: all, or the names"
        elif name in now.faults:
            del now.faults[name]
            now.links.take(name)
            now.down = {host: by for host, by in now.down.items() if by[0] != name}
        elif name in names[:index]:
            yield ("heal", index), f"{name} stands here twice; name each fault once"
        else:
            known = f"in place here: {listing(now.faults, 'and')}" if now.faults else "none is"
            yield (
                ("heal", index),
                f"no fault {name!r} is in place at this point{did_you_mean(name, now.faults, known)}",
            )


def _expected(expect: Expectation, program: str, timeout: float | None, now: _Now) -> Iterator[Finding]:
    for loc, host in expect.hosts():
        if message := now.unknown(host):
            yield ("expect", *loc), message
    for loc, message in cannot_hold(expect, program, timeout, now.loaded.scenario.capture):
        yield ("expect", *loc), message
