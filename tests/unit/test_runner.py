"""The runner on hosts in memory: the order of a run, and what is left when any one call of it goes wrong."""

from __future__ import annotations

import json
import signal
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_engine import (
    COMPOSE,
    SCENARIO,
    Died,
    FakeCapture,
    FakeChannel,
    FakeEngine,
    FakeProcess,
    Fuse,
    World,
    in_memory,
    interrupt_driver,
)

from labctl.agent.__main__ import Refused
from labctl.engines.base import Disturbed
from labctl.errors import LabError, MissingError, ScenarioError
from labctl.evidence.rundir import RunDirectory
from labctl.lab import addressed, read_lab
from labctl.plan import plan
from labctl.runner import Request, execute
from labctl.runs import judge_run
from labctl.scenario.loader import load
from labctl.session.faults import Faults
from labctl.session.programs import _ends
from labctl.verdict.judge import result

# Every call a run makes, in the order of a run; hosts are asked side by side. The test below holds this list to the truth.
AGENT_POINTS = [
    *(
        f"agent.{host}.{op}"
        for op in ("hello", "routes", "capture_start", "dissect_start", "sample")
        for host in ("server", "client")
    ),
    "agent.server.netem",
    "agent.server.wait_bound",
    "agent.server.apply",
    "agent.client.apply",
    # What each fault touched is counted before every step, and once more when the last is over.
    *("agent.server.faults" + again for again in ("", "#2", "#3")),
    *("agent.client.faults" + again for again in ("", "#2", "#3", "#4", "#5")),
    "agent.server.undo",
    "agent.client.undo",
    *(
        f"agent.{host}.{op}"
        for op in ("sample-end", "capture_finish", "capture_stop", "dissect", "read", "read#2")
        for host in ("server", "client")
    ),
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
        order = [
            u for u in reversed(list(dict.fromkeys(pairs.values()))) if u in undone and u not in quenched
        ]
        assert [u for u in undone if u not in quenched] == order, "undone in another order than in reverse"

    @cached_property
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
        request = Request(
            load(tmp_path / "scenario.yaml"), tmp_path / "compose.yml", 7, standing=standing, keep=keep
        )
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
    assert [(f["name"], f["packets"], f["fired"]) for f in ran.value["faults"]] == [
        ("wall", 3, True),
        ("no", 3, True),
    ]
    assert [c["complete"] for c in ran.value["captures"]] == [True, True]
    assert [s["exit"] for s in ran.value["steps"] if s["kind"] == "run"] == [0]
    assert_nothing_left(ran)


def test_the_record_is_written_in_the_order_things_happened(run: Runner) -> None:
    """The plan is saved before the lab comes up; captures begin before the first step and end after the last undo."""
    ran = run()
    kinds = [e["event"] for e in ran.events]
    order = [
        "run-start",
        "lab-up",
        "capture-start",
        "step-start",
        "fault-applied",
        "fault-removed",
        "capture-end",
        "lab-down",
        "run-end",
    ]
    assert [kinds.index(kind) for kind in order] == sorted(kinds.index(kind) for kind in order)
    assert len(kinds) - 1 - kinds[::-1].index("fault-removed") < kinds.index("capture-end")
    assert [e["t"] for e in ran.events if e["event"] in order] == sorted(
        e["t"] for e in ran.events if e["event"] in order
    )
    assert json.loads((ran.path / "plan.json").read_text())["hosts"][0]["addresses"]["default"] == [
        "198.18.1.2"
    ]


def test_the_record_says_who_ended_a_program_and_when(run: Runner) -> None:
    """A program that ended by itself got no signal, and its time is that of its end, not that of our looking."""
    text = SCENARIO.replace("{stop: serve}", "{start: [probe, bind, server, 81], as: early, on: server}\n  - {wait: 300ms}")
    events = run(text=text).events
    ended = {e["handle"]: e for e in events if e["event"] == "program-end"}
    assert [ended[who]["signalled"] for who in ("probe", "early", "serve")] == [None, None, "TERM"]
    assert [ended[who]["refused"] for who in ("probe", "early", "serve")] == [None, None, None]
    wait = next(e for e in events if e["event"] == "step-start" and e["kind"] == "wait" and e["index"] == 8)
    assert ended["early"]["t"] < wait["t"] + 0.3 <= ended["serve"]["t"]


def test_a_program_never_seems_to_have_taken_less_than_it_did(run: Runner) -> None:
    """Its time begins before the engine is asked to start it, also where the driver hears of the start after its end."""

    def late(engine: FakeEngine) -> None:
        start = engine.start

        def started(*words: Any) -> Any:
            process = start(*words)
            time.sleep(0.05)
            return process

        engine.start = started  # type: ignore[method-assign]

    events = run(prepare=late).events
    begun, ended = (
        next(e["t"] for e in events if e["event"] == f"program-{what}" and e["handle"] == "probe") for what in ("start", "end")
    )
    assert begun < ended


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


def test_what_went_wrong_first_is_the_reason_even_when_clean_up_fails_too(run: Runner) -> None:
    """The first error is the run's reason; what failed while it was being undone does not take its place."""

    def die(engine: FakeEngine) -> None:
        engine.channels["server"].die("")
        raise LabError("the fuse has blown")

    ran = run("engine.start.python3", die)
    assert ran.value["reason"] == "the fuse has blown"
    later = [e["message"] for e in ran.events if e["event"] == "error" and e.get("undoing")]
    assert any("the agent on server ended" in message for message in later)


def test_an_interrupt_while_an_error_is_being_undone_keeps_both(run: Runner) -> None:
    """Ctrl-C during the clean-up of a run that broke: the record has the interruption and the error before it."""
    first_interrupts_the_rest_is_ignored()

    def break_and_interrupt_later(engine: FakeEngine) -> None:
        engine.world.fuse.at, engine.world.fuse.bad = DOWN, interrupt_driver
        raise LabError("the fuse has blown")

    ran = run("engine.start.python3", break_and_interrupt_later)
    assert ran.value["interrupted"]
    assert "the fuse has blown" in [e.get("message") for e in ran.events]
    assert ran.engine.downs == 1


def test_captures_are_saved_when_a_run_is_interrupted(run: Runner) -> None:
    """A run that is interrupted in a step still has the captures of every host, whole."""
    first_interrupts_the_rest_is_ignored()
    ran = run("engine.start.python3", lambda _: interrupt_driver())
    assert [c["complete"] for c in ran.value["captures"]] == [True, True]
    assert {p.name for p in (ran.path / "pcap").glob("*.pcapng")} == {
        "server.pcapng",
        "client.pcapng",
        "merged.pcapng",
    }


def test_one_dead_agent_keeps_no_other_capture_from_being_saved(run: Runner) -> None:
    """When the agent of one host dies, the captures of the other hosts are in the record."""

    def die(engine: FakeEngine) -> None:
        engine.channels["server"].die("")
        raise Died

    ran = run("agent.server.undo", die)
    assert [c["host"] for c in ran.value["captures"]] == ["client"]


@pytest.mark.parametrize("verb", ["-N", "-A", "-I"])
def test_a_command_that_is_refused_takes_back_those_before_it(run: Runner, verb: str) -> None:
    """When the kernel refuses one command of a fault, exactly the commands before it are undone, and the step says why."""

    def prepare(engine: FakeEngine) -> None:
        engine.world.refused = lambda host, argv: (
            "No chain like that" if host == "server" and verb in argv else None
        )

    ran = run(prepare=prepare)
    assert ran.value["verdict"] == "error"
    assert "the fault wall could not be applied" in ran.value["reason"]
    assert "No chain like that" in ran.value["reason"]
    changes = next(p for p in ran.plans if p.host == "server").changes
    before = next(i for i, change in enumerate(changes) if verb in change.do)
    done = [argv for host, argv in ran.world.log if host == "server" and argv in [c.undo for c in changes]]
    assert done == [change.undo for change in reversed(changes[:before])]


def test_an_undo_that_fails_is_an_error_and_is_tried_again(run: Runner) -> None:
    """A fault that cannot be taken back, at once or in turn, makes the run an error, and its agent tries again when it ends."""
    busy = ["Another app is currently holding the xtables lock"] * 2

    def prepare(engine: FakeEngine) -> None:
        engine.world.refused = lambda host, argv: (
            busy.pop() if busy and host == "server" and "-D" in argv else None
        )

    ran = run(prepare=prepare)
    assert ran.value["verdict"] == "error"
    assert "could not undo" in ran.value["reason"]
    assert "xtables lock" in ran.value["reason"]
    undone = [argv for host, argv in ran.world.log if host == "server" and "-D" in argv]
    assert undone.count(undone[0]) == 2


def test_an_undo_whose_work_is_gone_already_is_no_error(run: Runner) -> None:
    """A rule that somebody else has deleted is healed all the same."""
    gone = "iptables: Bad rule (does a matching rule exist in that chain?)."

    def prepare(engine: FakeEngine) -> None:
        engine.world.refused = lambda _, argv: gone if argv[3:5] == ("-D", "LABCTL-wall") else None

    assert run(prepare=prepare).value["verdict"] == "pass"


def test_a_fault_that_touched_no_packet_is_an_error(run: Runner) -> None:
    """A run whose fault never saw a packet proves nothing, whatever the programs saw."""
    ran = run(prepare=lambda engine: setattr(engine.world, "packets", 0))
    assert ran.value["verdict"] == "error"
    assert (
        ran.value["reason"]
        == "the fault wall on server touched no packet, so this run proves nothing about it"
    )
    assert [f["fired"] for f in ran.value["faults"]] == [False, False]


def test_a_fault_that_could_not_be_counted_is_an_error(run: Runner) -> None:
    """A fault whose counters cannot be read is taken back, and the run is an error: nobody knows whether it happened."""

    def prepare(engine: FakeEngine) -> None:
        engine.world.refused = lambda _, argv: "no such chain" if "-nvxL" in argv else None

    ran = run(prepare=prepare)
    assert ran.value["verdict"] == "error"
    assert "nobody read what the fault wall on server touched" in ran.value["reason"]
    assert_nothing_left(ran)


HANGS = SCENARIO.replace(
    "run: [probe, connect, server, 80]\n    on: client\n    expect: {errno: null}",
    "run: [hang]\n    on: client\n    timeout: 30ms\n    expect: {exit: 0}",
)


def test_a_program_that_never_ends_is_killed_at_its_timeout(run: Runner) -> None:
    """A program that never ends is killed when its step's time is over: an error that shows what it had said."""
    ran = run(text=HANGS)
    assert ran.value["verdict"] == "error"
    assert "hang did not end within 0.03s and was killed; it said:\nhalf a line" in ran.value["reason"]
    assert ran.value["steps"][3]["exit"] == 137
    assert (ran.path / "programs/04-client.out").read_text() == "half a line"
    assert (ran.path / "programs/04-client.err").read_text() == "a warning\n"
    assert_nothing_left(ran)


def test_a_program_that_ends_before_it_is_ready_is_an_error(run: Runner) -> None:
    """A server that ends before it listens is an error of its start step, with what it said."""
    text = SCENARIO.replace("start: [serve], on: server", "start: [flop], on: server, as: serve")
    ran = run(text=text, prepare=lambda engine: engine.world.bound.clear())
    assert ran.value["verdict"] == "error"
    assert (
        "serve ended before it was ready; it said:\nasked"
        in ran.value["reason"]
    )


def test_a_program_whose_last_word_was_that_it_is_ready_was_ready(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it wrote that and ended between two looks at it."""
    outputs = iter([(b"", b"")])
    whole = FakeProcess.output
    monkeypatch.setattr(FakeProcess, "output", lambda self: next(outputs, whole(self)))
    text = SCENARIO.replace("start: [serve], on: server", "start: [flop], on: server, as: serve")
    ran = run(text=text.replace("ready: {listen: 80}", "ready: {output: asked}"))
    assert ran.value["verdict"] == "pass", ran.value["reason"]


def test_a_server_that_never_listens_is_an_error(run: Runner) -> None:
    """A server that runs and never listens is an error that names the port and the time."""
    text = SCENARIO.replace("ready: {listen: 80}", "ready: {listen: 80, timeout: 20ms}")
    ran = run(text=text, prepare=lambda engine: engine.world.bound.clear())
    assert "serve is not ready: server: nothing listens on tcp port 80 after 0.02s" in ran.value["reason"]


@pytest.mark.parametrize(("ended_at", "ends"), [(1.0, True), (None, False)])
def test_a_program_that_has_ended_is_waited_for_until_it_is_known_how(ended_at: float | None, ends: bool) -> None:
    """Its time is over when it ends, not when the engine can tell its status; one that runs has no more than its time."""
    waits = iter([False, False, False, True])
    late = types.SimpleNamespace(wait=lambda _: next(waits), ended_at=lambda: ended_at)
    assert _ends(late, 0.0) is ends
    assert (list(waits) == []) is ends


def test_a_program_is_looked_at_once_more_when_its_time_is_over() -> None:
    """It may have been this process that stood still past the time, and the program had ended long before."""
    waits = iter([False, True])
    process = types.SimpleNamespace(wait=lambda _: next(waits), ended_at=lambda: None)
    assert _ends(process, 0.0)


def test_a_sign_that_takes_too_long_to_look_for_is_given_up_in_time(run: Runner) -> None:
    """The limit of ready: holds for the expression too, which may be one that would go on for years."""
    text = SCENARIO.replace("ready: {listen: 80}", "ready: {output: '^((((((.+)+)+)+)+)+)+$X', timeout: 200ms}")
    reason = run(text=text).value["reason"]
    looked = "looking for '^((((((.+)+)+)+)+)+)+$X' in what it wrote gave no answer within 0.2s; write it so that"
    assert f"serve is not known to be ready: {looked}" in reason


def test_a_server_that_never_says_it_is_ready_is_an_error(run: Runner) -> None:
    """A server whose output never matches is an error that names what was waited for."""
    text = SCENARIO.replace("ready: {listen: 80}", "ready: {output: ready now, timeout: 20ms}")
    assert "serve did not write 'ready now' within 0.02s" in run(text=text).value["reason"]


def test_a_host_that_dies_makes_the_run_an_error_that_names_it(run: Runner) -> None:
    """When a host ends in the middle of a run the result is error and names it, though the agent lives on."""

    def kill(engine: FakeEngine) -> None:
        engine.deaths.append("the host server ended by itself with exit status 137")

    ran = run("engine.start.python3", kill)
    assert (ran.value["verdict"], ran.value["reason"]) == (
        "error",
        "the host server ended by itself with exit status 137",
    )
    assert_nothing_left(ran)


def test_an_engine_that_is_lost_is_the_reason_whatever_was_noticed_first(run: Runner) -> None:
    """Its hosts and agents went with it, and that is what a run notices first; the reason names what ended them."""

    def lose(engine: FakeEngine) -> None:
        engine.deaths.append("the host server ended by itself with exit status 143")
        engine.why_lost = "the engine ended"

    ran = run("engine.start.python3", lose)
    assert (ran.value["verdict"], ran.value["reason"]) == ("error", "the engine ended")
    assert ran.engine.downs == 1


def test_an_engine_that_is_lost_while_a_run_ends_is_the_reason(run: Runner) -> None:
    """When captures cannot be ended as their agents went with the engine, the reason is the engine all the same."""

    def lose(engine: FakeEngine) -> None:
        for channel in engine.channels.values():
            channel.die("gone")
        engine.why_lost = "the engine ended"
        engine.world.fuse.at, engine.world.fuse.bad = DOWN, refused_by_engine

    def refused_by_engine() -> None:
        raise LabError("nobody answers")

    ran = run("agent.client.sample-end", lose)
    assert (ran.value["verdict"], ran.value["reason"]) == ("error", "the engine ended")


def test_a_host_that_dies_in_the_last_step_is_noticed(run: Runner) -> None:
    """A host that ended while the last step ran is noticed when the captures end, at the latest."""

    def kill(engine: FakeEngine) -> None:
        engine.deaths.append("the host client ended by itself with exit status 137")

    ran = run("agent.client.sample-end", kill)
    assert (ran.value["verdict"], ran.value["reason"]) == (
        "error",
        "the host client ended by itself with exit status 137",
    )


@pytest.mark.parametrize(
    "said", [b"Traceback (most recent call last):\n", b"5\n", b"{}\n", b"[]\n", b"\xff\n"]
)
def test_an_agent_that_talks_nonsense_makes_the_run_an_error(run: Runner, said: bytes) -> None:
    """When an agent says what is no message the run is an error that names its host, at once."""
    ran = run("agent.server.wait_bound", lambda engine: engine.channels["server"]._out.put(said))
    assert ran.value["verdict"] == "error"
    assert "server" in ran.value["reason"]
    assert_nothing_left(ran)


def test_addresses_that_somebody_takes_are_tried_again(run: Runner) -> None:
    """When another takes the addresses first, the run takes others, and the plan it saves has those."""
    ran = run(prepare=lambda engine: setattr(engine, "taken", 3))
    assert ran.value["verdict"] == "pass"
    assert json.loads((ran.path / "plan.json").read_text())["hosts"][0]["addresses"]["default"] == [
        "198.18.1.2"
    ]


def test_addresses_that_are_always_taken_are_an_error(run: Runner) -> None:
    """When the addresses are taken again and again, the run ends as an error instead of trying for ever."""
    ran = run(prepare=lambda engine: setattr(engine, "taken", 99))
    assert ran.value["verdict"] == "error"
    assert "Pool overlaps" in ran.value["reason"]


def test_what_is_missing_on_this_machine_skips_the_run(run: Runner) -> None:
    """A run that needs what this machine has not is a skip with the reason, and leaves nothing."""

    def missing(_: FakeEngine) -> None:
        raise MissingError("image x is not on this machine")

    ran = run("engine.up", missing)
    assert (ran.value["verdict"], ran.value["reason"]) == ("skip", "image x is not on this machine")
    assert ran.engine.downs == 1


def test_a_bug_is_named_and_its_traceback_is_in_the_record(run: Runner) -> None:
    """An exception nobody expected is an error whose traceback is in events.jsonl, for us, and not in the reason."""

    def trip(_: FakeEngine) -> None:
        raise ZeroDivisionError("division by zero")

    ran = run("engine.environment", trip)
    assert ran.value["reason"] == "a bug in labctl: ZeroDivisionError: division by zero"
    assert any("Traceback" in e.get("traceback", "") for e in ran.events)
    assert_nothing_left(ran)


def test_a_lab_that_is_kept_stays_up_without_faults(run: Runner) -> None:
    """With --keep the hosts stay, and the faults do not."""
    ran = run(keep=True)
    assert ran.value["verdict"] == "pass"
    passed = ran.world.fuse.passed
    assert "engine.release" not in passed
    assert passed.index("engine.keep") < passed.index("engine.down")
    said = [event["message"] for event in ran.events if event["event"] == "progress"]
    assert said[-1].startswith("the lab stays up, as kept-1234: ")
    assert not any(channel.is_open for channel in ran.engine.channels.values())


def test_a_lab_is_not_kept_for_a_scenario_that_could_not_be_run(run: Runner) -> None:
    """With --keep too: a capture filter that libpcap refuses is a mistake in the file, and leaves nothing."""

    def refuse_filter(_: FakeEngine) -> None:
        raise Refused('dumpcap: Invalid capture filter "nonsense" for interface eth0!')

    engines: list[FakeEngine] = []
    text = SCENARIO.replace("steps:", "capture: {filter: nonsense}\nsteps:", 1)
    with pytest.raises(ScenarioError, match=r"scenario.yaml:\d+:\d+: libpcap refuses this filter"):
        run("agent.client.capture_start", refuse_filter, text, engines.append, keep=True)
    assert "engine.keep" not in engines[0].world.fuse.passed
    assert engines[0].downs == 1


def test_a_standing_lab_is_attached_to_and_stays(run: Runner, tmp_path: Path) -> None:
    """On a standing lab a run makes no hosts and takes none away; what it made itself goes."""

    def stand(engine: FakeEngine) -> None:
        engine.standing = addressed(read_lab(tmp_path / "compose.yml"), 9)

    ran = run(prepare=stand, standing=True)
    assert ran.value["verdict"] == "pass", ran.value["reason"]
    assert (ran.path / "compose.yaml").read_text(encoding="utf-8") == "name: standing\n"
    assert "engine.keep" not in ran.world.fuse.passed
    assert {"engine.up", "engine.prepare", "engine.release"}.isdisjoint(ran.world.fuse.passed)
    assert ran.engine.downs == 1
    for host in HOSTS:
        ran.ended(host)


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[Callable[[FakeEngine, str, str], None]]:
    """Have a lab stand with a fault at a host, put there by an agent that outlives the run: (engine, host, name)."""
    residents = []

    def put(engine: FakeEngine, host: str, name: str) -> None:
        engine.standing = engine.world.lab = addressed(read_lab(tmp_path / "compose.yml"), 9)
        residents.append(FakeChannel(host, engine.world).agent)
        action = {"type": "commands", "changes": [{"do": ["break"], "undo": ["mend"]}]}
        for op, arguments in (("hello", {}), ("apply", {"name": name, "kind": "drop", "action": action})):
            residents[-1].serve(json.dumps({"id": 1, "op": op, **arguments}))

    yield put
    for resident in residents:
        resident.claims.close()


def test_a_fault_by_hand_of_the_same_name_is_told_before_anything_is_touched(run: Runner, by_hand: Any) -> None:
    """Two faults of one name at one host would have one chain: the run says which is there, and starts nothing."""
    ran = run(prepare=lambda engine: by_hand(engine, "server", "wall"), standing=True)
    assert ran.value["verdict"] == "error"
    assert ran.value["reason"] == (
        "the fault wall cannot be put at server: there is a fault wall already, put by hand: "
        "`labctl fault remove wall` takes it away"
    )
    assert ran.value["steps"] == []
    assert ran.world.log.count(("server", ("break",))) == 1
    assert ("server", ("mend",)) not in ran.world.log


@pytest.mark.parametrize("errno", ["null", "ECONNREFUSED"])
def test_what_is_broken_by_hand_is_in_the_result_and_a_hint_where_a_run_did_not_pass(
    run: Runner, by_hand: Any, errno: str
) -> None:
    """Which faults stood on the lab when the run began is recorded, and told where it went another way than expected."""
    text = SCENARIO.replace("errno: null", f"errno: {errno}")
    ran = run(prepare=lambda engine: by_hand(engine, "client", "mud"), standing=True, text=text)
    (event,) = [e for e in ran.events if e["event"] == "faults-before"]
    assert event["faults"] == [{"host": "client", "name": "mud", "kind": "drop", "by": ""}]
    assert ran.value["environment"]["faults_before"] == "the drop fault mud on client, put by hand"
    told = ran.value["reason"].endswith("; the drop fault mud on client, put by hand, was there when the run began")
    assert (ran.value["verdict"], told) == (("pass", False) if errno == "null" else ("fail", True))


ASKS = "  - {run: [probe, connect, server, 80], on: client, expect: {errno: null}}\n"


@pytest.mark.parametrize(
    ("fault", "by", "why"),
    [
        ("pause", "", "the pause fault cold on server, put by hand, has done that already"),
        ("pause", "r2", "the pause fault cold on server, of the run r2, has done that already"),
        ("kill", "", "it would take with it the pause fault cold on server, put by hand"),
    ],
)
def test_a_host_that_others_have_frozen_is_not_frozen_or_killed_as_well(
    run: Runner, tmp_path: Path, fault: str, by: str, why: str
) -> None:
    """Who ends first would set it going for both: it is refused before anything begins."""

    def stand(engine: FakeEngine) -> None:
        engine.standing = addressed(read_lab(tmp_path / "compose.yml"), 9)
        engine.others = [Disturbed("server", "pause", "cold", by), Disturbed("elsewhere", "pause", "far", "")]

    text = f"scenario: s\nlab: compose.yml\nsteps:\n  - {{fault: f, at: server, {fault}: {{}}}}\n{ASKS}"
    ran = run(prepare=stand, standing=True, text=text)
    assert (ran.value["verdict"], ran.value["steps"]) == ("error", [])
    assert ran.value["reason"] == f"the fault f cannot be put at server: {why}"


def test_a_standing_lab_with_a_host_that_is_down_is_a_clear_error(run: Runner, tmp_path: Path) -> None:
    """Nothing begins on a lab whose host is down; the reason is what the engine says to do about it."""

    def stand(engine: FakeEngine) -> None:
        engine.standing = addressed(read_lab(tmp_path / "compose.yml"), 9)
        engine.down_hosts["client"] = "the host client of lab x is down: `labctl up --name x` starts it again"

    ran = run(prepare=stand, standing=True)
    assert (ran.value["verdict"], ran.value["reason"]) == ("error", ran.engine.down_hosts["client"])
    assert ran.engine.opened == []


def test_a_standing_lab_without_the_hosts_of_the_scenario_is_a_clear_error(
    run: Runner, tmp_path: Path
) -> None:
    """A scenario that needs a host which the standing lab has not is one to be mended, and no run that broke."""

    def stand(engine: FakeEngine) -> None:
        (tmp_path / "other.yml").write_text(
            "services: {server: {image: x, labels: {labctl.programs: /p}}}", encoding="utf-8"
        )
        engine.standing = addressed(read_lab(tmp_path / "other.yml"), 9)

    with pytest.raises(ScenarioError, match="the lab has no host 'client'"):
        run(prepare=stand, standing=True)


def test_a_capture_that_is_switched_off_is_not_made(run: Runner) -> None:
    """With `capture: false` nothing is captured, and the run passes without."""
    ran = run(text=SCENARIO.replace("sample: 10ms", "sample: 10ms\ncapture: false"))
    assert (ran.value["verdict"], ran.value["captures"]) == ("pass", [])


def test_a_capture_that_lost_packets_makes_the_run_an_error(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose capture is not complete is an error that says why."""
    whole = FakeCapture.stop
    lost = {"complete": False, "dropped": 7, "reason": "the kernel dropped 7 packets"}
    monkeypatch.setattr(FakeCapture, "stop", lambda self, missing: {**whole(self, missing), **lost})
    ran = run()
    assert ran.value["verdict"] == "error"
    assert "is incomplete: the kernel dropped 7 packets" in ran.value["reason"]


def test_a_fault_on_a_timeline_is_recorded_each_time(run: Runner) -> None:
    """A fault that comes and goes has one span for each time, with its packets, and is gone at the end."""
    text = SCENARIO.replace(
        "fault: wall, at: server,", "fault: wall, at: server, for: 20ms, every: 40ms, times: 2,"
    )
    ran = run(text=text.replace("wait: 10ms", "wait: 2s").replace("  - {heal: wall}\n", ""))
    assert ran.value["verdict"] == "pass", ran.value["reason"]
    wall = next(f for f in ran.value["faults"] if f["name"] == "wall")
    assert [span["packets"] for span in wall["spans"]] == [3, 3]
    first, second = wall["spans"]
    assert first["applied"] < first["removed"] < second["applied"] < second["removed"]
    asked = [at - first["asked"] for span in (first, second) for at in (span["asked"], span["end_asked"])]
    assert asked == pytest.approx([0.0, 0.02, 0.04, 0.06], abs=1e-4)
    assert all(span["asked"] <= span["applied"] and span["end_asked"] <= span["removed"] for span in (first, second))
    healed = next(f for f in ran.value["faults"] if f["name"] == "no")["spans"][0]
    assert healed["applied"] < healed["end_asked"] <= healed["removed"]
    for host in HOSTS:
        done = [kind for kind, _ in ran.world.changes([p for p in ran.plans if p.host == host])[host]]
        assert done.count("do") == done.count("undo")


def test_a_fault_that_is_healed_while_it_waits_for_its_next_time_was_not_in_place_then(run: Runner) -> None:
    """It has ended once, with what it touched; the chain that was made ready for the next time changes nothing of that."""
    text = SCENARIO.replace("fault: wall, at: server,", "fault: wall, at: server, for: 20ms, every: 60s,")
    ran = run(text=text.replace("{heal: wall}", "{wait: 500ms}").replace("wait: 10ms", "heal: wall"))
    assert ran.value["verdict"] == "pass", ran.value["reason"]
    wall = next(f for f in ran.value["faults"] if f["name"] == "wall")
    assert [span["packets"] for span in wall["spans"]] == [3]
    assert [e["packets"] for e in ran.events if e["event"] == "fault-removed" and e["name"] == "wall"] == [3]
    done = [kind for kind, _ in ran.world.changes([p for p in ran.plans if p.host == "server"])["server"]]
    assert done.count("do") == done.count("undo")


def test_a_fault_that_begins_now_for_a_while_is_in_place_before_the_next_step(run: Runner) -> None:
    """With `for:` and no `after:` the step that puts it lasts until the agent has said that it began."""
    ran = run(text=SCENARIO.replace("fault: wall, at: server,", "fault: wall, at: server, for: 10s,"))
    order = [(e["event"], e.get("index"), e.get("name")) for e in ran.events]
    assert order.index(("fault-applied", None, "wall")) < order.index(("step-start", 3, None))


@pytest.mark.parametrize("lines", [1, 2, 4, 8, 12, 16, 20, 24, 28, 32])
def test_a_full_disk_at_any_line_of_the_record_leaves_nothing(
    run: Runner, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    """When the disk is full from some line on, execute says so, and everything is undone and taken down all the same."""
    real, written = RunDirectory._append, []

    def full(self: RunDirectory, name: str, line: dict[str, Any]) -> None:
        written.append(name)
        if len(written) > lines:
            raise LabError(f"{self.path / name} cannot be written: No space left on device")
        real(self, name, line)

    engines: list[FakeEngine] = []
    monkeypatch.setattr(RunDirectory, "_append", full)
    with pytest.raises(LabError, match="No space left on device"):
        run(prepare=engines.append)
    assert engines[0].downs == 1
    assert not any(channel.is_open for channel in engines[0].channels.values())
    logs = [argv[3:] for _, argv in engines[0].world.log]
    assert sum("-N" in argv for argv in logs) == sum("-X" in argv for argv in logs)


def test_wrong_checksums_are_read_between_the_steps_where_links_may_damage_packets() -> None:
    """Every host that is alive is asked, for it may be any that throws them away; without a link fault nobody is."""
    asked: list[str] = []

    class Agent:
        def __init__(self, host: str) -> None:
            self.host = host

        def ask(self, op: str) -> str:
            asked.append(f"{self.host} {op}")
            return self.host

        def result(self, answer: str, op: str) -> dict[str, int]:
            return {"udp": len(answer) * len(op)}

    events: list[dict[str, Any]] = []
    record = SimpleNamespace(event=lambda event, **fields: events.append({"event": event, **fields}))
    for kind in ("link", "drop"):
        steps = [SimpleNamespace(faults=[SimpleNamespace(kind=kind)])]
        agents = {name: Agent(name) for name in ("client", "server", "dead")}
        plan = SimpleNamespace(steps=steps)
        hosts: Any = SimpleNamespace(plan=plan, killed={"dead": "cut"}, agents=agents, record=record, heard={})
        Faults(hosts, None, None).tally(3)  # type: ignore[arg-type]
    assert asked == ["client damaged", "server damaged"]
    assert events == [{"event": "checksums", "step": 3, "hosts": {"client": {"udp": 42}, "server": {"udp": 42}}}]
