"""Scenario × Evidence → result: what result.json says. Pure; a live run and `labctl judge` call the same function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from labctl.evidence.record import CaptureRecord, Evidence, FaultRecord, ProgramRecord
from labctl.scenario.model import AnyStep, Expectation, FaultStep, HealStep, Scenario, StartStep, StopStep
from labctl.verdict.checks import check
from labctl.verdict.explain import explain
from labctl.verdict.explain.case import count
from labctl.verdict.finding import Finding, Verdict, worst
from labctl.verdict.programs import ended_by, last_call, takers, trouble, unasked

VERSION = 1
OUTCOME_KEYS = ("op", "errno", "ms", "sent", "received", "byteorder", "machine")


@dataclass(frozen=True)
class StepVerdict:
    """One step as the result tells it."""

    index: int
    kind: str
    name: str
    host: str | None
    verdict: Verdict
    reason: str
    findings: tuple[Finding, ...]
    started: float
    seconds: float
    program: ProgramRecord | None


@dataclass(frozen=True)
class RunVerdict:
    """A whole run as the result tells it."""

    verdict: Verdict
    reason: str
    steps: tuple[StepVerdict, ...]
    evidence: Evidence


def judge(scenario: Scenario, titles: dict[int, str], evidence: Evidence) -> RunVerdict:
    """Hold every expectation against the evidence.

    Arguments: the scenario, the title of each step by index, and the evidence. A run that was interrupted, that broke,
    whose fault touched no packet, or whose capture is incomplete is an error, whatever the programs saw.
    """
    steps = tuple(
        _judge_step(index, step, titles[index], evidence, scenario)
        for index, step in enumerate(scenario.steps, 1)
        if index in evidence.steps
    )
    problems = _problems(scenario, evidence)
    if evidence.missing:
        return RunVerdict("skip", evidence.missing, steps, evidence)
    verdicts: list[Verdict] = [s.verdict for s in steps]
    if evidence.asserted:
        verdicts.append("fail")
    if problems:
        verdicts.append("error")
    verdict = worst(verdicts)
    bad = [s for s in steps if s.verdict == verdict]
    if problems:
        reason = problems[0]
    elif verdict == "pass":
        reason = _passed(steps, evidence)
    elif not bad:
        reason = f"the Python block was left by {evidence.left_by}"
    else:
        reason = f"step {bad[0].index} ({bad[0].name}): {bad[0].reason}"
    if verdict != "pass":
        reason += _hint(evidence, reason)
    return RunVerdict(verdict, reason, steps, evidence)


def _hint(evidence: Evidence, reason: str) -> str:
    """What others had put on the lab before the run, unless the reason speaks of it: it may be why the run went another way."""
    there = [str(fault) for fault in evidence.before if f"fault {fault.name}" not in reason]
    return f"; {', and '.join(there)}, {'was' if len(there) == 1 else 'were'} there when the run began" if there else ""


def _problems(scenario: Scenario, evidence: Evidence) -> list[str]:
    """What makes a run an error as a whole, most telling first."""
    found = []
    if evidence.interrupted:
        found.append("interrupted before it was finished")
    found += [error for error in (evidence.error, evidence.undoing_error) if error]
    if not found and evidence.seconds is None:
        found.append("the record ends before the run did; was labctl killed?")
    if evidence.left_by and not evidence.asserted:
        found.append(f"the Python block was left by {evidence.left_by}")
    elif evidence.live and not evidence.programs and not evidence.left_by:
        found.append("nothing ran in this lab, so it shows nothing")
    for fault in evidence.faults:
        proof = evidence.proof(fault)
        if proof == 0:
            found.append(
                f"the fault {fault.name} on {fault.host} touched no packet, so this run proves nothing about it"
            )
        elif proof is None and not found:
            found.append(f"nobody read what the fault {fault.name} on {fault.host} touched")
    if not found:
        found += _never_began(scenario, evidence)
    if not found:
        found += [
            f"the capture of {c.host} is incomplete: {c.reason}"
            for c in evidence.captures.values()
            if not c.complete
        ]
    if not found and not evidence.live and len(evidence.steps) < len(scenario.steps):
        found.append(f"only {len(evidence.steps)} of {len(scenario.steps)} steps were taken")
    return found


def _never_began(scenario: Scenario, evidence: Evidence) -> list[str]:
    """Faults whose step was taken and whose time did not come while the run went on."""
    began = {(fault.step, fault.host) for fault in evidence.faults}
    return [
        f"the fault {step.fault} on {host} never began, so this run proves nothing about it"
        for index, step in enumerate(scenario.steps, 1)
        if isinstance(step, FaultStep) and index in evidence.steps and evidence.steps[index].error is None
        for host in step.at
        if (index, host) not in began
    ]


def _passed(steps: tuple[StepVerdict, ...], evidence: Evidence) -> str:
    findings = sum(len(s.findings) for s in steps)
    expected = f"{findings} expectation{'s' * (findings != 1)} held"
    if evidence.live:
        expected = f"the Python block ended by itself, {expected}"
    return (
        f"{expected}; {count(evidence.traffic, 'packet')} captured on {count(len(evidence.captures), 'host')}"
        if evidence.captures
        else expected
    )


def _judge_step(
    index: int, step: AnyStep, title: str, evidence: Evidence, scenario: Scenario
) -> StepVerdict:
    record = evidence.steps[index]
    program = evidence.programs.get(record.program or "")
    expect: Expectation | None = getattr(step, "expect", None) if record.expects else None
    findings: list[Finding] = []
    if record.error is None and record.ended is None:
        verdict: Verdict = "error"
        reason = "it was not finished"
    elif record.error is not None:
        verdict, reason = "error", record.error
    elif expect is not None and (program is None or program.ended is None):
        verdict, reason = "error", "the record does not say how its program ended"
    elif expect is not None and program is not None:
        findings = check(expect, evidence, index, program, scenario)
        verdict = worst([f.verdict for f in findings])
        reason = _reason(findings, evidence, index, program, scenario)
    elif program is not None and program.ended is not None and not record.expects:
        verdict, reason = "pass", _reason([], evidence, index, program, scenario)
    elif program is not None and isinstance(step, StartStep | StopStep):
        verdict, reason = _left_alone(index, step, program, evidence, scenario)
    else:
        verdict, reason = "pass", _done(step, evidence)
    if record.error is None and program is not None:
        asked = expect or next((t.expect for t in takers(index, evidence, scenario) if t.expect), None)
        if (why := trouble(program, scenario, asked)) is not None:
            verdict, reason = "error", why
    ended = record.ended if record.ended is not None else record.started
    host = program.host if program else getattr(step, "on", None)
    return StepVerdict(
        index,
        step.kind,
        title,
        host,
        verdict,
        reason,
        tuple(findings),
        record.started,
        round(ended - record.started, 6),
        program,
    )


def _left_alone(
    index: int, step: StartStep | StopStep, program: ProgramRecord, evidence: Evidence, scenario: Scenario
) -> tuple[Verdict, str]:
    """A program of which no step expects anything: that it failed by itself is no success, for nobody has looked."""
    kind = step.kind
    if kind == "start" and takers(index, evidence, scenario):
        return "pass", "started"
    if (said := unasked(program)) is None:
        return "pass", "started" if kind == "start" else "stopped"
    if program.exit in (0, None) or (kind == "stop" and evidence.live):  # a Python program has its outcome to look at
        return "pass", said
    late = "and no step expects that" if kind == "start" else "before it was to be stopped"
    why = f"; {_reason([], evidence, index, program, scenario)}" if program.outcome is not None else ""
    return "fail", f"{said}, {late}{why}"


def _reason(
    findings: list[Finding], evidence: Evidence, index: int, program: ProgramRecord, scenario: Scenario
) -> str:
    bad = [str(f) for f in findings if f.verdict != "pass"]
    why = explain(evidence, index, program, scenario) or _plain(program)
    return "; ".join([*bad[:3], *([f"{len(bad) - 3} more"] if len(bad) > 3 else []), why])


def _plain(program: ProgramRecord) -> str:
    """What the program saw, when nothing more is known."""
    outcome = program.outcome
    if outcome is None:
        killed = ended_by(program)
        how = f"ended by SIG{killed}" if killed else f"exit status {program.exit}"
        return f"{how} after {program.seconds:.2f} s{_last_words(program)}"
    return last_call(outcome)


def _last_words(program: ProgramRecord) -> str:
    """What a program that failed said last, which mostly says why."""
    lines = program.stderr.split("\n") if program.exit else []
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"; it said: {said[:160]}{'…' * (len(said) > 160)}" if said else ""


def _done(step: AnyStep, evidence: Evidence) -> str:
    if isinstance(step, FaultStep | HealStep):
        names = step.heal if isinstance(step, HealStep) else (step.fault,)
        about = [f for f in evidence.faults if f.name in names or names == ("all",)]
        return "; ".join(_proof(fault, evidence.proof(fault)) for fault in about) or "done"
    return "waited" if step.kind == "wait" else "done"


def _proof(fault: FaultRecord, packets: int | None) -> str:
    return f"{fault.name} on {fault.host} touched {packets} packet{'s' * (packets != 1)}{what_it_did(fault.effect, ': ')}"


_EFFECTS = {
    "delayed": "delayed {:,}", "lost": "lost {:,}", "duplicated": "duplicated {:,}", "corrupted": "corrupted {:,}",
    "reordered": "reordered {:,}", "over_limit": "dropped {:,} over the limit", "unsent": "could not send on {:,}",
}  # fmt: skip


def what_it_did(effect: Mapping[str, int] | None, before: str = "") -> str:
    """What a fault did to its packets, after `before`: `of 80 it delayed 77, lost 3`. Nothing where nobody counted that."""
    told = [words.format(effect[name]) for name, words in _EFFECTS.items() if name in effect] if effect else []
    return f"{before}of {effect['seen']:,} it {', '.join(told)}" if effect and told and "seen" in effect else ""


def result(run: RunVerdict) -> dict[str, Any]:
    """The verdict as result.json holds it, version 1 (DESIGN: contract)."""
    evidence = run.evidence
    return {
        "version": VERSION,
        "scenario": evidence.scenario,
        "case": evidence.case,
        "run": evidence.run,
        "engine": evidence.engine,
        "verdict": run.verdict,
        "reason": run.reason,
        "started": evidence.started,
        "seconds": evidence.seconds,
        "seed": evidence.seed,
        "interrupted": evidence.interrupted,
        "steps": [_step(s) for s in run.steps],
        "faults": [_fault(f, evidence.proof(f)) for f in evidence.faults],
        "captures": [_capture(c) for c in evidence.captures.values()],
        "environment": {
            **evidence.environment,
            **({"faults_before": "; ".join(map(str, evidence.before))} if evidence.before else {}),
        },
    }


def _step(step: StepVerdict) -> dict[str, Any]:
    program = step.program
    return {
        "index": step.index,
        "name": step.name,
        "kind": step.kind,
        "host": step.host,
        "verdict": step.verdict,
        "reason": step.reason,
        "started": step.started,
        "seconds": step.seconds,
        "argv": list(program.argv) if program else None,
        "exit": program.exit if program else None,
        "outcome": dict(program.outcome) if program and program.outcome is not None else None,
        "findings": [f.as_json() for f in step.findings],
    }


def _fault(fault: FaultRecord, packets: int | None) -> dict[str, Any]:
    return {
        "name": fault.name,
        "kind": fault.kind,
        "host": fault.host,
        "interface": fault.interface,
        "backend": fault.backend,
        "commands": fault.commands,
        "asked": fault.spans[0].asked,
        "applied": fault.applied,
        "removed": fault.removed,
        "spans": [asdict(span) for span in fault.spans],
        "packets": packets,
        "effect": fault.effect,
        "fired": bool(packets),
    }


def _capture(capture: CaptureRecord) -> dict[str, Any]:
    return {
        "host": capture.host,
        "file": capture.file,
        "packets": capture.packets,
        "dropped": capture.dropped,
        "complete": capture.complete,
        "reason": capture.reason,
    }
