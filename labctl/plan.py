"""Scenario × Lab → Plan: every host, program and exact command of a run, decided before anything is touched. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from labctl.faults.base import FaultPlan
from labctl.faults.lines import Lines
from labctl.lab import Lab, Route, mentioned
from labctl.scenario.model import (
    PROGRAMS,
    AnyStep,
    FaultStep,
    FinishStep,
    HealStep,
    RunStep,
    Scenario,
    StartStep,
    StopStep,
    UntilStep,
    WaitStep,
)
from labctl.scenario.words import shorten

# As long as the name of a step may be.
TITLE_CHARACTERS = 200
# Where the bundled programs are in the image that brings them to hosts which have none.
BUNDLED = "/opt/labctl/programs"


@dataclass(frozen=True)
class PlannedStep:
    """One step, resolved. `index` counts from 1, as people do.

    `argv` is what runs (start and run steps), `beside` that it is a bundled program on a host whose image has none: it runs in
    a container of its own in the host's network namespace. `faults` what is put where (fault steps), `handles` the programs or
    faults it refers to (finish, stop, heal steps), `others` what healing changes for link faults that stay, `timeout_s` when
    waiting for it ends.
    """

    index: int
    kind: str
    title: str
    step: AnyStep
    host: str | None = None
    argv: tuple[str, ...] = ()
    beside: bool = False
    env: tuple[tuple[str, str], ...] = ()
    faults: tuple[FaultPlan, ...] = ()
    timeline: Mapping[str, float | int] | None = None
    handles: tuple[str, ...] = ()
    others: tuple[FaultPlan, ...] = ()
    timeout_s: float = 30.0


@dataclass(frozen=True)
class Plan:
    """Everything a run will do. `hosts` are those that come up; `filters` the packet filters to be tried at each."""

    scenario: Scenario
    lab: Lab
    hosts: tuple[str, ...]
    routes: Mapping[str, tuple[Route, ...]]
    steps: tuple[PlannedStep, ...]
    filters: Mapping[str, tuple[str, ...]]

    def as_json(self) -> dict[str, Any]:
        """The plan as plan.json holds it."""
        return {
            "version": 1,
            "scenario": self.scenario.scenario,
            "lab": str(self.lab.path),
            "hosts": [
                {
                    "name": name,
                    "router": self.lab.hosts[name].is_router,
                    "addresses": {n: list(a) for n, a in (self.lab.hosts[name].addresses or {}).items()},
                    "routes": [asdict(route) for route in self.routes[name]],
                }
                for name in self.hosts
            ],
            "steps": [
                {
                    "index": step.index,
                    "kind": step.kind,
                    "title": step.title,
                    "host": step.host,
                    "argv": list(step.argv),
                    "beside": step.beside,
                    "handles": list(step.handles),
                    "timeout_s": step.timeout_s,
                    "faults": [asdict(fault) for fault in step.faults],
                    "others": [asdict(fault) for fault in step.others],
                    "timeline": dict(step.timeline) if step.timeline else None,
                }
                for step in self.steps
            ],
            "filters": {host: list(filters) for host, filters in self.filters.items()},
        }


def plan(scenario: Scenario, lab: Lab, hosts: Iterable[str] = (), stands: bool = False, seed: int = 0) -> Plan:
    """Resolve a scenario against a lab. `hosts` come up besides those that the scenario speaks of; `seed` is the run's.

    In a lab that stands all its hosts are up, and what leads through them stays, whoever of them the scenario speaks of.

    The scenario has been checked (`labctl.scenario.check`): names exist and faults are possible where they are put.
    Raises Impossible or KeyError when it has not.
    """
    up = lab.needed([*_named(scenario, lab), *hosts])
    steps: list[PlannedStep] = []
    active: dict[str, None] = {}
    lines = Lines(lab.way)
    for index, step in enumerate(scenario.steps, 1):
        steps.append(_resolve(index, step, scenario, lab, active, lines, seed))
    return Plan(
        scenario=scenario,
        lab=lab,
        hosts=up,
        routes={name: lab.routes(name, lab.hosts if stands else up) for name in up},
        steps=tuple(steps),
        filters=_filters(scenario, up),
    )


def _resolve(
    index: int, step: AnyStep, scenario: Scenario, lab: Lab, active: dict[str, None], lines: Lines, seed: int
) -> PlannedStep:
    timeout_s = getattr(step, "timeout", None) or scenario.timeout
    title = step.name or default_title(step)
    if isinstance(step, StartStep | RunStep):
        words = step.start if isinstance(step, StartStep) else step.run
        programs = lab.hosts[step.on].programs
        argv = command(words, programs or BUNDLED)
        beside = words[0] in PROGRAMS and programs is None
        env = tuple(step.env.items())
        handles = (step.handle,) if isinstance(step, StartStep) else ()
        return PlannedStep(
            index, step.kind, title, step, step.on, argv, beside, env, handles=handles, timeout_s=timeout_s
        )
    if isinstance(step, FinishStep | StopStep):
        handle = step.finish if isinstance(step, FinishStep) else step.stop
        return PlannedStep(index, step.kind, title, step, handles=(handle,), timeout_s=timeout_s)
    if isinstance(step, HealStep):
        names = tuple(active) if step.heal == ("all",) else step.heal
        for name in names:
            active.pop(name, None)
        others = tuple(change for name in names for change in lines.take(name))
        return PlannedStep(index, step.kind, title, step, handles=names, others=others)
    if isinstance(step, WaitStep):
        return PlannedStep(index, step.kind, title, step)
    if isinstance(step, UntilStep):
        return PlannedStep(index, step.kind, title, step, step.on, timeout_s=step.until.timeout)
    active[step.fault] = None
    faults = tuple(lines.put(step.spec.plan(lab.site(host, seed), step.fault)) for host in step.at)
    return PlannedStep(index, step.kind, title, step, step.at[0], faults=faults, timeline=step.timeline)


def command(words: tuple[str, ...], programs: str | None) -> tuple[str, ...]:
    """The argv for a command: a bundled program becomes python3 and its path on the host, anything else stays."""
    if words[0] in PROGRAMS and programs:
        return ("python3", f"{programs}/{PROGRAMS[words[0]]}", *words[1:])
    return words


def spoken(words: Iterable[str]) -> str:
    """A command as a sentence has it: its words on one line, an empty one as two quotes, no more than a step's name may be."""
    return shorten(" ".join(word or "''" for word in words), TITLE_CHARACTERS)


def default_title(step: AnyStep) -> str:
    """What a step without a name is called: its own words."""
    if isinstance(step, StartStep):
        return f"start {spoken(step.start)} on {step.on}"
    if isinstance(step, RunStep):
        return f"run {spoken(step.run)} on {step.on}"
    if isinstance(step, FinishStep):
        return f"wait for {step.finish} to end"
    if isinstance(step, StopStep):
        return f"stop {step.stop}"
    if isinstance(step, HealStep):
        return f"heal {', '.join(step.heal)}"
    if isinstance(step, WaitStep):
        return f"wait {step.wait:g}s"
    if isinstance(step, UntilStep):
        return f"wait until {step.until.fact} on {step.on}"
    return f"{step.fault}: {step.spec.kind} at {', '.join(step.at)}"


def _named(scenario: Scenario, lab: Lab) -> list[str]:
    """Every host the scenario speaks of, in commands too: a connect to `server` needs server up, listening or not."""
    names: list[str] = []
    for step in scenario.steps:
        if isinstance(step, StartStep | RunStep):
            words = step.start if isinstance(step, StartStep) else step.run
            names.append(step.on)
            for word in words[1:]:
                names += mentioned(word, lab.hosts)
        elif isinstance(step, FaultStep):
            names += [*step.at, *step.spec.hosts()]
        elif isinstance(step, UntilStep):
            names.append(step.on)
        expect = getattr(step, "expect", None)
        if expect:
            names += [host for _, host in expect.hosts()]
    return names


def _filters(scenario: Scenario, hosts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {host: {} for host in hosts}
    for step in scenario.steps:
        expect = getattr(step, "expect", None)
        for _, host, text in expect.filters() if expect else ():
            found[host][text] = None
    return {host: tuple(filters) for host, filters in found.items()}
