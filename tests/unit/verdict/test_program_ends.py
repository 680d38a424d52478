"""How programs end, whatever is expected of them: not run at all, called wrongly, failed with nobody looking, cut short."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up import evidence

from labctl.evidence.record import Evidence, ProgramRecord, StepRecord
from labctl.scenario.loader import from_source
from labctl.scenario.model import Expectation, Scenario
from labctl.scenario.yamltext import Source
from labctl.verdict.checks import check
from labctl.verdict.judge import RunVerdict, judge

HEAD = "scenario: x\nsteps:\n"
LACKS = "  - {run: [%s, connect, server, 80], on: client, expect: {stdout: {lacks: ok}%s}}\n"
USAGE = "usage: probe [-h] VERB ...\nprobe: error: argument VERB: invalid choice: 'konnect'\n"


def scenario(steps: str) -> Scenario:
    return from_source(Source(str(Path("x.yaml")), HEAD + steps)).scenario


def judged(steps: str, run: Evidence) -> RunVerdict:
    return judge(scenario(steps), {n: f"step {n}" for n in (1, 2)}, run)


def of_one_run(word: str, more: str = "", **program: Any) -> RunVerdict:
    run = evidence(outcome={})
    run.programs["1"] = replace(run.programs["1"], outcome=None, stdout="", **program)
    return judged(LACKS % (word, more), run)


@pytest.mark.parametrize(
    ("word", "program", "reason"),
    [
        ("nosuch", {"exit": 127, "refused": "sh: 1: exec: nosuch: not found"},
         "nosuch could not be run on client: sh: 1: exec: nosuch: not found"),
        ("probe", {"exit": 2, "stderr": USAGE},
         "probe was called wrongly: probe: error: argument VERB: invalid choice: 'konnect'"),
        ("probe", {"exit": 1, "stderr": "Traceback\nKeyError: 3\n"},
         "probe broke off with exit status 1 and no outcome: KeyError: 3"),
    ],
)  # fmt: skip
def test_a_program_that_did_not_do_what_it_is_there_for_is_an_error(word: str, program: dict[str, Any], reason: str) -> None:
    """An expectation that such a program happens to meet does not count, unless it is that very exit status."""
    verdict = of_one_run(word, **program)
    assert (verdict.verdict, verdict.steps[0].reason) == ("error", reason)
    assert of_one_run(word, f", exit: {program['exit']}", **program).verdict == "pass"


@pytest.mark.parametrize("status", [1, 137, 255])
def test_the_status_of_who_could_not_run_a_program_is_not_its_own(status: int) -> None:
    """What the engine ends with when the kernel takes no such arguments looks like a status that a command may well have."""
    verdict = of_one_run("ls", f", exit: {status}", exit=status, refused="exec /usr/bin/sh: argument list too long")
    reason = "ls could not be run on client: exec /usr/bin/sh: argument list too long"
    assert (verdict.verdict, verdict.steps[0].reason) == ("error", reason)


@pytest.mark.parametrize(
    ("word", "program"),
    [("sh", {"exit": 127}), ("sh", {"exit": 2, "stderr": USAGE}), ("probe", {"exit": 137}), ("probe", {"exit": 0})],
)
def test_a_program_that_ran_is_judged_by_what_is_expected(word: str, program: dict[str, Any]) -> None:
    """Any program may end with 127 or 2 by itself, and a bundled one that is killed has no outcome."""
    assert of_one_run(word, **program).verdict == "pass"


def two_steps(second: str, live: bool = False, **program: Any) -> RunVerdict:
    """A program is started on the server in step 1 and ends as `program` says; step 2 is `second`."""
    run = evidence(outcome={}, live=live)
    started = ProgramRecord("serve", "server", ("serve",), 1, 1.0, 1.5, 0, None, alone=True)
    run.programs = {"1": replace(started, **program), "2": replace(run.programs["1"], step=2, outcome=None)}
    run.steps = {1: StepRecord(1, 1.0, 1.1, None, "1"), 2: StepRecord(2, 2.0, 9.0, None, "1" if "serve" in second else "2")}
    return judged("  - {start: [serve], as: serve, on: server}\n" + second, run)


OTHER = "  - {run: [true], on: client, expect: {exit: 0}}\n"
FINISH = "  - {finish: serve, expect: {exit: 3}}\n"
STOP = "  - {stop: serve}\n" + OTHER


@pytest.mark.parametrize(
    ("second", "program", "verdict", "reason"),
    [
        (OTHER, {"exit": 3}, "fail", "it ended by itself, with exit status 3 after 0.5 s, and no step expects that"),
        (OTHER, {"exit": 139}, "fail", "it ended by itself, by SIGSEGV after 0.5 s, and no step expects that"),
        (OTHER, {"exit": 0}, "pass", "it ended by itself, with exit status 0 after 0.5 s"),
        (OTHER, {"exit": 143, "alone": False}, "pass", "started"),
        (FINISH, {"exit": 3}, "pass", "started"),
        (STOP, {"exit": 3}, "pass", "started"),
        (FINISH, {"exit": 127, "refused": "not found"}, "error", "serve could not be run on server: not found"),
    ],
)
def test_a_started_program_that_fails_by_itself_is_told(
    second: str, program: dict[str, Any], verdict: str, reason: str
) -> None:
    """Its start step fails where no later step waits for it; what ends well, or is ended by somebody, passes."""
    first = two_steps(second, **program).steps[0]
    assert (first.verdict, first.reason) == (verdict, reason)


def test_a_failed_look_up_of_a_started_program_is_told_with_its_errno() -> None:
    """What a bundled program saw stands behind how it ended."""
    outcome = {"op": "getaddrinfo", "errno": "EAI_NONAME", "ms": 0.3}
    reason = two_steps(OTHER, exit=1, outcome=outcome).steps[0].reason
    assert reason.endswith("and no step expects that; getaddrinfo: EAI_NONAME after 0.3 ms")


def test_a_program_that_had_failed_before_it_was_to_be_stopped_fails_the_stop() -> None:
    """Nobody looks at how a stopped program ended; one that had crashed before was not there when it was needed."""
    stop = two_steps(STOP, exit=3).steps[1]
    said = "it ended by itself, with exit status 3 after 0.5 s, before it was to be stopped"
    assert (stop.verdict, stop.reason) == ("fail", said)
    assert two_steps(STOP, exit=143, alone=False).steps[1].reason == "stopped"


def test_a_python_program_looks_itself_at_what_it_stops() -> None:
    """Where a Python program tells the steps, `stop()` hands it the outcome; what it never asks of fails as in a scenario."""
    first, second = two_steps(STOP, exit=3, live=True).steps
    assert (second.verdict, second.reason) == ("pass", "it ended by itself, with exit status 3 after 0.5 s")
    assert two_steps(OTHER, exit=3, live=True).steps[0].verdict == "fail"
    assert first.verdict == "pass"


@pytest.mark.parametrize(
    ("expect", "verdict"), [({"contains": "out"}, "error"), ({"lacks": "x"}, "error"), ({"lacks": "out"}, "fail")]
)
def test_output_that_was_not_all_kept_cannot_pass(expect: dict[str, str], verdict: str) -> None:
    """What stood in the part that is missing nobody knows; only what is there and must not be is known."""
    run = evidence()
    program = replace(run.programs["1"], left_out={"stdout": 1000})
    stdout, stderr = check(Expectation.model_validate({"stdout": expect, "stderr": "err"}), run, 1, program)
    assert (stdout.verdict, stderr.verdict) == (verdict, "pass")
    assert verdict == "fail" or stdout.actual == "1000 bytes in its middle were not kept; its end: 'out'"
