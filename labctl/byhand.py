"""Breaking a standing lab by hand: `labctl fault add|list|remove`, and watching it: `labctl capture`."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from labctl.agent.death import CHAIN
from labctl.engines.agents import AgentClient
from labctl.engines.daemon import connect
from labctl.engines.docker import DockerEngine
from labctl.errors import LabError, UsageError
from labctl.evidence.rundir import new_run_name
from labctl.faults import FAULTS
from labctl.faults.base import Fault, FaultPlan, Impossible
from labctl.lab import Lab
from labctl.scenario.check import unknown_host
from labctl.scenario.words import nearest
from labctl.session.faults import bind

NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")  # as in a scenario: it is part of a chain's name (iptables(8), 28 characters)


def parse_fault(kind: str, words: Sequence[str]) -> Fault:
    """A fault from the command line: `link --delay 100ms --to server`. Keys are those of a scenario.

    Raises UsageError naming the option that is wrong and what would be right.
    """
    if kind not in FAULTS:
        raise UsageError(
            f"there is no fault {kind!r}{_hint(kind, list(FAULTS))}; there are {', '.join(FAULTS)}"
        )
    model = FAULTS[kind]
    values: dict[str, Any] = {}
    for key, value in _options(words):
        name = key.replace("-", "_")
        values[name] = [*_listed(values[name]), value] if name in values else value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else kind
        known = [field.alias or name for name, field in model.model_fields.items()]
        if first["type"] == "extra_forbidden":
            options = ", ".join("--" + k.replace("_", "-") for k in known)
            raise UsageError(
                f"{kind} has no {option}{_hint(option, ['--' + k for k in known])}; it has {options}"
            ) from None
        raise UsageError(f"{option}: {first['msg'].removeprefix('Value error, ')}") from None


def _options(words: Sequence[str]) -> Iterator[tuple[str, Any]]:
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UsageError(f"{word!r} stands alone; write options like --delay 100ms")
        key, equals, value = word[2:].partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        yield key, int(value) if re.fullmatch("[0-9]{1,18}", value) else {"true": True, "false": False}.get(value, value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _hint(word: str, known: list[str]) -> str:
    near = nearest(word, known)
    return f" (did you mean {near}?)" if near else ""


def add(lab_name: str | None, host: str, name: str | None, fault: Fault) -> tuple[str, dict[str, Any]]:
    """Put a fault at a host of a standing lab; its name and what was run. Raises UsageError, LabError."""
    if name is not None and not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a fault; write at most 20 lower case letters, digits and dashes")
    engine, lab = _lab(lab_name)
    _known(lab, (host, *fault.hosts()))
    if (why := engine.why_down(host)) is not None:
        raise LabError(why)
    taken = {f["name"] for f in _all_held(engine, lab)}
    chosen = name or next(
        n for i in range(1, 10**6) if (n := f"{fault.kind}{'' if i == 1 else f'-{i}'}") not in taken
    )
    if chosen in taken:
        raise UsageError(
            f"a fault named {chosen} is there already; choose another --name, or remove it first"
        )
    try:
        plan: FaultPlan = fault.plan(lab.site(host, random.SystemRandom().randrange(2**31)), chosen)
    except Impossible as error:
        raise UsageError(str(error)) from None
    if plan.engine is not None:
        return chosen, _disturb(engine, lab, plan)
    with _resident(engine, lab, host) as agent:
        request = bind(plan.request(), agent.devices)
        note = {"kind": fault.kind, **fault.model_dump(mode="json", by_alias=True, exclude_defaults=True)}
        answer: dict[str, Any] = agent.call("apply", name=chosen, action=request, kind=fault.kind, note=note)
    return chosen, answer


def swept(lab_name: str | None) -> list[str]:
    """Take back what agents that were killed have left on a standing lab; the hosts where there was something.

    Nobody holds it, so it would not be in a listing and nothing could remove it. Raises UsageError, LabError.
    """
    from labctl.standing import only_lab, sweep_standing

    return [place.rpartition("/")[2] for place in sweep_standing(lab_name or only_lab(connect()))]


def listing(lab_name: str | None) -> list[dict[str, Any]]:
    """What is broken by hand on a standing lab: host, name, what was asked, packets touched so far."""
    engine, lab = _lab(lab_name)
    return _all_held(engine, lab)


def _all_held(engine: DockerEngine, lab: Lab) -> list[dict[str, Any]]:
    found = [{"host": host, **fault} for host in lab.hosts for fault in _held(engine, host)]
    for note in engine.noted():
        if note.is_by_hand:
            packets = note.count
            if note.what == "pause":
                with _resident(engine, lab, note.host) as agent:
                    packets = int(agent.call("arrived")) - note.count
            found.append({"host": note.host, "name": note.fault, "note": {"kind": note.what}, "packets": packets})
    return found


def _disturb(engine: DockerEngine, lab: Lab, plan: FaultPlan) -> dict[str, Any]:
    """Freeze or kill a whole host of a standing lab until the fault is removed. Raises UsageError, LabError."""
    host, what = plan.host, str(plan.engine)
    if what not in ("pause", "kill"):
        raise UsageError(f"only a scenario knows its programs by name; by hand write `labctl exec {host} -- kill -9 NUMBER`")
    if (done := next((d for d in engine.disturbed() if d.host == host), None)) is not None:
        whose = f"by the run {done.by}" if done.by else f"by the fault {done.fault}; `labctl fault remove {done.fault}` first"
        raise LabError(f"{host} is {'frozen' if done.what == 'pause' else 'dead'} already, {whose}")
    with _resident(engine, lab, host) as agent:
        if what == "pause":
            engine.disturb_by_hand(host, what, plan.name, int(agent.call("arrived")))
            return {"ran": [], "time": time.time()}
        if there := [one["name"] for one in agent.call("faults")] or [o["fault"] for o in agent.call("hello")["others"]]:
            raise LabError(f"with {host} would go the fault {there[0]}, which is in place there; take that away first")
        last = agent.call("die")
        try:
            engine.disturb_by_hand(host, what, plan.name, len(last["open"]) + int(last["packets"]))
        except LabError:
            agent.call("undo", name=CHAIN)
            raise
        return {"ran": last["ran"], "time": last["time"]}


def remove(lab_name: str | None, name: str) -> list[dict[str, Any]]:
    """Take faults away by name, or `all`; each with the packets it touched. Raises UsageError for a name that none has."""
    engine, lab = _lab(lab_name)
    found = [fault for fault in _all_held(engine, lab) if name in (fault["name"], "all")]
    if not found and name != "all":
        raise UsageError(f"no fault named {name} is there; `labctl fault list` shows what is")
    return [_take(engine, lab, fault) for fault in reversed(found)]


def _take(engine: DockerEngine, lab: Lab, fault: dict[str, Any]) -> dict[str, Any]:
    """Take one fault away: by the agent that holds it, or by the engine what was done to a whole host. Raises LabError."""
    from labctl.standing import heal

    host, name = fault["host"], fault["name"]
    note = next((one for one in engine.noted() if one.is_by_hand and one.fault == name), None)
    if note is None:
        with _resident(engine, lab, host) as agent:
            return {"host": host, "name": name, **agent.call("undo", name=name)}
    engine.set_right(note)
    if note.what == "kill":
        heal(engine, lab, [host])
    return {"host": host, "name": name, "ran": [], "packets": fault["packets"], "time": time.time()}


def _lab(name: str | None) -> tuple[DockerEngine, Lab]:
    from labctl.standing import only_lab

    api = connect()
    engine = DockerEngine(api, new_run_name("hand"), name or only_lab(api))
    return engine, engine.attach()


def _known(lab: Lab, hosts: Sequence[str]) -> None:
    for host in hosts:
        if (wrong := unknown_host(lab, host)) is not None:
            raise UsageError(wrong)


def _held(engine: DockerEngine, host: str) -> list[dict[str, Any]]:
    if not engine.has_resident(host):
        return []
    agent = AgentClient(host, engine.resident_agent(host), lambda *_: None)
    found: list[dict[str, Any]] = agent.call("faults")
    return found


@contextmanager
def _resident(engine: DockerEngine, lab: Lab, host: str) -> Iterator[AgentClient]:
    """The resident agent of a host; it stays when the block ends, and what it holds stays with it."""
    agent = AgentClient(host, engine.resident_agent(host), lambda *_: None)
    agent.greet(dict(lab.hosts[host].addresses or {}))
    yield agent
