"""Whole runs judged: what makes them an error whatever the programs saw, and recorded ones, judged again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up import CLIENT, SERVER, evidence, packet

from labctl.errors import EvidenceError
from labctl.evidence.packets import Packet
from labctl.evidence.record import FaultRecord, Span
from labctl.runs import exit_code, judge_run
from labctl.scenario.loader import from_source
from labctl.scenario.model import Scenario
from labctl.scenario.yamltext import Source
from labctl.verdict.judge import judge, result

RUNS = Path(__file__).resolve().parents[2] / "data" / "runs"


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The recorded firewall run, its events passed through an edit that answers with an event or None, judged."""

    def edit(change: Callable[[dict[str, Any]], dict[str, Any] | None], more: str = "") -> dict[str, Any]:
        shutil.copytree(RUNS / "firewall", tmp_path / "run")
        path = tmp_path / "run/events.jsonl"
        lines = [change(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        path.write_text(
            "".join(json.dumps(line) + "\n" for line in lines if line is not None) + more, encoding="utf-8"
        )
        return result(judge_run(tmp_path / "run"))

    return edit


def test_a_recorded_run_is_judged_as_it_was(edited: Callable[..., dict[str, Any]]) -> None:
    """The recorded firewall run passes, with the errnos of its steps and a reason for each."""
    value = edited(lambda e: e)
    assert (value["verdict"], exit_code([value])) == ("pass", 0)
    assert [s["outcome"]["errno"] for s in value["steps"] if s["kind"] == "run"] == [
        None, "ECONNREFUSED", "ECONNREFUSED", "ECONNREFUSED", "EHOSTUNREACH", "ETIMEDOUT", "ETIMEDOUT", None,
    ]  # fmt: skip
    assert all(step["reason"] for step in value["steps"])
    reasons = [s["reason"] for s in value["steps"]]
    assert "nothing listens on port 65433 there" in reasons[2]
    assert "the fault reset on server rejected 1 packet" in reasons[4]
    assert "router answered ICMP port unreachable" in reasons[7]
    assert "router answered ICMP host unreachable" in reasons[10]
    assert "no answer, no reset, no ICMP" in reasons[13]
    assert "the fault wall on server dropped" in reasons[13]
    assert "the fault black-hole on router dropped" in reasons[16]


def test_recorded_queues_add_up(edited: Callable[..., dict[str, Any]]) -> None:  # noqa: ARG001
    """The recorded backpressure run passes: what was sent lies in the two queues, to the byte."""
    value = result(judge_run(RUNS / "backpressure"))
    assert value["verdict"] == "pass", value["reason"]
    (finding,) = [f for s in value["steps"] for f in s["findings"] if f["check"] == "queues"]
    assert "server recv_q" in finding["actual"]
    assert "client send_q" in finding["actual"]


def _with(kind: str, **changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda event: {**event, **changes} if event["event"] == kind else event


def _without(kind: str) -> Callable[[dict[str, Any]], dict[str, Any] | None]:
    return lambda event: None if event["event"] == kind else event


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_with("fault-removed", packets=0), "the fault reset on server touched no packet, so this run proves nothing about it"),
        (_with("fault-removed", packets=None), "nobody read what the fault reset on server touched"),
        (_without("fault-removed"), "nobody read what the fault reset on server touched"),
        (_with("capture-end", complete=False, reason="3 packets dropped"), "is incomplete: 3 packets dropped"),
        (_without("run-end"), "the record ends before the run did"),
        (_without("capture-end"), "no capture of client"),
        (_without("program-end"), "the record does not say how its program ended"),
        (_with("step-end", error="it broke"), "it broke"),
        (_with("step-end", program=None), "the record does not say how its program ended"),
        (lambda e: None if 19 in (e.get("index"), e.get("step")) else e, "only 18 of 19 steps were taken"),
        (lambda e: None if e["event"] == "step-end" and e["index"] == 19 else e, "it was not finished"),
    ],
)  # fmt: skip
def test_a_record_that_proves_nothing_is_an_error(
    edited: Callable[..., dict[str, Any]], change: Any, reason: str
) -> None:
    """An untouched or uncounted fault, an incomplete capture, a missing end: error with the reason, never pass."""
    value = edited(change)
    assert value["verdict"] == "error"
    assert reason in value["reason"]
    assert exit_code([value]) == 4


@pytest.mark.parametrize(
    ("more", "verdict", "reason", "code"),
    [
        ({"event": "error", "message": "the host server ended"}, "error", "the host server ended", 4),
        ({"event": "interrupted"}, "error", "interrupted before it was finished", 130),
        ({"event": "error", "message": "no image", "missing": True}, "skip", "no image", 3),
        ({"event": "error", "message": "cannot go down", "undoing": True}, "error", "cannot go down", 4),
    ],
)
def test_what_happened_to_a_run_decides_over_what_it_saw(
    edited: Callable[..., dict[str, Any]], more: dict[str, Any], verdict: str, reason: str, code: int
) -> None:
    """An error, an interruption or something missing: that is the verdict and the reason, though every step had passed."""
    value = edited(lambda e: e, json.dumps({"t": 14.0, **more}) + "\n")
    assert (value["verdict"], value["reason"], exit_code([value])) == (verdict, reason, code)


def test_a_changed_errno_fails_with_expected_and_actual(edited: Callable[..., dict[str, Any]]) -> None:
    """A step that saw another errno than it should fails, and the run's reason has step, expected and actual."""

    def change(event: dict[str, Any]) -> dict[str, Any]:
        if (
            event["event"] == "program-end"
            and event.get("outcome")
            and event["outcome"]["errno"] == "EHOSTUNREACH"
        ):
            event["outcome"]["errno"] = "ENETUNREACH"
        return event

    value = edited(change)
    assert (value["verdict"], exit_code([value])) == ("fail", 1)
    assert value["reason"].startswith('step 11 (rejected with "host unreachable"')
    assert "errno: expected EHOSTUNREACH, got ENETUNREACH" in value["reason"]
    assert "answered ICMP" not in value["reason"], "that answer does not explain this errno"


@pytest.mark.parametrize(
    ("status", "stderr", "words"),
    [
        (7, "trying\ncurl: (7) Failed to connect\n\n", "; exit status 7 after 3.00 s; it said: curl: (7) Failed to connect"),
        (2, "x" * 300, f"; it said: {'x' * 160}…"),
        (2, " \n", "; exit status 2 after 3.00 s"),
        (0, "a warning\n", "; exit status 0 after 3.00 s"),
    ],
)
def test_a_program_that_failed_has_the_last_word(status: int, stderr: str, words: str) -> None:
    """The reason of a step whose program ended badly and reports nothing ends with the last line of its stderr."""
    found = evidence()
    found.programs = {"1": replace(found.programs["1"], outcome=None, exit=status, stderr=stderr)}
    scenario = Scenario.model_validate(
        {"scenario": "s", "steps": ({"run": "curl", "on": "client", "expect": {"exit": 1}},)}, context={"live": True}
    )
    (step,) = judge(scenario, {1: "it runs"}, found).steps
    assert (step.verdict, step.reason.endswith(words)) == ("fail", True), step.reason


def test_result_json_has_everything_of_the_contract() -> None:
    """Every key that outside checks rely on is in result.json, with its type."""
    value = result(judge_run(RUNS / "firewall"))
    assert value["version"] == 1
    assert {
        "scenario",
        "run",
        "engine",
        "verdict",
        "reason",
        "started",
        "seconds",
        "seed",
        "environment",
    } <= value.keys()
    for step in value["steps"]:
        assert {
            "name",
            "kind",
            "host",
            "verdict",
            "reason",
            "started",
            "seconds",
            "exit",
            "outcome",
            "findings",
        } <= step.keys()
        for finding in step["findings"]:
            assert finding.keys() == {"check", "expected", "actual", "verdict"}
    for fault in value["faults"]:
        keys = {
            "name",
            "kind",
            "host",
            "interface",
            "backend",
            "commands",
            "applied",
            "removed",
            "packets",
            "fired",
        }
        assert keys <= fault.keys()
        assert fault["fired"] is True
    for capture in value["captures"]:
        assert {"host", "file", "packets", "dropped", "complete"} <= capture.keys()
    assert {"kernel", "docker", "compose", "labctl"} <= value["environment"].keys()
    json.dumps(value, allow_nan=False)


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["pass"], 0),
        (["pass", "skip"], 0),
        (["skip"], 3),
        (["pass", "fail"], 1),
        (["fail", "error"], 4),
        (["error", "skip"], 4),
    ],
)
def test_exit_codes_of_several_runs(verdicts: list[str], code: int) -> None:
    """The worst run decides the exit status; a skip beside a pass is none; an interrupted run is 130 whatever else there is."""
    values = [{"verdict": v, "interrupted": False} for v in verdicts]
    assert exit_code(values) == code
    assert exit_code([*values, {"verdict": "error", "interrupted": True}]) == 130


def test_a_run_whose_scenario_is_gone_cannot_be_judged(tmp_path: Path) -> None:
    """Without its own scenario a record cannot be judged, and that is said as such."""
    shutil.copytree(RUNS / "firewall", tmp_path / "run")
    (tmp_path / "run/scenario.yaml").unlink()
    with pytest.raises(EvidenceError, match="the run's own scenario cannot be read"):
        judge_run(tmp_path / "run")


DOWN = FaultRecord("unplugged", "down", "server", "eth0", "iproute2", [], 1, [Span(1.1, 1.1, 8.0, 0)])
ONE = {"server": {"net": "eth0"}, "client": {"net": "eth0"}}


DEAD = FaultRecord("cut", "kill", "server", None, "engine", [], 1, [Span(1.1, 1.1, 8.0, 0)])
ASKED = {"protocol": "ARP", "destination": "", "info": f"Who has {SERVER}? Tell {CLIENT}"}
SOLICITED = {"protocol": "ICMPv6", "destination": "", "info": f"Neighbor Solicitation for {SERVER} from 02:42:ac:11:00:02"}


@pytest.mark.parametrize(
    ("fault", "devices", "packets", "expected"),
    [
        (DOWN, ONE, [packet(1, 2.0), packet(2, 3.0, raw_seq=8)], 2),
        (DOWN, ONE, [packet(1, 1.0), packet(2, 9.0)], 0),  # before and after
        (DOWN, ONE, [packet(1, 2.0, back=True)], 0),  # from it, not to it
        (DOWN, ONE, [packet(1, 2.0), packet(2, 2.1)], 1),  # one packet, seen on two interfaces of a router
        (DOWN, ONE, [packet(1, 2.0, **ASKED), packet(2, 3.0, **SOLICITED)], 2),
        (DOWN, {"server": {"net": "eth0", "other": "eth1"}}, [packet(1, 2.0)], 0),  # it may have come by the other interface
        (DOWN, {}, [packet(1, 2.0)], 0),
        (DEAD, {"server": {"net": "eth0", "other": "eth1"}}, [packet(1, 2.0), packet(2, 3.0, **ASKED)], 2),
        (DEAD, ONE, [packet(1, 1.0, **ASKED), packet(2, 9.0, **ASKED)], 0),
        (DEAD, ONE, [packet(1, 2.0, protocol="ARP", destination="", info=f"Who has {CLIENT}? Tell {SERVER}")], 0),
        (replace(DEAD, backend="signal"), ONE, [packet(1, 2.0)], 0),  # a program of it, whose kernel lives on
        (replace(DEAD, kind="drop"), ONE, [packet(1, 2.0)], 0),
    ],
)
def test_what_others_sent_to_a_silent_host_proves_that_it_was_one(
    fault: FaultRecord, devices: dict[str, dict[str, str]], packets: list[Packet], expected: int
) -> None:
    """A host that wants to send nothing counts nothing; what others sent to it meanwhile is in their captures."""
    assert evidence({"client": packets}, devices=devices).proof(fault) == expected


def test_a_request_that_all_of_a_network_hear_is_counted_once() -> None:
    run = evidence({"client": [packet(1, 2.0, **ASKED), packet(2, 3.0, **ASKED)]}, devices=ONE)
    run.captures["router"] = replace(run.captures["client"], host="router")
    run.packets["router"] = [packet(1, 2.0, **ASKED)]  # type: ignore[index]
    assert run.proof(DEAD) == 2


@pytest.mark.parametrize("fault", [DOWN, DEAD])
def test_what_a_host_counted_itself_needs_no_captures(fault: FaultRecord) -> None:
    """The fault's own count holds whenever there is one."""
    run = evidence({"client": [packet(1, 2.0)]}, devices=ONE)
    assert run.proof(replace(fault, spans=[Span(1.1, 1.1, 8.0, 3)])) == 3
    assert run.proof(replace(fault, spans=[Span(1.1, 1.1)])) is None


def test_what_was_captured_is_told_without_the_frames_that_bracket_it() -> None:
    """The sentence counts traffic; `captures` of the result counts what is in the files. Without traffic it says 0."""
    scenario = from_source(
        Source("x.yaml", "scenario: x\nsteps:\n  - {run: [probe, bind, server, 80], on: client, expect: {errno: null}}\n")
    ).scenario
    for packets, said in (((packet(1, 2.0), packet(2, 2.1)), "2 packets"), ((packet(1, 2.0),), "1 packet"), ((), "0 packets")):
        run = judge(scenario, {1: "x"}, evidence({"client": packets}))
        assert run.reason == f"1 expectation held; {said} captured on 2 hosts"
        assert [c["packets"] for c in result(run)["captures"]] == [3, 3]
