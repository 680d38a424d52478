"""The runner on hosts in memory: the order of a run, and what is left when any one call of it goes wrong."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fake_engine import COMPOSE, SCENARIO, Died, FakeEngine, Fuse, World, in_memory, interrupt_driver

from labctl.agent.__main__ import Refused
from labctl.errors import LabError, MissingError
from labctl.evidence.rundir import RunDirectory
from labctl.lab import addressed, read_lab
from labctl.plan import plan
from labctl.runner import Request, execute
from labctl.runs import judge_run
from labctl.scenario.loader import load
from labctl.verdict.judge import result

# Every call a run makes, in the order of a run; hosts are asked side by side. The test below holds this list to the truth.
AGENT_POINTS = [
    *(f"agent.{host}.{op}" for op in ("hello", "routes", "capture_start", "sample") for host in ("server", "client")),
    "agent.server.wait_bound",
    "agent.server.apply",
    "agent.client.apply",
    "agent.server.undo",
    "agent.client.undo",
    *(f"agent.{host}.{op}" for op in ("sample-end", "capture_finish", "capture_stop", "dissect") for host in ("server", "client")),
]
ENGINE_POINTS = [
    "engine.prepare",
    "engine.reserve",
    "engine.up",
    "engine.open_agent.server",
    "engine.open_agent.client",
    "engine.environment",
    "engine.start.serve",
    "engine.start.python3",
    "engine.signal.serve.TERM",
    "engine.release",
    *(f"fetch.{host}.{kind}" for kind in ("pcapng", "tsv") for host in ("server", "client")),
]
DOWN = "engine.down"
HOSTS = ("server", "client")


@dataclass
class Ran:
    """One run that has ended: its hosts, its engine, and its result."""

    world: World
    engine: FakeEngine
    path: Path
    value: dict[str, Any]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path / "events.jsonl").read_text().splitlines()]

    def ended(self, host: str) -> None:
        """Assert that the host's faults were taken back: every change that was done, in reverse, and no others.

        A quench (a RETURN in front of a chain) is the one that may go after the hook that was made before it.
        """
        plans = [p for p in self.plans if p.host == host]
        pairs = {c.do: c.undo for p in plans for c in (*p.changes, *p.quench)}
        quenched = {c.undo for p in plans for c in p.quench}
        done: list[tuple[str, ...]] = []
        undone: list[tuple[str, ...]] = []
        for kind, argv in self.world.changes(plans).get(host, []):
            if kind == "undo":
                assert argv in done, f"undone, but not done: {argv}"
                done.remove(argv)
                undone.append(argv)
            else:
                done.append(pairs[argv])
        assert done == [], f"never undone: {done}"
        order = [u for u in reversed(list(dict.fromkeys(pairs.values()))) if u in undone and u not in quenched]
        assert [u for u in undone if u not in quenched] == order, "undone in another order than in reverse"

    @property
    def plans(self) -> list[Any]:
        loaded = load(self.path / "scenario.yaml")
        assert self.world.lab is not None
        return [fault for step in plan(loaded.scenario, self.world.lab).steps for fault in step.faults]


Runner = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    """Run a scenario (SCENARIO when none is given) on hosts in memory, with a fuse or other trouble."""
    (tmp_path / "compose.yml").write_text(COMPOSE, encoding="utf-8")
    before = signal.getsignal(signal.SIGINT)

    def run_it(
        at: str | None = None, bad: Callable[[FakeEngine], None] | None = None, text: str = SCENARIO,
        prepare: Callable[[FakeEngine], None] = lambda _: None, standing: bool = False, keep: bool = False,
    ) -> Ran:  # fmt: skip
        (tmp_path / "scenario.yaml").write_text(text, encoding="utf-8")
        agents = tmp_path / "agents"
        agents.mkdir()
        engine = FakeEngine(World(Fuse(at, lambda: bad(engine) if bad else None), agents))
        prepare(engine)
        record = RunDirectory.create(tmp_path / "runs", "r", lambda _: None)
        request = Request(load(tmp_path / "scenario.yaml"), tmp_path / "compose.yml", 7, standing=standing, keep=keep)
        try:
            execute(request, engine, record, "r")
        finally:
            record.close()
        return Ran(engine.world, engine, record.path, result(judge_run(record.path)))

    with in_memory(monkeypatch):
        yield run_it
    signal.signal(signal.SIGINT, before)


def refuse(_: FakeEngine) -> None:
    raise Refused("the fuse has blown")


def break_engine(_: FakeEngine) -> None:
    raise LabError("the fuse has blown")


def first_interrupts_the_rest_is_ignored() -> None:
    """SIGINT as `labctl run` takes it (labctl.jobs.interruptible), for this test."""

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)


def assert_nothing_left(ran: Ran) -> None:
    """Assert that the lab went down, and before it every agent, each of which undid what it had done."""
    assert ran.engine.downs >= 1
    assert not any(channel.is_open for channel in ran.engine.channels.values())
    if (ran.path / "plan.json").exists() and ran.world.lab is not None:
        for host in HOSTS:
            ran.ended(host)


def test_a_run_passes_every_point_of_the_list_and_passes(run: Runner) -> None:
    """A run on hosts that work takes every step, leaves nothing, and its verdict is pass."""
    ran = run()
    assert ran.value["verdict"] == "pass", ran.value["reason"]
    assert sorted(ran.world.fuse.passed) == sorted([*AGENT_POINTS, *ENGINE_POINTS, DOWN])
    assert [(f["name"], f["packets"], f["fired"]) for f in ran.value["faults"]] == [("wall", 3, True), ("no", 3, True)]
    assert [c["complete"] for c in ran.value["captures"]] == [True, True]
    assert [s["exit"] for s in ran.value["steps"] if s["kind"] == "run"] == [0]
    assert_nothing_left(ran)


def test_the_record_is_written_in_the_order_things_happened(run: Runner) -> None:
    """The plan is saved before the lab comes up; captures begin before the first step and end after the last undo."""
    ran = run()
    kinds = [e["event"] for e in ran.events]
    order = ["run-start", "lab-up", "capture-start", "step-start", "fault-applied", "fault-removed", "capture-end", "lab-down", "run-end"]
    assert [kinds.index(kind) for kind in order] == sorted(kinds.index(kind) for kind in order)
    assert len(kinds) - 1 - kinds[::-1].index("fault-removed") < kinds.index("capture-end")
    assert [e["t"] for e in ran.events if e["event"] in order] == sorted(e["t"] for e in ran.events if e["event"] in order)
    assert json.loads((ran.path / "plan.json").read_text())["hosts"][0]["addresses"]["default"] == ["198.18.1.2"]


@pytest.mark.parametrize("point", AGENT_POINTS)
def test_an_agent_that_refuses_makes_the_run_an_error(run: Runner, point: str) -> None:
    """Whatever an agent refuses, the result is error with its words, and everything that was done is undone in reverse."""
    ran = run(point, refuse)
    assert ran.value["verdict"] == "error"
    assert "the fuse has blown" in ran.value["reason"]
    assert_nothing_left(ran)


@pytest.mark.parametrize("point", ENGINE_POINTS)
def test_an_engine_that_fails_makes_the_run_an_error(run: Runner, point: str) -> None:
    """Whatever the engine cannot do, the result is error with its words, and everything that was done is undone in reverse."""
    ran = run(point, break_engine)
    assert ran.value["verdict"] == "error"
    assert "the fuse has blown" in ran.value["reason"]
    assert_nothing_left(ran)


def test_a_lab_that_cannot_be_taken_down_makes_the_run_an_error(run: Runner) -> None:
    """A run that saw everything it should is still an error when its lab stays behind."""
    ran = run(DOWN, break_engine)
    assert (ran.value["verdict"], ran.value["reason"]) == ("error", "the fuse has blown")


@pytest.mark.parametrize("point", AGENT_POINTS)
def test_an_agent_that_dies_makes_the_run_an_error_that_names_it(run: Runner, point: str) -> None:
    """When an agent dies while it is asked something the result is error and names its host; the other host is undone."""
    host = point.split(".")[1]

    def die(engine: FakeEngine) -> None:
        engine.channels[host].die("Killed")
        raise Died

    ran = run(point, die)
    assert ran.value["verdict"] == "error"
    assert f"the agent on {host} ended and said: Killed" in ran.value["reason"]
    assert ran.engine.downs == 1
    for other in HOSTS:
        if other != host and ran.world.lab is not None:
            ran.ended(other)


@pytest.mark.parametrize("point", [*ENGINE_POINTS, *AGENT_POINTS, DOWN])
def test_an_interrupt_at_any_point_leaves_nothing(run: Runner, point: str) -> None:
    """Ctrl-C at any point: everything is undone, the lab goes down, and the record says that it was interrupted."""
    first_interrupts_the_rest_is_ignored()
    ran = run(point, lambda _: interrupt_driver())
    assert (ran.value["verdict"], ran.value["interrupted"]) == ("error", True)
    assert ran.value["reason"] == "interrupted before it was finished"
    assert_nothing_left(ran)
