"""A lab that a Python program tells what to do, on hosts in memory: what it does, records, refuses and judges."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_engine import COMPOSE, FakeEngine, Fuse, World, in_memory

from labctl import api
from labctl.api import ExpectationFailed, FaultTouchedNothing
from labctl.live.lab import Lab

MakeLab = Callable[..., Lab]
PROBE = ["probe", "connect", "server", 80]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeLab]:
    """A lab on hosts in memory; `packets` is what every fault touches, `at` and `bad` are a fuse."""
    (tmp_path / "compose.yml").write_text(COMPOSE, encoding="utf-8")

    def lab(packets: int = 3, fuse: Fuse | None = None, **settings: Any) -> Lab:
        world = World(fuse or Fuse(), tmp_path, packets=packets)
        engine = FakeEngine(world)
        return api.lab(tmp_path / "compose.yml", out=tmp_path / "runs", engine=engine, **settings)

    with in_memory(monkeypatch):
        yield lab


def events(path: Path, kind: str) -> list[dict[str, Any]]:
    lines = (path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == kind]


def test_steps_told_one_by_one_leave_a_run_directory_that_can_be_judged_and_run_again(make: MakeLab) -> None:
    """The record of a block has its steps, outcomes, faults and page, judges the same again, and is a scenario that loads."""
    with make() as lab:
        lab.host("server").until(listen=80)
        server = lab.host("server").start(["serve"], ready={"listen": 80})
        outcome = lab.host("client").run(PROBE, name="the client asks", expect={"errno": None})
        with lab.fault("wall", at="server", drop={"protocol": "tcp", "dport": 80}) as wall:
            unjudged = lab.host("client").run(PROBE)
        lab.wait("10ms")
        assert server.stop().exit == 143
    run = lab.finish()
    assert (outcome.errno, outcome.elapsed, outcome.fields and outcome.fields["op"]) == (
        None,
        0.0015,
        "connect",
    )
    assert outcome.stdout == "asked\n"
    assert wall.packets == 3
    assert (run.verdict, unjudged.step) == ("pass", 5)
    assert [s["kind"] for s in run.steps] == ["until", "start", "run", "fault", "run", "heal", "wait", "stop"]
    assert [len(s["findings"]) for s in run.steps] == [0, 0, 1, 0, 0, 0, 0, 0]
    assert run.faults[0]["packets"] == 3
    assert run.page.exists()
    assert api.judge(run.path).result == run.result
    again = api.load(run.path / "scenario.yaml")
    assert [step.kind for step in again.scenario.steps] == [s["kind"] for s in run.steps]
    assert again.scenario.steps[4].expect.model_fields_set == {"errno"}  # type: ignore[union-attr]  # as it was seen


def test_what_is_expected_and_does_not_hold_fails_at_the_end_of_the_block(make: MakeLab) -> None:
    """Leaving the block raises ExpectationFailed, an AssertionError, with the finding and the page; the verdict is fail."""
    lab = make()
    words = r"errno: expected ECONNREFUSED, got success(.|\n)*report\.html"
    with pytest.raises(ExpectationFailed, match=words) as failed, lab:  # noqa: PT012
        lab.host("client").run(PROBE, expect={"errno": "ECONNREFUSED"})
        lab.host("client").run(PROBE)
    assert isinstance(failed.value, AssertionError)
    assert failed.value.run.verdict == "fail"


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(AssertionError("it took too long"), "fail"), (ValueError("what is this"), "error")],
)
def test_an_exception_in_the_block_is_in_the_verdict_and_goes_on(
    make: MakeLab, error: Exception, verdict: str
) -> None:
    """An assertion makes the run a fail, any other exception an error; both are raised on, and name the page in a note."""
    lab = make()
    with pytest.raises(type(error), match=str(error)) as raised, lab:  # noqa: PT012
        lab.host("client").run(PROBE)
        raise error
    assert raised.value is error
    run = lab.end()
    assert run.verdict == verdict
    assert str(error) in run.reason
    assert str(run.page) in raised.value.__notes__[0]
    assert api.judge(run.path).result == run.result


def test_a_fault_that_touched_nothing_is_told_where_it_ends(make: MakeLab) -> None:
    """Leaving the block of a fault that met no packet raises, and the run is an error; an exception of the block goes first."""
    lab = make(packets=0)
    told, drop = "wall at server touched no packet", {"dport": 80, "protocol": "tcp"}
    with pytest.raises(FaultTouchedNothing, match=told), lab, lab.fault("wall", at="server", drop=drop):
        lab.host("client").run(PROBE)
    assert lab.end().verdict == "error"
    other = make(packets=0)
    with pytest.raises(KeyError), other, other.fault("wall", at="server", drop=drop):
        raise KeyError("mine")
    assert len(events(other.path, "fault-removed")) == 1
    # What `down` kept away is counted in the captures, so only the verdict can tell.
    third = make(packets=0)
    with pytest.raises(api.LabError, match="touched no packet") as late, third, third.fault("x", at="client", down={}):
        third.host("server").run(PROBE)
    assert not isinstance(late.value, FaultTouchedNothing)


def test_a_step_that_cannot_be_is_refused_and_leaves_no_trace(make: MakeLab) -> None:
    """Wrong words get the nearest right one; the step is not in the record, and the lab goes on."""
    with make() as lab:
        client = lab.host("client")
        for bad, words in (
            (lambda: client.run(PROBE, expect={"erno": "ECONNREFUSED"}), "did you mean errno"),
            (lambda: client.run(["probe", "connect"], timeout="5"), "has no unit"),
            (lambda: lab.fault("x", at="sever", drop={}).__enter__(), "did you mean server"),
            (lambda: lab.fault("x", at="server", dorp={}).__enter__(), "did you mean drop"),
            (lambda: lab.host("clinet"), "did you mean client"),
            (lambda: client.run(["prob", "connect"]), "did you mean probe"),
            (lambda: client.run(PROBE, expect={"outcome": {"x": object()}}), "no place for object"),
        ):
            with pytest.raises(api.UsageError, match=words):
                bad()
        client.run(PROBE)
    assert len(events(lab.path, "step-start")) == 1
    assert len(api.load(lab.path / "scenario.yaml").scenario.steps) == 1


def test_text_that_yaml_would_read_otherwise_reaches_programs_as_python_has_it(make: MakeLab) -> None:
    """Numbers with zeros, words that look like booleans, `${`, quotes and snakes arrive as they were written."""
    odd = ["cat", "010", "true", "${port}", 'a "quoted" word', "- x", "#", "🐍", "", "null", "a: b", 7]
    with make() as lab:
        outcome = lab.host("client").run(odd, env={"A": "0x10", "B": "no", "C": 1})
    assert outcome.argv == tuple(map(str, odd))
    step = api.load(lab.path / "scenario.yaml").scenario.steps[0]
    assert step.run == outcome.argv  # type: ignore[union-attr]
    assert step.env == {"A": "0x10", "B": "no", "C": "1"}  # type: ignore[union-attr]


def test_a_program_that_reports_no_outcome_has_no_errno() -> None:
    """Asking what a program did not report raises, so that silence is never taken for success."""
    outcome = api.Outcome(1, "client", ("curl", "x"), 28, 2.5, "", "", None)
    for ask in ("errno", "timed_out", "sent", "received"):
        with pytest.raises(api.UsageError, match="curl reports no outcome"):
            getattr(outcome, ask)
    assert outcome.elapsed == 2.5
    assert outcome.as_expected() == {"exit": 28}


def test_a_lab_in_which_nothing_ran_shows_nothing(make: MakeLab) -> None:
    """An empty block is an error, not a pass; it can be judged again."""
    lab = make()
    with pytest.raises(api.LabError, match="nothing ran in this lab"), lab:
        pass
    assert api.judge(lab.path).verdict == "error"


def test_a_lab_that_does_not_come_up_is_recorded_and_raises(make: MakeLab) -> None:
    """What keeps a lab from coming up is raised from `with`, and in the verdict of its run directory."""

    def missing() -> None:
        raise api.MissingError("no such image here")

    lab = make(fuse=Fuse("engine.up", missing))
    with pytest.raises(api.MissingError, match="no such image here"):
        lab.__enter__()
    run = api.judge(lab.path)
    assert (run.verdict, run.reason) == ("skip", "no such image here")


def test_programs_of_one_name_get_names_of_their_own(make: MakeLab) -> None:
    """Two programs that are started with the same word can be stopped apart; after its end a lab takes no step."""
    with make() as lab:
        first, second = (lab.host("server").start(["serve"]) for _ in range(2))
        assert (first.label, second.label) == ("serve", "serve-2")
        second.stop()
        first.stop("TERM")
    assert [e["handle"] for e in events(lab.path, "program-end")] == ["serve-2", "serve"]
    with pytest.raises(api.UsageError, match="not up"):
        first.stop()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hosts": ["sever"]}, "did you mean server"),
        ({"timeout": "5"}, "has no unit"),
        ({"name": "Not A Name"}, "scenario"),
        ({"capture": {"sanplen": "64B"}}, "did you mean snaplen"),
    ],
)
def test_a_lab_with_settings_that_cannot_be_is_refused_at_once(
    make: MakeLab, settings: Any, words: str
) -> None:
    """Wrong settings of a lab are told before anything is touched."""
    with pytest.raises(api.UsageError, match=words):
        make(**settings)


def test_a_compose_file_of_no_possible_name_is_refused_as_any_that_is_not_there(tmp_path: Path) -> None:
    """Not with an error of pathlib's."""
    (tmp_path / "loop.yml").symlink_to("loop.yml")
    for name in ("a\0b", tmp_path / "loop.yml", tmp_path / "none.yml"):
        with pytest.raises(api.ScenarioError, match="compose file"):
            api.lab(name)


def test_a_filter_that_comes_with_a_later_step_is_tried_on_the_whole_capture(make: MakeLab) -> None:
    """The captures began before anybody knew the filter; at their end it is asked, and the expectation judged by it."""
    wanted = {"at": "server", "filter": "tcp.dstport == 80", "count": 0}
    with make() as lab:
        lab.host("client").run(PROBE)
        lab.host("client").run(PROBE, expect={"packets": [wanted]})
    ends = {e["host"]: e for e in events(lab.path, "capture-end")}
    assert {host: end["filters"] for host, end in ends.items()} == {"server": ["tcp.dstport == 80"], "client": []}
    assert any("tcp.dstport == 80" in word for word in ends["server"]["argv"]), "the tshark that read it was not asked"
    assert lab.finish().steps[1]["findings"][0]["verdict"] == "pass"
