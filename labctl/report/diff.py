"""What changed between two runs of a scenario. Pure: two verdicts in, a list of changes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from labctl.evidence.packets import ACK, FIN, RST, SYN, Packet
from labctl.evidence.record import Evidence
from labctl.report import plain
from labctl.verdict.judge import RunVerdict, StepVerdict

# Two runs of the same thing never take the same time: only a difference beyond both of these is a change.
TIME_SHARE = 0.25
TIME_FLOOR_MS = 50.0
# Packets that come in numbers nobody counts (data, bare ACKs) change when they differ by more than this share.
BULK_SHARE = 0.2
BULK = frozenset({"data", "ACK", "datagram", "ARP and multicast", "other"})


@dataclass(frozen=True)
class Change:
    """One difference: where (`run`, `step 3 (…)`, `packets at client`), what of it, and both values."""

    where: str
    what: str
    before: str
    after: str


@dataclass(frozen=True)
class Diff:
    """Everything that changed from run `a` to run `b`, most telling first; `notes` say what could not be compared."""

    a: str
    b: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()


def diff(a: RunVerdict, b: RunVerdict) -> Diff:
    """Verdicts, outcomes, times beyond TIME_SHARE and TIME_FLOOR_MS, faults, packets by filter and by class, environment.

    Raises EvidenceError when a capture of either run cannot be read.
    """
    notes = []
    if a.evidence.scenario != b.evidence.scenario:
        notes.append(f"these are runs of two scenarios: {a.evidence.scenario} and {b.evidence.scenario}")
    for host in sorted(set(a.evidence.captures) ^ set(b.evidence.captures)):
        notes.append(f"{host} was captured in one of them only")
    changes = [*_values("run", "verdict", a.verdict, b.verdict), *_steps(a, b), *_faults(a.evidence, b.evidence)]
    changes += _packets(a.evidence, b.evidence)
    changes += _environment(a.evidence, b.evidence)
    return Diff(a.evidence.run, b.evidence.run, tuple(changes), tuple(notes))


def text(found: Diff) -> str:
    """The diff for a terminal: harmless to print, one change per line under its place."""
    lines = [f"- {plain.one_line(found.a)}", f"+ {plain.one_line(found.b)}", ""]
    lines += [f"note: {plain.one_line(note)}" for note in found.notes]
    where = None
    for change in found.changes:
        if change.where != where:
            where = change.where
            lines.append(plain.one_line(where))
        what, before, after = (plain.shorten(plain.one_line(t), 160) for t in (change.what, change.before, change.after))
        lines.append(f"  {what}: {before} → {after}")
    if not found.changes:
        lines.append("nothing changed")
    return "\n".join(lines) + "\n"


def _values(where: str, what: str, before: object, after: object) -> Iterator[Change]:
    if before != after:
        yield Change(where, what, _word(before), _word(after))


def _word(value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _steps(a: RunVerdict, b: RunVerdict) -> Iterator[Change]:
    before, after = _by_name(a), _by_name(b)
    for key in [*before, *(k for k in after if k not in before)]:
        old, new = before.get(key), after.get(key)
        if old is None or new is None:
            there = old or new
            assert there is not None
            yield Change(_place(there), "taken", _word(old is not None), _word(new is not None))
        else:
            yield from _step(old, new)


def _by_name(run: RunVerdict) -> dict[tuple[str, int], StepVerdict]:
    """Steps by name, and by how often that name came before: an inserted step does not shift the rest."""
    seen: Counter[str] = Counter()
    found = {}
    for step in run.steps:
        found[step.name, seen[step.name]] = step
        seen[step.name] += 1
    return found


def _place(step: StepVerdict) -> str:
    return f"step {step.index} ({step.name})"


def _step(old: StepVerdict, new: StepVerdict) -> Iterator[Change]:
    where = _place(new)
    yield from _values(where, "verdict", old.verdict, new.verdict)
    if old.program is not None and new.program is not None:
        x, y = old.program.outcome or {}, new.program.outcome or {}
        for key in ("op", "errno", "timed_out", "returned", "sent", "received", "byteorder"):
            yield from _values(where, key, x.get(key), y.get(key))
        yield from _values(where, "exit", old.program.exit, new.program.exit)
        yield from _times(where, "took", x.get("ms"), y.get("ms"))
    elif old.program is None and new.program is None:
        yield from _times(where, "took", old.seconds * 1000, new.seconds * 1000)
    known = {f.check: f for f in old.findings}
    for finding in new.findings:
        before = known.get(finding.check)
        if before is not None and before.verdict != finding.verdict:
            yield Change(where, finding.check, f"{before.actual} ({before.verdict})", f"{finding.actual} ({finding.verdict})")


def _times(where: str, what: str, before: object, after: object) -> Iterator[Change]:
    if not isinstance(before, int | float) or not isinstance(after, int | float):
        return
    apart = abs(before - after)
    if apart > TIME_FLOOR_MS and apart > TIME_SHARE * max(before, after):
        yield Change(where, what, plain.seconds(before / 1000), plain.seconds(after / 1000))


def _faults(a: Evidence, b: Evidence) -> Iterator[Change]:
    before, after = ({(f.name, f.host): f for f in e.faults} for e in (a, b))
    for key in [*before, *(k for k in after if k not in before)]:
        old, new = before.get(key), after.get(key)
        where = f"fault {key[0]} on {key[1]}"
        if old is None or new is None:
            yield Change(where, "in place", _word(old is not None), _word(new is not None))
            continue
        yield from _values(where, "backend", old.backend, new.backend)
        yield from _values(where, "times in place", len(old.spans), len(new.spans))
        yield from _values(where, "packets touched", old.packets, new.packets)


def _packets(a: Evidence, b: Evidence) -> Iterator[Change]:
    for host in a.captures:
        if host in b.captures:
            where = f"packets at {host}"
            counted = _by_filter(a, host), _by_filter(b, host)
            yield from _counts(where, *counted, lambda _: False)
            yield from _counts(where, _by_class(a, host), _by_class(b, host), BULK.__contains__)


def _counts(
    where: str, before: Mapping[str, int], after: Mapping[str, int], is_bulk: Callable[[str], bool]
) -> Iterator[Change]:
    for key in [*before, *(k for k in after if k not in before)]:
        old, new = before.get(key, 0), after.get(key, 0)
        if abs(old - new) > (BULK_SHARE * max(old, new) + 2 if is_bulk(key) else 0):
            yield Change(where, key, str(old), str(new))


def _by_filter(evidence: Evidence, host: str) -> dict[str, int]:
    filters = evidence.captures[host].filters
    counts = dict.fromkeys(filters, 0)
    for packet in evidence.packets[host]:
        for number in packet.selected:
            if number < len(filters):
                counts[filters[number]] += 1
    return counts


def _by_class(evidence: Evidence, host: str) -> Counter[str]:
    counts = Counter(_class(packet) for packet in evidence.packets[host])
    forwarded = len(evidence.addresses.get(host, ())) > 1
    if not forwarded and (again := sum(p.retransmission for p in evidence.packets[host])):
        counts["retransmission"] = again
    return counts


def _class(packet: Packet) -> str:
    flags = packet.flags
    if packet.icmp is not None:
        return f"ICMP type {packet.icmp[0]} code {packet.icmp[1]}"
    if flags is not None:
        for name, bits in (("RST", RST), ("SYN, ACK", SYN | ACK), ("SYN", SYN), ("FIN", FIN)):
            if flags & bits == bits:
                return name
        return "data" if packet.payload else "ACK"
    if packet.sport is not None:
        return "datagram"
    return "ARP and multicast" if not packet.source or packet.icmpv6 is not None else "other"


def _environment(a: Evidence, b: Evidence) -> Iterator[Change]:
    yield from _values("environment", "engine", a.engine, b.engine)
    yield from _values("environment", "seed", a.seed, b.seed)
    for key in sorted({*a.environment, *b.environment}):
        if not key.endswith("_kib"):
            yield from _values("environment", key, a.environment.get(key), b.environment.get(key))
