"""Every kind of expectation, held against the evidence. Pure: evidence in, findings out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from labctl.evidence.record import Evidence, ProgramRecord, Sample
from labctl.evidence.shapes import number
from labctl.matching import LIMIT_S, SIMPLER, TooSlow, matches
from labctl.scenario.model import (
    DurationRange,
    Expectation,
    QueueSum,
    RateRange,
    Scenario,
    SocketExpectation,
    TextMatch,
)
from labctl.units import format_duration, format_rate
from labctl.verdict.finding import Finding
from labctl.verdict.packetchecks import packet_checks
from labctl.verdict.programs import ended_by, ended_in, unreturned
from labctl.verdict.ranges import describe_range, format_bytes, in_range

# A connection in one of these still has its queues; after that its program has let go of it.
OPEN_STATES = ("ESTAB", "CLOSE-WAIT", "FIN-WAIT-1", "FIN-WAIT-2")


def check(
    expect: Expectation, evidence: Evidence, step: int, program: ProgramRecord, scenario: Scenario | None = None
) -> list[Finding]:
    """All findings of one step's expectation, in the order people write them; `scenario` is the run's own."""
    return [
        *_outcome_checks(expect, program),
        *_output_checks(expect, program),
        *packet_checks(expect, evidence, step, scenario),
        *(f for s in expect.sockets for f in _sockets(s, evidence, step)),
        *([_queues(expect.queues, evidence, step, program)] if expect.queues else []),
    ]


def _outcome_checks(expect: Expectation, program: ProgramRecord) -> Iterator[Finding]:
    if expect.needs_outcome and program.outcome is None:
        yield Finding("outcome", "a program that reports one", f"none; exit status {program.exit}", "error")
        return
    outcome = program.outcome or {}
    if "errno" in expect.model_fields_set:
        wanted = (None,) if expect.errno is None else expect.errno  # `errno: null` asks for success
        actual = outcome["errno"]
        # A call that our own time limit or a signal ended has neither succeeded nor failed, so it is no null here.
        vain = unreturned(outcome) or (outcome.get("timed_out") and not expect.timed_out)
        ok = actual in wanted and not (actual is None and vain)
        yield Finding.of("errno", " or ".join(symbol(e) for e in wanted), ended_in(outcome), ok)
    if expect.timed_out is not None:
        actual = bool(outcome.get("timed_out"))
        yield Finding.of(
            "timed_out", str(expect.timed_out).lower(), str(actual).lower(), actual == expect.timed_out
        )
    if expect.signal is not None:
        yield _signal(expect.signal, program)
    if expect.throughput is not None:
        yield _throughput(expect.throughput, program)
    if expect.exit is not None:
        yield Finding.of("exit", str(expect.exit), str(program.exit), program.exit == expect.exit)
    if expect.elapsed is not None:
        seconds = outcome["ms"] / 1000 if "ms" in outcome else (program.seconds or 0.0)
        yield in_range("elapsed", expect.elapsed, seconds, format_duration)
    if expect.within is not None:
        seconds = program.seconds or 0.0
        yield in_range("within", DurationRange.model_construct(max=expect.within), seconds, format_duration)
    for name in ("sent", "received"):
        wanted = getattr(expect, name)
        if wanted is not None:
            yield in_range(name, wanted, int(outcome.get(name, 0)), format_bytes)
    for name, value in (expect.outcome or {}).items():
        actual = outcome.get(name, "nothing")
        yield Finding.of(f"outcome.{name}", repr_value(value), repr_value(actual), actual == value)


def _signal(wanted: str, program: ProgramRecord) -> Finding:
    ended = ended_by(program)
    said = ended or f"none; exit status {program.exit}"
    return Finding.of("signal", wanted, said, ended == wanted)


def _throughput(wanted: RateRange, program: ProgramRecord) -> Finding:
    """Bits in both directions over the whole time of the program, by its own clock where it reports one."""
    outcome = program.outcome or {}
    seconds = float(outcome["total_ms"]) / 1000 if number(outcome.get("total_ms")) else (program.seconds or 0.0)
    moved = int(outcome.get("sent", 0)) + int(outcome.get("received", 0))
    if seconds <= 0:
        return Finding("throughput", describe_range(wanted, format_rate), "the program took no time", "error")
    found = in_range("throughput", wanted, moved * 8 / seconds, format_rate)
    return replace(found, actual=f"{found.actual} ({moved}B in {format_duration(seconds)})")


def _output_checks(expect: Expectation, program: ProgramRecord) -> Iterator[Finding]:
    for name, text in (("stdout", program.stdout), ("stderr", program.stderr)):
        wanted = getattr(expect, name)
        if wanted is not None:
            match = TextMatch(contains=wanted) if isinstance(wanted, str) else wanted
            missing = program.left_out.get(name, 0)
            yield from (_of_a_part(f, missing) if missing else f for f in _text(name, match, text))


def _of_a_part(finding: Finding, missing: int) -> Finding:
    """A finding about a text of which some was not kept: nobody knows what stood there, unless what is kept says enough."""
    if finding.check.endswith(".lacks") and finding.verdict == "fail":
        return finding
    return replace(finding, actual=f"{missing} bytes in its middle were not kept; its end: {finding.actual}", verdict="error")


def _text(name: str, wanted: TextMatch, text: str) -> Iterator[Finding]:
    actual = shorten(text)
    if wanted.exact is not None:
        yield Finding.of(f"{name}.exact", repr(wanted.exact), actual, text.rstrip() == wanted.exact.rstrip())
    if wanted.contains is not None:
        yield Finding.of(f"{name}.contains", repr(wanted.contains), actual, wanted.contains in text)
    if wanted.matches is not None:
        yield _matches(f"{name}.matches", wanted.matches, text)
    if wanted.lacks is not None:
        yield Finding.of(f"{name}.lacks", f"no {wanted.lacks!r}", actual, wanted.lacks not in text)


def _matches(name: str, pattern: str, text: str) -> Finding:
    try:
        return Finding.of(name, f"/{pattern}/", shorten(text), matches(pattern, text))
    except TooSlow:
        why = f"no answer within {LIMIT_S:g}s of looking for it in {len(text)} characters; {SIMPLER}"
        return Finding(name, f"/{pattern}/", why, "error")


def _sockets(wanted: SocketExpectation, evidence: Evidence, step: int) -> Iterator[Finding]:
    name = f"socket at {wanted.at} {describe_socket(wanted.port, wanted.peer)}"
    if wanted.never is not None:
        yield _never(name, wanted, evidence, step)
        if wanted.state is None and wanted.recv_q is None and wanted.send_q is None:
            return
    states = (wanted.state,) if wanted.state else OPEN_STATES
    found = last_socket(evidence, step, wanted.at, wanted.port, wanted.peer, states)
    if wanted.state is not None or found is None:
        seen = "seen" if found else "never seen in this step"
        yield Finding.of(name, f"in state {wanted.state or 'ESTAB'}", seen, found is not None)
    if found is None:
        return
    for queue in ("recv_q", "send_q"):
        limit = getattr(wanted, queue)
        if limit is not None:
            yield in_range(f"{name} {queue}", limit, found[queue], format_bytes)


def _never(name: str, wanted: SocketExpectation, evidence: Evidence, step: int) -> Finding:
    """A state in which the socket is in no sample; without any sample nobody knows.

    What may have been over when the step began is not held against it, where there is something surer.
    """
    start, end = evidence.window(step)
    all_of_them = evidence.sampled(wanted.at, start, end)
    samples = [sample for sample in all_of_them if sample.is_sure(start)] or all_of_them
    expected = f"never in state {wanted.never}"
    if not samples:
        return Finding(name, expected, f"no sample of {wanted.at} in this step", "error")
    if not _has_been(wanted, samples, evidence, step):
        return Finding(name, expected, f"no sample and no packet of {wanted.at} in this step has such a socket", "error")
    found = [
        sample
        for sample in samples
        for s in sample.sockets
        if s["state"] == wanted.never and _is_named(s, wanted.port, wanted.peer)
    ]
    seen = f"in {len(found)} of {len(samples)} samples" + (f", first at {found[0].t:.2f}s" if found else "")
    return Finding.of(name, expected, seen, not found)


def _has_been(wanted: SocketExpectation, samples: list[Sample], evidence: Evidence, step: int) -> bool:
    """Whether the socket was there at all, in whatever state: what never was has never been in any state, and proves nothing.

    One that lived between two samples has left packets.
    """
    if any(_is_named(s, wanted.port, wanted.peer) for sample in samples for s in sample.sockets):
        return True
    start, end = evidence.window(step)
    packets = evidence.packets[wanted.at] if wanted.at in evidence.captures else []
    asked = {wanted.port, wanted.peer} - {None}
    return any(asked <= {p.sport, p.dport} for p in packets if start <= p.t < end)


def _is_named(socket: Mapping[str, Any], port: int | None, peer: int | None) -> bool:
    return port in (None, socket["port"]) and peer in (None, socket["peer"])


def _queues(wanted: QueueSum, evidence: Evidence, step: int, program: ProgramRecord) -> Finding:
    target = int((program.outcome or {}).get(wanted.equals, 0))
    expected = f"{wanted.equals} = {target}B" + (f" ± {wanted.tolerance}B" if wanted.tolerance else "")
    parts: list[str] = []
    total = 0
    for part in wanted.of:
        found = last_socket(evidence, step, part.at, part.port, part.peer, ("ESTAB",))
        label = f"{part.at} {part.queue}"
        if found is None:
            return Finding.of(
                "queues",
                expected,
                f"no open socket at {part.at} {describe_socket(part.port, part.peer)}",
                False,
            )
        parts.append(f"{label} {found[part.queue]}B")
        total += found[part.queue]
    return Finding.of(
        "queues", expected, f"{total}B: {' + '.join(parts)}", abs(total - target) <= wanted.tolerance
    )


def last_socket(
    evidence: Evidence, step: int, host: str, port: int | None, peer: int | None, states: tuple[str, ...]
) -> Mapping[str, Any] | None:
    """The named socket in the last sample of the step in which it is in one of the states."""
    for sample in reversed(evidence.sampled(host, *evidence.window(step))):
        for socket in sample.sockets:
            if socket["state"] in states and _is_named(socket, port, peer):
                return socket
    return None


def describe_socket(port: int | None, peer: int | None) -> str:
    """How a socket is named in a message."""
    return " ".join([f"port {port}"] * (port is not None) + [f"peer port {peer}"] * (peer is not None))


def symbol(errno: str | None) -> str:
    """An errno for people: null is success."""
    return errno or "success"


def repr_value(value: object) -> str:
    """A value of an outcome as a scenario has it."""
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)


def shorten(text: str, limit: int = 200) -> str:
    """Output for a message: quoted, control characters escaped, its end kept, as that is where programs say what happened."""
    text = text.rstrip()
    if not text:
        return "nothing"
    return repr(text) if len(text) <= limit else "…" + repr(text[-limit:])
