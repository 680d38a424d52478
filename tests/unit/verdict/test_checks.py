# ruff: noqa: E501  what is found stands here as it is shown, on one line
"""Every kind of expectation, held against made-up evidence: pass, fail, and error where nobody can tell."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from made_up import PROGRAM, evidence, packet, socket

from labctl.evidence.record import Evidence, Sample
from labctl.matching import matches
from labctl.scenario.model import Expectation
from labctl.verdict.checks import check
from labctl.verdict.finding import Finding, worst


def found(expect: dict[str, Any], run: Evidence | None = None, **program: Any) -> list[Finding]:
    run = run or evidence()
    return check(Expectation.model_validate(expect), run, 1, replace(run.programs["1"], **program))


@pytest.mark.parametrize(
    ("expect", "outcome", "expected", "actual", "verdict"),
    [
        ({"errno": None}, {}, "success", "success", "pass"),
        ({"errno": None}, {"errno": "EPIPE"}, "success", "EPIPE", "fail"),
        ({"errno": "EPIPE"}, {"errno": "EPIPE"}, "EPIPE", "EPIPE", "pass"),
        ({"errno": "EPIPE"}, {}, "EPIPE", "success", "fail"),
        ({"errno": ["EPIPE", None]}, {}, "EPIPE or success", "success", "pass"),
        ({"errno": ["EPIPE", "EINTR"]}, {"errno": "EIO"}, "EPIPE or EINTR", "EIO", "fail"),
        ({"errno": None}, {"timed_out": True}, "success", "no answer within the program's own limit", "fail"),
        ({"errno": None}, {"returned": False, "stopped": "SIGTERM"}, "success", "no result, as SIGTERM ended it before it returned", "fail"),
        ({"errno": None}, {"returned": True, "stopped": "SIGTERM"}, "success", "success", "pass"),
        ({"errno": ["EPIPE", None]}, {"returned": False}, "EPIPE or success", "no result, as a signal ended it before it returned", "fail"),
        ({"timed_out": True}, {"timed_out": True}, "true", "true", "pass"),
        ({"timed_out": True}, {}, "true", "false", "fail"),
        ({"timed_out": False}, {"timed_out": True}, "false", "true", "fail"),
        ({"elapsed": {"min": "1s", "max": "2s"}}, {}, "1s to 2s", "1.5s", "pass"),
        ({"elapsed": {"min": "1500ms"}}, {}, "at least 1.5s", "1.5s", "pass"),
        ({"elapsed": {"max": "1s"}}, {}, "at most 1s", "1.5s", "fail"),
        ({"sent": 12}, {}, "12B", "12B", "pass"),
        ({"sent": "64KiB"}, {}, "64KiB (65536B)", "12B", "fail"),
        ({"received": {"min": 34, "max": 34}}, {}, "34B to 34B", "34B", "pass"),
        ({"received": {"max": 33}}, {}, "at most 33B", "34B", "fail"),
        ({"outcome": {"machine": "ppc"}}, {}, "ppc", "ppc", "pass"),
        ({"outcome": {"machine": "x86_64"}}, {}, "x86_64", "ppc", "fail"),
        ({"outcome": {"eof": True}}, {"eof": True}, "true", "true", "pass"),
        ({"outcome": {"eof": True}}, {}, "true", "nothing", "fail"),
    ],
)
def test_outcomes(
    expect: dict[str, Any], outcome: dict[str, Any], expected: str, actual: str, verdict: str
) -> None:
    """What a program reports is held against what was asked, and both are in the finding."""
    (finding,) = found(expect, evidence(outcome=outcome))
    assert (finding.expected, finding.actual, finding.verdict) == (expected, actual, verdict)


def test_an_expression_that_gives_no_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows then whether it is there; it is named with the limit and with what to do."""
    monkeypatch.setattr("labctl.verdict.checks.matches", partial(matches, limit_s=0.2))
    (finding,) = found({"stdout": {"matches": "^(a+)+$"}}, stdout="a" * 46 + "!")
    assert (finding.check, finding.expected, finding.verdict) == ("stdout.matches", "/^(a+)+$/", "error")
    why = "no answer within 10s of looking for it in 47 characters"
    assert finding.actual == f"{why}; write it so that no repeat stands within another, nor beside one that takes the same"


def test_success_and_a_limit_of_its_own_can_be_asked_together() -> None:
    """`errno: null, timed_out: true` holds for a program that gave up by itself."""
    assert [
        f.verdict for f in found({"errno": None, "timed_out": True}, evidence(outcome={"timed_out": True}))
    ] == ["pass"] * 2


@pytest.mark.parametrize("key", ["errno", "timed_out", "sent", "received", "outcome"])
def test_a_program_without_an_outcome_cannot_be_asked_for_one(key: str) -> None:
    """Where a program reports no outcome, what needs one is an error, neither pass nor fail."""
    value = {"errno": None, "timed_out": False, "sent": 1, "received": 1, "outcome": {"x": 1}}[key]
    (finding,) = found({key: value, "exit": 0}, outcome=None)
    assert (finding.check, finding.verdict, finding.actual) == ("outcome", "error", "none; exit status 0")


@pytest.mark.parametrize(
    ("expect", "verdict"),
    [
        ({"exit": 0}, "pass"), ({"exit": 1}, "fail"), ({"within": "3s"}, "pass"), ({"within": "2999ms"}, "fail"),
        ({"within": "50us"}, "fail"), ({"elapsed": {"max": "3s"}}, "pass"), ({"elapsed": {"min": "4s"}}, "fail"),
        ({"stdout": "ut"}, "pass"), ({"stdout": "in"}, "fail"), ({"stderr": {"exact": "err"}}, "pass"),
        ({"stderr": {"exact": "er"}}, "fail"), ({"stdout": {"matches": "^o.t$"}}, "pass"),
        ({"stdout": {"matches": "^t"}}, "fail"),
        ({"stdout": {"lacks": "x"}}, "pass"), ({"stdout": {"lacks": "out"}}, "fail"), ({"stdout": {"contains": "out"}}, "pass"),
    ],
)  # fmt: skip
def test_any_program_can_be_asked_for_exit_time_and_text(expect: dict[str, Any], verdict: str) -> None:
    """Exit status, times and output of a program that reports no outcome are held against what was asked."""
    (finding,) = found(expect, outcome=None)
    assert finding.verdict == verdict


def test_output_in_a_finding_is_short_and_harmless() -> None:
    """A long output keeps its end, and control characters are written out."""
    (finding,) = found({"stdout": "x"}, stdout="\x1b[31m" + "a" * 1000 + "END\n")
    assert len(finding.actual) < 220
    assert finding.actual.endswith("END'")
    (finding,) = found({"stdout": "x"}, stdout="\x1b[31m")
    assert "\x1b" not in finding.actual


PACKETS = {
    "client": [
        packet(1, 0.5, selected=frozenset([0])),
        *(packet(n, n, selected=frozenset([0])) for n in (2, 3, 4)),
    ]
}


@pytest.mark.parametrize(
    ("count", "expected", "verdict"),
    [
        (3, "3", "pass"),
        (2, "2", "fail"),
        ({"min": 1}, "at least 1", "pass"),
        ({"max": 2}, "at most 2", "fail"),
        (0, "0", "fail"),
    ],
)
def test_packets_are_counted_within_the_step(count: Any, expected: str, verdict: str) -> None:
    """Packets that the filter selects count from the step's beginning to the next one's; the finding names them."""
    (finding,) = found({"packets": [{"at": "client", "filter": "tcp", "count": count}]}, evidence(PACKETS))
    assert (finding.expected, finding.actual, finding.verdict) == (expected, "3 (#2, #3, #4)", verdict)


@pytest.mark.parametrize(
    ("changed", "actual"),
    [
        ({"complete": False, "reason": "cut"}, "an incomplete capture: cut"),
        ({"refused": {"tcp": ""}}, "Wireshark refuses this filter"),
        ({"refused": {"tcp": '"tcp" is too short.'}}, 'Wireshark refuses this filter: "tcp" is too short.'),
        ({"filters": ()}, "this filter was never tried"),
        (None, "no capture of client"),
    ],
)
def test_packets_that_cannot_be_counted_are_an_error(changed: dict[str, Any] | None, actual: str) -> None:
    """No capture, half a capture, or a filter that was refused or never tried: error, even where 0 was asked for."""
    run = evidence(PACKETS)
    whole = run.captures.pop("client")
    if changed is not None:
        run.captures["client"] = replace(whole, **changed)
    (finding,) = found({"packets": [{"at": "client", "filter": "tcp", "count": 0}]}, run)
    assert (finding.actual, finding.verdict) == (actual, "error")


SAMPLES = {
    "server": [
        Sample(0.5, (socket("LISTEN"),)),
        Sample(2.0, (socket(recv_q=100),)),
        Sample(3.0, (socket("TIME-WAIT"),)),
    ],
    "client": [Sample(2.0, (socket(port=40000, peer=80, send_q=28),))],
}


@pytest.mark.parametrize(
    ("expect", "verdicts"),
    [
        ({"port": 80, "recv_q": 100}, ["pass"]),
        ({"port": 80, "recv_q": {"min": 101}}, ["fail"]),
        ({"port": 80, "state": "TIME-WAIT"}, ["pass"]),
        ({"port": 80, "state": "LISTEN"}, ["pass"]),
        ({"port": 80, "state": "CLOSE-WAIT"}, ["fail"]),
        ({"port": 80, "state": "ESTAB", "recv_q": 100, "send_q": 0}, ["pass", "pass", "pass"]),
        ({"port": 81, "recv_q": 0}, ["fail"]),
        ({"peer": 40000, "recv_q": 100}, ["pass"]),
        ({"peer": 40001, "recv_q": 100}, ["fail"]),
    ],
)
def test_sockets_are_those_of_the_last_sample_that_has_them(
    expect: dict[str, Any], verdicts: list[str]
) -> None:
    """The last sample of the step in which the socket is open counts; the sample before the step held until its first."""
    got = found({"sockets": [{"at": "server", **expect}]}, evidence(samples=SAMPLES))
    assert [f.verdict for f in got] == verdicts


@pytest.mark.parametrize(
    ("seen", "holds"), [(None, True), (1.2, True), (0.8, False)], ids=["until the next", "seen in the step", "not any more"]
)
def test_what_was_not_seen_any_more_when_a_step_began_is_not_of_it(seen: float | None, holds: bool) -> None:
    """A connection of the step before may have ended before this one began, or after: between two looks nobody knows.

    So it is neither held against who says that it is never there, nor against who says that it is.
    """
    before = Sample(0.5, (socket("ESTAB", recv_q=7),), seen)
    run = evidence(samples={"server": [before, Sample(2.0, (socket("TIME-WAIT"),))]})
    (never,) = found({"sockets": [{"at": "server", "port": 80, "never": "ESTAB"}]}, run)
    assert never.verdict == ("fail" if holds else "pass")
    assert [f.verdict for f in found({"sockets": [{"at": "server", "port": 80, "state": "ESTAB"}]}, run)] == ["pass"]
    alone = evidence(samples={"server": [before]})
    (never,) = found({"sockets": [{"at": "server", "port": 80, "never": "ESTAB"}]}, alone)
    assert never.verdict == "fail"


@pytest.mark.parametrize(
    ("changed", "actual", "verdict"),
    [
        ({"sent": 128}, "128B: server recv_q 100B + client send_q 28B", "pass"),
        ({"sent": 129}, "128B: server recv_q 100B + client send_q 28B", "fail"),
    ],
)
def test_queues_add_up_to_what_was_sent(changed: dict[str, Any], actual: str, verdict: str) -> None:
    """The queues that were named are added up and held against what the program sent, to the byte."""
    of = [{"at": "server", "port": 80, "queue": "recv_q"}, {"at": "client", "peer": 80, "queue": "send_q"}]
    run = evidence(samples=SAMPLES, outcome=changed)
    (finding,) = found({"queues": {"of": of}}, run)
    assert (finding.actual, finding.verdict) == (actual, verdict)


def test_queues_with_a_tolerance_and_without_their_socket() -> None:
    """A tolerance is part of what is expected; a socket that was never seen is a failure that names it."""
    of = [{"at": "server", "port": 80, "queue": "recv_q"}]
    (finding,) = found(
        {"queues": {"of": of, "tolerance": 10}}, evidence(samples=SAMPLES, outcome={"sent": 110})
    )
    assert (finding.expected, finding.verdict) == ("sent = 110B ± 10B", "pass")
    of[0]["port"] = 99
    (finding,) = found({"queues": {"of": of}}, evidence(samples=SAMPLES))
    assert (finding.actual, finding.verdict) == ("no open socket at server port 99", "fail")


def test_error_beats_fail_beats_pass_beats_skip() -> None:
    """The worst verdict decides; nothing at all is what the caller says it is."""
    assert worst(["pass", "fail", "error", "skip"]) == "error"
    assert worst(["pass", "fail", "skip"]) == "fail"
    assert worst(["skip", "pass"]) == "pass"
    assert worst([]) == "pass"
    assert worst([], "error") == "error"
    assert str(Finding.of("exit", "0", "1", False)) == "exit: expected 0, got 1"
    assert PROGRAM.seconds == 3.0


@pytest.mark.parametrize(
    ("status", "actual", "verdict"),
    [
        (137, "KILL", "pass"),
        (143, "TERM", "fail"),
        (0, "none; exit status 0", "fail"),
        (None, "none; exit status None", "fail"),
    ],
)
def test_the_signal_that_ended_a_program(status: int | None, actual: str, verdict: str) -> None:
    """An exit status of 128 and more is a signal's; a program that ended by itself had none."""
    (finding,) = found({"signal": "KILL"}, exit=status)
    assert (finding.expected, finding.actual, finding.verdict) == ("KILL", actual, verdict)


@pytest.mark.parametrize(
    ("expect", "outcome", "actual", "verdict"),
    [
        ({"min": "100kbit"}, {"sent": 25_000, "received": 0, "total_ms": 2000.0}, "100kbit (25000B in 2s)", "pass"),
        ({"max": "99kbit"}, {"sent": 25_000, "received": 0, "total_ms": 2000.0}, "100kbit (25000B in 2s)", "fail"),
        ({"min": "1kbit", "max": "2kbit"}, {"sent": 300, "received": 75}, "1kbit (375B in 3s)", "pass"),
        ({"min": "1kbit"}, {"sent": 0, "received": 0}, "0bit (0B in 3s)", "fail"),
    ],
)
def test_throughput_is_both_directions_over_the_whole_time(
    expect: dict[str, str], outcome: dict[str, Any], actual: str, verdict: str
) -> None:
    """Bytes both ways over the program's own time, or over the time it was seen to run where it reports none."""
    (finding,) = found({"throughput": expect}, evidence(outcome=outcome))
    assert (finding.actual, finding.verdict) == (actual, verdict)


@pytest.mark.parametrize(
    ("expect", "actual", "verdict"),
    [
        ({"port": 80, "never": "CLOSE-WAIT"}, "in 0 of 3 samples", "pass"),
        ({"port": 80, "never": "TIME-WAIT"}, "in 1 of 3 samples, first at 3.00s", "fail"),
        ({"port": 81, "never": "TIME-WAIT"}, "no sample and no packet of server in this step has such a socket", "error"),
        ({"peer": 40001, "never": "ESTAB"}, "no sample and no packet of server in this step has such a socket", "error"),
    ],
)
def test_a_state_that_is_never_reached(expect: dict[str, Any], actual: str, verdict: str) -> None:
    """A socket that is in no sample in a state was never seen in it; one that never was has proved nothing by that."""
    (finding,) = found({"sockets": [{"at": "server", **expect}]}, evidence(samples=SAMPLES))
    assert (finding.actual, finding.verdict) == (actual, verdict)


def test_a_socket_that_lived_between_two_samples_has_left_packets() -> None:
    """A connection refused at once is in no sample; its SYN shows that there was one, and that it was never ESTAB."""
    expect = {"sockets": [{"at": "server", "peer": 40001, "never": "ESTAB"}]}
    for at, verdict in ((2.0, "pass"), (0.5, "error")):
        run = evidence({"server": [packet(1, at, sport=40001)]}, samples=SAMPLES)
        assert [f.verdict for f in found(expect, run)] == [verdict]


def test_without_samples_nobody_knows_which_states_there_were() -> None:
    """A state never reached, on a host of which there is no sample: error."""
    (finding,) = found({"sockets": [{"at": "server", "port": 80, "never": "LISTEN"}]}, evidence(samples={}))
    assert finding.verdict == "error"
