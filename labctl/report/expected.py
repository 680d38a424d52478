"""An expectation in sentences, one for each thing that must be seen."""

from __future__ import annotations

from collections.abc import Iterator

from labctl.scenario.model import (
    Expectation,
    IcmpExpectation,
    PacketExpectation,
    QueueSum,
    RetransmissionExpectation,
    SameExpectation,
    SocketExpectation,
    TextMatch,
)
from labctl.scenario.words import listing
from labctl.units import format_duration, format_rate
from labctl.verdict.checks import describe_socket, repr_value, symbol
from labctl.verdict.ranges import describe_range, format_bytes


def sentences(expect: Expectation) -> Iterator[str]:
    """What must be seen, in the order people write it."""
    yield from _ending(expect)
    yield from _amounts(expect)
    for name in ("stdout", "stderr"):
        if (wanted := getattr(expect, name)) is not None:
            match = TextMatch(contains=wanted) if isinstance(wanted, str) else wanted
            yield from (f"{name} {said}" for said in _text(match))
    for name, value in (expect.outcome or {}).items():
        yield f"its outcome has {name} {repr_value(value)}"
    yield from (_packets(wanted) for wanted in expect.packets)
    yield from (_icmp(wanted) for wanted in expect.icmp)
    yield from (_retransmissions(wanted) for wanted in expect.retransmissions)
    yield from (_same(wanted) for wanted in expect.same)
    yield from (_socket(wanted) for wanted in expect.sockets)
    if expect.queues is not None:
        yield _queues(expect.queues)


def _ending(expect: Expectation) -> Iterator[str]:
    if "errno" in expect.model_fields_set:
        ends = listing(map(symbol, expect.errno or (None,)))
        yield f"its last call ends in {ends}"
    if expect.timed_out is not None:
        yield f"its own time limit {'ends' if expect.timed_out else 'does not end'} the call"
    if expect.signal is not None:
        yield f"SIG{expect.signal} ends it"
    if expect.exit is not None:
        yield f"its exit status is {expect.exit}"
    if expect.elapsed is not None:
        yield f"its last call takes {describe_range(expect.elapsed, format_duration)}"
    if expect.within is not None:
        yield f"it ends within {format_duration(expect.within)}"


def _amounts(expect: Expectation) -> Iterator[str]:
    if expect.sent is not None:
        yield f"it sends {describe_range(expect.sent, format_bytes)}"
    if expect.received is not None:
        yield f"it receives {describe_range(expect.received, format_bytes)}"
    if expect.throughput is not None:
        yield f"it moves {describe_range(expect.throughput, format_rate)} per second"


def _text(wanted: TextMatch) -> Iterator[str]:
    if wanted.exact is not None:
        yield f"is {wanted.exact!r}"
    if wanted.contains is not None:
        yield f"has {wanted.contains!r} in it"
    if wanted.matches is not None:
        yield f"matches /{wanted.matches}/"
    if wanted.lacks is not None:
        yield f"has no {wanted.lacks!r} in it"


def _packets(wanted: PacketExpectation) -> str:
    said = f"captured at {wanted.at}, {_many(wanted.count)}: {wanted.filter}"
    if wanted.after is not None:
        delay = f" {describe_range(wanted.delay, format_duration)}" if wanted.delay else ""
        said += f"; the first comes{delay} after the first of: {wanted.after}"
    if wanted.apart is not None:
        said += f"; from each to the next {describe_range(wanted.apart, format_duration)}"
    return said


def _icmp(wanted: IcmpExpectation) -> str:
    sender = f" from {wanted.source}" if wanted.source else ""
    return f"captured at {wanted.at}, {_many(wanted.count)}: ICMP {wanted.type}{sender}"


def _retransmissions(wanted: RetransmissionExpectation) -> str:
    port = f" with port {wanted.port}" if wanted.port else ""
    return f"captured at {wanted.at}, {_many(wanted.count)}: segments sent again{port}"


def _same(wanted: SameExpectation) -> str:
    first, second = wanted.at
    parts = [f"what {first} has of the {wanted.of} of {wanted.filter}, {second} has as well"]
    if wanted.lost != 0:
        parts.append(f"but for {describe_range(wanted.lost, str)}")
    if wanted.added != 0:
        parts.append(f"and {describe_range(wanted.added, str)} more")
    return ", ".join(parts)


def _socket(wanted: SocketExpectation) -> str:
    parts = [f"is in state {wanted.state}"] if wanted.state else []
    parts += [f"is never in state {wanted.never}"] if wanted.never else []
    for queue in ("recv_q", "send_q"):
        if (limit := getattr(wanted, queue)) is not None:
            parts.append(f"has {describe_range(limit, format_bytes)} in its {queue}")
    socket = f"the socket of {wanted.at} ({describe_socket(wanted.port, wanted.peer)})"
    return f"{socket} {listing(parts or ['is there'], 'and')}"


def _queues(wanted: QueueSum) -> str:
    queues = listing((f"the {q.queue} of {q.at} ({describe_socket(q.port, q.peer)})" for q in wanted.of), "and")
    give = f", give or take {format_bytes(wanted.tolerance)}" if wanted.tolerance else ""
    return f"{queues} together hold what it has {wanted.equals}{give}"


def _many(count: object) -> str:
    if count == 0:
        return "none"
    return describe_range(count, str)  # type: ignore[arg-type]
