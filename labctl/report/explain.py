"""A plan in words: what `labctl explain` prints."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from labctl.plan import Plan, PlannedStep
from labctl.scenario.model import StartStep, UntilStep


def explain(plan: Plan) -> str:
    """Every host, step and exact command, as a person would write it down."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    yield f"scenario {plan.scenario.scenario} in the lab {plan.lab.path}"
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
    yield ""
    yield "captures" if plan.scenario.capture.enabled else "no captures"
    if plan.scenario.capture.enabled:
        yield f"  dumpcap on every interface of {', '.join(plan.hosts)}"
    for step in plan.steps:
        yield ""
        yield f"{step.index}. {step.title}"
        yield from (f"     {line}" for line in _step(step))


def _step(step: PlannedStep) -> Iterator[str]:
    if step.argv:
        where = "   (beside it: its image has no bundled programs)" if step.beside else ""
        yield f"{step.host}$ {shlex.join(step.argv)}{where}"
    for fault in step.faults:
        for change in fault.changes:
            yield f"{fault.host}# {shlex.join(change.do)}"
        for change in reversed(fault.changes):
            if change.undo:
                yield f"{fault.host}# {shlex.join(change.undo)}   (when healed)"
        for backend, commands in fault.alternatives.items():
            yield f"or, with the link backend {backend}:"
            yield from (f"{fault.host}# {shlex.join(argv)}" for argv in commands)
        for counter in fault.counters:
            yield f"proof: packets counted in {counter.tool} chain {counter.chain}"
    if isinstance(step.step, StartStep) and step.step.ready is not None:
        yield f"wait until {step.step.ready.fact}, at most {step.step.ready.timeout:g}s"
    if isinstance(step.step, UntilStep):
        yield f"at most {step.step.until.timeout:g}s"
    if step.kind in ("finish", "stop", "heal"):
        yield f"{step.kind}: {', '.join(step.handles)}"
    expect = getattr(step.step, "expect", None)
    if expect is not None:
        for name in sorted(expect.model_fields_set):
            yield f"expect {name}: {_value(getattr(expect, name))}"


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(_value(v) for v in value)
    if value is None:
        return "null"
    return str(value)
