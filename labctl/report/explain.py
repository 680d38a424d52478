"""A plan in words: what `labctl explain` prints."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from labctl.faults.base import FaultPlan
from labctl.faults.link import Link, Ramp
from labctl.plan import Plan, PlannedStep
from labctl.report.expected import sentences
from labctl.scenario.model import FaultStep, StartStep, UntilStep
from labctl.scenario.words import listing
from labctl.units import format_duration, format_rate

# What stands for an interface until the lab is up (`faults.base.Site.device`).
_DEVICE = re.compile(r"\{(dev|toward):([^}]*)\}")

MOST_LINES = 24


def explain(plan: Plan, summary: str = "") -> str:
    """Every host, step and exact command, as a person would write it down; `summary` says what it shows."""
    return "\n".join(_lines(plan, summary)) + "\n"


def _lines(plan: Plan, summary: str) -> Iterator[str]:
    yield f"scenario {plan.scenario.scenario} in the lab {plan.lab.path}"
    if summary:
        yield summary
    yield ""
    yield "hosts (addresses are examples; a run takes a free block)"
    for name in plan.hosts:
        host = plan.lab.hosts[name]
        routes = "; ".join(f"{r.to} via {r.via}" for r in plan.routes[name])
        role = (
            "forwards"
            if host.is_router
            else f"routes: {routes}"
            if routes
            else "no route beyond its networks"
        )
        yield f"  {name:12} {', '.join(host.all_addresses):40} {role}"
    if any(_DEVICE.search(word) for fault in _faults(plan) for change in fault.changes for word in change.do):
        yield "  <NETWORK> in a command is the host's interface on that network"
    yield ""
    yield "captures" if plan.scenario.capture.enabled else "no captures"
    if plan.scenario.capture.enabled:
        yield f"  dumpcap on every interface of {', '.join(plan.hosts)}"
    for step in plan.steps:
        yield ""
        yield f"{step.index}. {step.title}"
        yield from (f"     {line}" for line in _step(step))
    yield ""
    yield "in the end"
    yield "  programs that still run are stopped, faults that are still in place taken back, captures read, the lab taken down"


def _faults(plan: Plan) -> Iterator[FaultPlan]:
    return (fault for step in plan.steps for fault in step.faults)


def _step(step: PlannedStep) -> Iterator[str]:
    if step.argv:
        where = "   (beside it: its image has no bundled programs)" if step.beside else ""
        env = "".join(f"{name}={shlex.quote(value)} " for name, value in step.env)
        yield f"{step.host}$ {env}{shlex.join(step.argv)}{where}"
    if isinstance(step.step, FaultStep):
        yield from _when(step.step)
    for fault in step.faults:
        yield from _fault(fault)
    yield from _waiting(step)
    if step.kind == "heal":
        yield f"taken back: {listing(step.handles, 'and')}"
        for change in step.others:
            yield from _fault(change)
    expect = getattr(step.step, "expect", None)
    if expect is not None:
        yield from (f"expect: {sentence}" for sentence in sentences(expect))


def _waiting(step: PlannedStep) -> Iterator[str]:
    """What a step waits for, and for how long at most."""
    if isinstance(step.step, StartStep):
        if step.step.ready is not None:
            yield f"wait until {step.step.ready.fact}, at most {format_duration(step.step.ready.timeout)}"
        if step.handles != (step.step.start[0],):
            yield f"it is called {step.handles[0]}"
    elif isinstance(step.step, UntilStep):
        yield f"at most {format_duration(step.step.until.timeout)}"
    elif step.kind == "run":
        yield f"wait until it ends, at most {format_duration(step.timeout_s)}"
    elif step.kind in ("finish", "stop"):
        signal = f"SIG{step.step.signal} to {step.handles[0]}; " if step.step.kind == "stop" else ""  # type: ignore[union-attr]
        yield f"{signal}wait until {step.handles[0]} ends, at most {format_duration(step.timeout_s)}"


def _when(step: FaultStep) -> Iterator[str]:
    """When a fault is in place, if that is not simply from now on."""
    parts = [f"begins {format_duration(step.after)} after this step"] if step.after is not None else []
    parts += [f"lasts {format_duration(step.for_)}"] if step.for_ is not None else []
    if step.every is not None:
        times = f", {step.times} times in all" if step.times is not None else ", until it is taken back"
        parts.append(f"begins anew every {format_duration(step.every)}{times}")
    if parts:
        yield listing(parts, "and")
    if isinstance(step.spec, Link) and step.spec.ramp is not None:
        yield f"changes within {format_duration(step.spec.ramp.over)} to {_goal(step.spec.ramp)}"


def _goal(ramp: Ramp) -> str:
    show = {"delay": format_duration, "jitter": format_duration, "rate": format_rate}
    values = ((name, getattr(ramp, name)) for name in ("delay", "jitter", "loss", "duplicate", "corrupt", "rate"))
    return listing((f"{n} {show[n](v) if n in show else f'{v:g}%'}" for n, v in values if v is not None), "and")


def _fault(fault: FaultPlan) -> Iterator[str]:
    undos = [change.undo for change in reversed(fault.changes) if change.undo]
    yield from _few([f"{fault.host}# {_typed(change.do)}" for change in fault.changes])
    yield from _few([f"{fault.host}# {_typed(undo)}   (when taken back)" for undo in undos])
    for backend, commands in fault.alternatives.items():
        yield f"or, with the link backend {backend}:"
        yield from (f"{fault.host}# {_typed(argv)}" for argv in commands)
    for counter in fault.counters:
        yield f"proof: packets counted in {counter.tool} chain {counter.chain}"


def _few(lines: list[str]) -> Iterator[str]:
    """All of them, or of very many the first and the last."""
    if len(lines) <= MOST_LINES:
        yield from lines
        return
    yield from lines[:3]
    yield f"… {len(lines) - 6} more, all of them with --json …"
    yield from lines[-3:]


def _typed(argv: Sequence[str]) -> str:
    """A command as it would be typed, but for interfaces, which have no name yet, and what no command does."""
    return " ".join(_word(word) for word in argv)


def _word(word: str) -> str:
    if word.startswith("("):
        return word
    said = _DEVICE.sub(lambda m: f"<{'toward-' * (m[1] == 'toward')}{m[2]}>", word)
    return said if said != word else shlex.quote(word)
