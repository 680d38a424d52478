"""What the end of a program says by itself, whatever was expected: it never ran, was called wrongly, or ended unasked."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from labctl.evidence.record import Evidence, ProgramRecord
from labctl.evidence.shapes import NOT_RUN
from labctl.scenario.model import PROGRAMS, Expectation, FinishStep, RunStep, Scenario, StartStep, StopStep

USAGE = 2  # argparse(3) and getopt(1) alike: wrong arguments


def ended_by(program: ProgramRecord) -> str | None:
    """The signal that ended a program: its exit status is then 128 and the signal's number, as shells and Docker report it."""
    status = (program.exit or 0) - 128
    return next((s.name.removeprefix("SIG") for s in signal.Signals if s == status), None)


def trouble(program: ProgramRecord, scenario: Scenario | None, expect: Expectation | None) -> str | None:
    """Why nothing can be learnt from how a program ended: it did not do what it is there for. None when it did.

    It could not be run at all; or a bundled program, whose every end is an outcome, has none: it was called wrongly, or broke.
    `expect` is what its step expects: where that is this very exit status, it is no trouble. But of what could not be run only
    a shell's status can be asked for: any other is that of who tried, and might be the command's own.
    """
    is_its_own = program.refused is None or program.exit in NOT_RUN
    if expect is not None and expect.exit is not None and expect.exit == program.exit and is_its_own:
        return None
    word = _word(program, scenario)
    if program.refused is not None:
        return f"{word} could not be run on {program.host}: {program.refused}"
    if word not in PROGRAMS or program.outcome is not None or program.exit in (None, 0) or ended_by(program):
        return None
    how = "was called wrongly" if program.exit == USAGE else f"broke off with exit status {program.exit} and no outcome"
    lines = [line.strip() for line in program.stderr.splitlines() if line.strip()]
    return f"{word} {how}" + (f": {lines[-1]}" if lines else "")


def unasked(program: ProgramRecord) -> str | None:
    """How a started program ended by itself; None when it ran until somebody ended it."""
    if not program.alone or program.seconds is None:
        return None
    killed = ended_by(program)
    how = f"by SIG{killed}" if killed else f"with exit status {program.exit}"
    return f"it ended by itself, {how} after {program.seconds:.1f} s"


def ended_in(outcome: Mapping[str, Any]) -> str:
    """What the last call of a program ended in: an errno, success, or nothing, and then who ended it."""
    if unreturned(outcome):
        return f"no result, as {outcome.get('stopped', 'a signal')} ended it before it returned"
    if outcome["errno"] is None and outcome.get("timed_out"):
        return "no answer within the program's own limit"
    return str(outcome["errno"] or "success")


def last_call(outcome: Mapping[str, Any]) -> str:
    """The last call of a program, what it ended in and how long it took."""
    ms = float(outcome.get("ms", 0.0))
    if unreturned(outcome):
        return f"{outcome['op']} had not returned after {ms:.1f} ms when {outcome.get('stopped', 'a signal')} ended it"
    return f"{outcome['op']}: {ended_in(outcome)} after {ms:.1f} ms"


def unreturned(outcome: Mapping[str, Any]) -> bool:
    """Whether a signal ended the program inside its last call, which so has no result: neither success nor an error."""
    return outcome.get("returned") is False


def takers(index: int, evidence: Evidence, scenario: Scenario) -> list[FinishStep | StopStep]:
    """The later steps that wait for the program of step `index`, or end it."""
    program = evidence.steps[index].program
    later = [scenario.steps[r.index - 1] for r in evidence.steps.values() if r.index > index and r.program == program]
    return [step for step in later if isinstance(step, FinishStep | StopStep)]


def _word(program: ProgramRecord, scenario: Scenario | None) -> str:
    """What the scenario calls a program: the first word of its command."""
    step = scenario.steps[program.step - 1] if scenario and 0 < program.step <= len(scenario.steps) else None
    words = step.start if isinstance(step, StartStep) else step.run if isinstance(step, RunStep) else program.argv
    return words[0]
