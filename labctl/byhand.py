"""Breaking a standing lab by hand: `labctl fault add|list|remove`, and watching it: `labctl capture`."""

from __future__ import annotations

import queue
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import yaml
from pydantic import ValidationError

from labctl.agent.death import CHAIN
from labctl.engines.agents import AgentClient, AgentRefused
from labctl.engines.daemon import connect
from labctl.engines.docker import DockerEngine
from labctl.errors import LabError, UsageError
from labctl.evidence.rundir import new_run_name
from labctl.faults import FAULTS
from labctl.faults.base import Fault, FaultPlan, Impossible
from labctl.lab import Lab
from labctl.scenario.check import unknown_host
from labctl.scenario.messages import explain
from labctl.scenario.model import FaultStep
from labctl.scenario.shape import shape_at
from labctl.scenario.tree import Loc, Mark, Tree, scalar
from labctl.scenario.words import nearest, shorten
from labctl.scenario.yamltext import Source, fragment
from labctl.session.faults import BEGIN_TIMEOUT_S, bind

_TAG = "tag:yaml.org,2002:"
NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")  # as in a scenario: it is part of a chain's name (iptables(8), 28 characters)


def parse_fault(kind: str, words: Sequence[str]) -> Fault:
    """A fault from the command line: `link --delay 100ms --to server --loss-gemodel '{p: 5%, r: 25%}'`.

    Keys are those of a scenario. Raises UsageError naming the option that is wrong and what would be right.
    """
    if kind not in FAULTS:
        raise UsageError(
            f"there is no fault {kind!r}{_hint(kind, list(FAULTS))}; there are {', '.join(FAULTS)}"
        )
    model = FAULTS[kind]
    tree = Tree(Source("", ""))
    # As if each option stood in a line of its own below the fault's kind: so a problem tells by its line whose it is.
    tree.marks = {(): _mark(0, "mapping"), (kind,): _mark(0, "mapping")}
    options = _options(model, words)
    values = {name: _value(tree, node, (kind, name), line) for line, (name, node) in enumerate(options.items(), 1)}
    try:
        step = FaultStep.model_validate({"fault": "x", "at": "x", kind: values})
    except ValidationError as error:
        _refuse_keys(model, error)
        tree.problems += explain(tree, FaultStep, error, ())
    else:
        if not tree.problems:
            return step.spec
    first = tree.problems[0]
    key = [kind, *options][first.line]
    place = _option(key) if first.line else kind
    raise UsageError(f"{place}: {first.message.removeprefix(f'{key}: ').removeprefix(f'{kind} ')}")


def _refuse_keys(model: type[Fault], error: ValidationError) -> None:
    """Raises UsageError for an option that this kind of fault has not, and for one that it needs and that is missing."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    for first in error.errors():
        if len(first["loc"]) != 2 or first["type"] not in ("extra_forbidden", "missing"):
            continue
        option = _option(str(first["loc"][1]))
        if first["type"] == "missing":
            about = fields[str(first["loc"][1])].description
            raise UsageError(f"{model.kind} needs {option}: {about}") from None
        has = ", ".join(map(_option, fields)) or "none"
        hint = _hint(option, ["--" + key for key in fields])
        raise UsageError(f"{model.kind} has no {option}{hint}; it has {has}") from None


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")


def _options(model: type[Fault], words: Sequence[str]) -> dict[str, yaml.Node]:
    """The values by key, each as YAML has it: a mapping or a list as it is written, anything else as the text that it is."""
    found: dict[str, list[yaml.Node]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UsageError(f"{word!r} stands alone; write options like --delay 100ms")
        key, equals, text = word[2:].partition("=")
        if not equals:
            text = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        name = key.replace("-", "_")
        found.setdefault(name, []).extend(_nodes(model, name, text))
    return {
        name: nodes[0] if len(nodes) == 1 else yaml.SequenceNode(f"{_TAG}seq", nodes) for name, nodes in found.items()
    }


def _nodes(model: type[Fault], name: str, text: str) -> list[yaml.Node]:
    if text[:1] in ("{", "["):
        if (node := fragment(text)) is None:
            example = "write it as in a scenario, on one line, like {p: 5%, r: 25%}"
            raise UsageError(f"{_option(name)}: {shorten(text)!r} is not YAML; {example}")
        return [node]
    is_text = shape_at(model, (name,)).takes_text
    kind = "int" if re.fullmatch("[0-9]{1,18}", text) and not is_text else "bool" if text in ("true", "false") else "str"
    return [yaml.ScalarNode(_TAG + kind, text)]


def _mark(line: int, what: str, written: str | None = None) -> Mark:
    return Mark(line, 1, (line, 1), what, written)


def _value(tree: Tree, node: yaml.Node, loc: Loc, line: int) -> object:
    """What a node is, with marks for all of it in the line of its option."""
    if isinstance(node, yaml.MappingNode):
        tree.marks[loc] = _mark(line, "mapping")
        return {key: _value(tree, value, (*loc, key), line) for key, (_, value) in tree.pairs(node).items()}
    if isinstance(node, yaml.SequenceNode):
        tree.marks[loc] = _mark(line, "list")
        return [_value(tree, item, (*loc, index), line) for index, item in enumerate(node.value)]
    tree.marks[loc] = _mark(line, "text", str(node.value))
    return scalar(node.tag, str(node.value))


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
    events: queue.Queue[dict[str, Any]] = queue.Queue()
    with _resident(engine, lab, host, events.put) as agent:
        note = {"kind": fault.kind, **fault.model_dump(mode="json", by_alias=True, exclude_defaults=True)}
        asked = {"name": chosen, "action": bind(plan.request(), agent.devices), "kind": fault.kind, "note": note}
        try:
            answer = _grow(agent, asked, events) if getattr(fault, "ramp", None) else agent.call("apply", **asked)
        except AgentRefused as error:
            raise UsageError(str(error)) if error.detail.get("impossible") else error from None
    return chosen, answer


def _grow(agent: AgentClient, asked: Mapping[str, Any], events: queue.Queue[dict[str, Any]]) -> dict[str, Any]:
    """Put a fault that changes while it is in place, which its agent sees to; what was run. Raises AgentRefused, LabError."""
    agent.call("schedule", timeline={}, **asked)
    deadline = time.monotonic() + BEGIN_TIMEOUT_S
    event: dict[str, Any] = {}
    while event.get("name") != asked["name"]:  # the agent may tell of others
        try:
            event = events.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise LabError(f"the fault {asked['name']} at {agent.host} has not begun after {BEGIN_TIMEOUT_S:g}s") from None
    if event["event"] == "fault-error":
        agent.call("undo", name=asked["name"])
        raise AgentRefused(f"{agent.host}: {event['error']}", {"impossible": event["impossible"]})
    return {key: event[key] for key in ("ran", "time", "backend", "interface")}


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
def _resident(
    engine: DockerEngine, lab: Lab, host: str, heard: Callable[[dict[str, Any]], None] = lambda _: None
) -> Iterator[AgentClient]:
    """The resident agent of a host; it stays when the block ends, and what it holds stays with it."""
    agent = AgentClient(host, engine.resident_agent(host), lambda _, event: heard(event))
    agent.greet(dict(lab.hosts[host].addresses or {}))
    yield agent
