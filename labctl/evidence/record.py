"""What a run recorded, read back from its directory. A live run and `labctl judge` read the same files the same way."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from labctl.errors import EvidenceError, UsageError
from labctl.evidence.packets import Packet, read_packets
from labctl.evidence.shapes import EVENTS, SAMPLE, lacking, number

VERSION = 1


@dataclass(frozen=True)
class ProgramRecord:
    """One program: how it was started, how it ended, and what it said.

    `alone` is true when it ended before anybody ended it: no signal of ours, no fault that killed it (false as well in records
    that do not say). `refused` says why it could not be run at all, `left_out` how many bytes of `stdout` and `stderr` were not
    kept.
    """

    handle: str
    host: str
    argv: tuple[str, ...]
    step: int
    started: float
    ended: float | None = None
    exit: int | None = None
    outcome: Mapping[str, Any] | None = None
    stdout: str = ""
    stderr: str = ""
    alone: bool = False
    refused: str | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        return None if self.ended is None else round(self.ended - self.started, 6)


@dataclass
class StepRecord:
    """One step: when it ran and, where it could not be done, why."""

    index: int
    started: float
    ended: float | None = None
    error: str | None = None
    program: str | None = None
    expects: bool = True


@dataclass
class Span:
    """One time that a fault was in place: asked for, applied and removed, and the packets it touched meanwhile.

    `end_asked` is when it was to end: by its timeline, or by who healed it (None where nobody asked: its host died). `effect`
    is what it did to how many of the packets it has `seen`, where that was counted.
    """

    asked: float
    applied: float
    removed: float | None = None
    packets: int | None = None
    end_asked: float | None = None
    effect: Mapping[str, int] | None = None


@dataclass
class FaultRecord:
    """One fault at one host: the commands, when it was in place, how many packets it touched.

    A fault on a timeline may be in place several times: `spans` has each, `applied` the first beginning, `removed` the last
    end, and `packets` the sum (None while any of them could not be counted). `tallies` has, for each step before which it was
    counted, when that was and what it had touched since it began last (None where it was not in place).
    """

    name: str
    kind: str
    host: str
    interface: str | None
    backend: str
    commands: list[list[str]]
    step: int
    spans: list[Span] = field(default_factory=list)
    tallies: dict[int, tuple[float, int | None]] = field(default_factory=dict)

    @property
    def applied(self) -> float:
        return self.spans[0].applied

    @property
    def removed(self) -> float | None:
        return self.spans[-1].removed

    @property
    def packets(self) -> int | None:
        counts = [span.packets for span in self.spans]
        return None if None in counts else sum(c for c in counts if c is not None)

    @property
    def effect(self) -> dict[str, int] | None:
        """What it did each time together; None while any of them was not counted."""
        total: Counter[str] = Counter()
        for span in self.spans:
            if span.effect is None:
                return None
            total.update(span.effect)
        return dict(total)

    def touched_before(self, step: int, began: float) -> int | None:
        """How many packets it had touched when a step began; None when nobody counted then."""
        if step in self.tallies:
            at, now = self.tallies[step]
        elif self.in_place(began, began):
            return None
        else:
            at, now = began, None
        over = [span.packets for span in self.spans if span.removed is not None and span.removed <= at]
        return None if None in over else sum(n for n in over if n is not None) + (now or 0)

    def in_place(self, start: float, end: float) -> bool:
        """Whether it was in place at any time between the two."""
        return any(s.applied < end and (s.removed is None or s.removed > start) for s in self.spans)


@dataclass(frozen=True)
class CaptureRecord:
    """One host's capture; complete only when both sentinels of every interface are in the file and nothing was dropped.

    `refused` are the filters that Wireshark refuses, each with its words (empty in records that do not say).
    """

    host: str
    file: str
    packets: int
    dropped: int
    complete: bool
    reason: str | None
    filters: tuple[str, ...]
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """The sockets of one host from `t` until they were `seen` so last; None: until the host's next sample."""

    t: float
    sockets: tuple[Mapping[str, Any], ...]
    seen: float | None = None

    def is_sure(self, start: float) -> bool:
        """Whether the sockets were so at `start` or after it, for all that anybody knows."""
        return self.t >= start or self.seen is None or self.seen >= start


@dataclass(frozen=True)
class Before:
    """A fault that stood on the lab when the run began: put by another run `by`, or by hand where that is empty."""

    name: str
    kind: str
    host: str
    by: str

    def __str__(self) -> str:
        return f"the {self.kind} fault {self.name} on {self.host}, {f'of the run {self.by}' if self.by else 'put by hand'}"


@dataclass
class Evidence:
    """Everything a run recorded.

    `checksums` has, for each step before which it was read, how many packets each host's kernel had thrown away for a wrong
    checksum, by protocol (tcp, udp, icmp).
    `case` is which of the scenario's cases was run, where it has some; `scenario` names both. `live` is a run that a Python
    program told what to do step by step; `left_by` is the exception that ended its block, and `asserted` whether that one
    says that something did not hold.
    """

    path: Path
    run: str
    scenario: str
    engine: str
    started: str
    epoch: float
    seed: int
    overrides: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[Before, ...] = ()
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    offsets: Mapping[str, float] = field(default_factory=dict)
    devices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    steps: dict[int, StepRecord] = field(default_factory=dict)
    programs: dict[str, ProgramRecord] = field(default_factory=dict)
    faults: list[FaultRecord] = field(default_factory=list)
    checksums: dict[int, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    captures: dict[str, CaptureRecord] = field(default_factory=dict)
    seconds: float | None = None
    error: str | None = None
    undoing_error: str | None = None
    missing: str | None = None
    interrupted: bool = False
    live: bool = False
    case: str | None = None
    left_by: str | None = None
    asserted: bool = False

    @cached_property
    def samples(self) -> dict[str, list[Sample]]:
        """Socket samples by host, in order."""
        found: dict[str, list[Sample]] = {}
        path = self.path / "sockets.jsonl"
        for line in _lines(path) if path.exists() else ():
            if lacks := lacking(line, SAMPLE):
                raise EvidenceError(f"{path}: a sample lacks or garbles {lacks}")
            earlier = found.setdefault(line["host"], [])
            if earlier:
                earlier[-1] = replace(earlier[-1], seen=line.get("looked"))
            earlier.append(Sample(line["t"], tuple(line["sockets"])))
        return found

    def sampled(self, host: str, start: float, end: float) -> list[Sample]:
        """The samples of a host's sockets that may hold in this time: those taken in it, and the last before it.

        What that one shows may have been over when the time began: `is_sure` tells, if the sockets were looked at since.
        """
        taken = self.samples.get(host, [])
        return [s for s in taken if s.t < start][-1:] + [s for s in taken if start <= s.t < end]

    @cached_property
    def packets(self) -> Mapping[str, list[Packet]]:
        """Packets by host, read when first asked for."""
        return _Packets(self)

    @property
    def traffic(self) -> int:
        """How many packets were captured, each at every host that saw it; the frames that bracket a capture are none."""
        return sum(len(self.packets[host]) for host in self.captures)

    @cached_property
    def ports(self) -> frozenset[int]:
        """Every port that a captured packet, the one that an ICMP error quotes, or a sampled socket has."""
        found: set[int | None] = set()
        for host in self.captures:
            for p in self.packets[host]:
                found.update((p.sport, p.dport, *(p.quoted or ())))
        for samples in self.samples.values():
            found.update(s[end] for sample in samples for s in sample.sockets for end in ("port", "peer"))
        return frozenset(port for port in found if port is not None)

    @cached_property
    def parties(self) -> frozenset[str]:
        """Every address that a host has, that a captured packet is from or to, or whose owner somebody asked for (ARP)."""
        found = {address for addresses in self.addresses.values() for address in addresses}
        for host in self.captures:
            for p in self.packets[host]:
                found.update((p.source, p.destination))
                if p.protocol == "ARP":
                    found.update(word.rstrip("?") for word in p.info.split())
        return frozenset(found)

    def proof(self, fault: FaultRecord) -> int | None:
        """How many packets a fault touched in the whole run; None when nobody could count them.

        Who is dead, or has its only interface down, never hears of what others send to it. Where it counted nothing itself,
        that is counted in their captures, while the fault was in place: packets to its addresses, and as many requests for the
        owner of one of them as one host saw.
        """
        if fault.packets != 0 or not self._is_silent(fault):
            return fault.packets
        own = self.addresses.get(fault.host, ())
        sent: set[tuple[object, ...]] = set()
        asked = [0]
        for capture in self.captures.values():
            if capture.host == fault.host or not capture.complete:
                continue
            meanwhile = [p for p in self.packets[capture.host] if fault.in_place(p.t, p.t)]
            sent |= {
                (p.source, p.destination, p.ip_id, p.sport, p.dport, p.raw_seq) for p in meanwhile if p.destination in own
            }
            asked.append(sum(any(map(p.asks_for, own)) for p in meanwhile))
        return len(sent) + max(asked)

    def _is_silent(self, fault: FaultRecord) -> bool:
        """Whether it leaves its host without any interface. A program alone is killed by its agent, a host by the engine."""
        if fault.kind == "down":
            return len(self.devices.get(fault.host, ())) == 1
        return fault.kind == "kill" and fault.backend == "engine"

    def touched(self, fault: FaultRecord, first: int, last: int) -> int | None:
        """How many packets a fault touched from when step `first` began until the one after `last` did.

        None when nobody counted at one of these times, as in a run of an older version.
        """
        after = min((i for i in self.steps if i > last), default=last + 1)
        before = fault.touched_before(first, self.steps[first].started)
        until = fault.touched_before(after, self.window(last)[1])
        return None if before is None or until is None else until - before

    def damaged(self, host: str, protocol: str, first: int, last: int) -> int | None:
        """How many packets a host's kernel threw away for a wrong checksum from step `first` until the one after `last`.

        None when nobody looked.
        """
        after = min((i for i in self.steps if i > last), default=last + 1)
        counts = [self.checksums.get(step, {}).get(host, {}).get(protocol) for step in (first, after)]
        return None if None in counts else max(0, (counts[1] or 0) - (counts[0] or 0))

    def window(self, index: int) -> tuple[float, float]:
        """From when a step began to when the next one did: whatever happened in between belongs to it."""
        record = self.steps[index]
        later = [s.started for s in self.steps.values() if s.index > index]
        return record.started, min(later, default=self.seconds if self.seconds is not None else float("inf"))

    def covered(self, index: int) -> tuple[float, float]:
        """What a step expects packets in: its window, and where it ended a program that was started before, all since then.

        What came between the step that broke something and this one may be just what is expected.
        """
        start, end = self.window(index)
        program = self.programs.get(self.steps[index].program or "")
        first = self.steps.get(program.step) if program is not None else None
        return start if first is None else min(start, first.started), end


class _Packets(dict[str, list[Packet]]):
    def __init__(self, evidence: Evidence) -> None:
        super().__init__()
        self._evidence = evidence

    def __missing__(self, host: str) -> list[Packet]:
        capture = self._evidence.captures.get(host)
        if capture is None:
            raise EvidenceError(f"there is no capture of {host}")
        path = (self._evidence.path / capture.file).with_suffix(".tsv")
        epoch = self._evidence.epoch + self._evidence.offsets.get(host, 0.0)
        found = self[host] = list(read_packets(path, epoch, len(capture.filters)))
        return found


def load(path: Path) -> Evidence:
    """Read a run directory.

    Raises UsageError where there is none, EvidenceError naming the file and line that cannot be read or believed.
    """
    events = path / "events.jsonl"
    if not events.exists():
        raise UsageError(f"{path} is no run directory: it has no {events.name}")
    evidence: Evidence | None = None
    for line in _lines(events):
        kind = line.get("event")
        if not isinstance(kind, str) or kind not in EVENTS:
            continue
        if kind == "run-start" and line.get("version") != VERSION:
            raise EvidenceError(f"{events} is of version {line.get('version')}; this labctl reads version {VERSION}")
        if lacks := lacking(line, {"t": number, **EVENTS[kind]}):
            raise EvidenceError(f"{events}: a {kind} line lacks or garbles {lacks}")
        try:
            if kind == "run-start":
                overrides, case = line.get("overrides", {}), line.get("case")
                evidence = Evidence(
                    path, line["run"], line["scenario"], line["engine"], line["started"], line["epoch"], line["seed"],
                    {str(name): str(value) for name, value in overrides.items()} if isinstance(overrides, dict) else {},
                    live=line.get("live") is True, case=case if isinstance(case, str) else None,
                )  # fmt: skip
            elif evidence is not None:
                _take(evidence, line)
        except KeyError as error:
            raise EvidenceError(f"{events}: a {kind} line speaks of {error}, which never began") from None
    if evidence is None:
        raise EvidenceError(f"{events} has no run-start line, so this is no run directory")
    return evidence


def _take(evidence: Evidence, line: dict[str, Any]) -> None:
    """Add one event to the evidence; events that only inform people are passed over."""
    kind = line["event"]
    if kind == "lab-up":
        evidence.addresses = {h["name"]: tuple(h["addresses"]) for h in line["hosts"]}
        evidence.offsets = {h["name"]: h["clock_offset_s"] for h in line["hosts"]}
        evidence.devices = {h["name"]: h["devices"] for h in line["hosts"] if isinstance(h.get("devices"), dict)}
    elif kind == "faults-before":
        evidence.before = tuple(Before(f["name"], f["kind"], f["host"], f["by"]) for f in line["faults"])
    elif kind == "environment":
        evidence.environment = line["environment"]
    elif kind == "step-start":
        expects = line.get("expects") is not False
        evidence.steps[line["index"]] = StepRecord(line["index"], line["t"], expects=expects)
    elif kind == "step-end":
        step = evidence.steps[line["index"]]
        step.ended, step.error, step.program = line["t"], line.get("error"), line.get("program")
    elif kind == "program-start":
        evidence.programs[line["id"]] = ProgramRecord(
            line["handle"], line["host"], tuple(line["argv"]), line["step"], line["t"]
        )
    elif kind == "program-end":
        evidence.programs[line["id"]] = _ended(evidence, evidence.programs[line["id"]], line)
    elif kind == "fault-applied":
        _fault(evidence, line).spans.append(Span(line["asked"], line["t"]))
    elif kind == "fault-removed":
        named = [f for f in evidence.faults if (f.name, f.host) == (line["name"], line["host"])]
        # One that is taken back while it is being applied, or waits for its next time, is not in place.
        if named and named[-1].spans[-1].removed is None:
            span = named[-1].spans[-1]
            span.removed, span.packets, span.end_asked = line["t"], line["packets"], line.get("asked")
            span.effect = line.get("effect")
    elif kind == "fault-counts":
        for counted in line["faults"]:
            for fault in evidence.faults:
                if (fault.name, fault.host) == (counted["name"], counted["host"]) and fault.in_place(line["t"], line["t"]):
                    fault.tallies[line["step"]] = line["t"], counted["packets"]
    elif kind == "checksums":
        evidence.checksums[line["step"]] = line["hosts"]
    elif kind == "capture-end":
        evidence.captures[line["host"]] = CaptureRecord(
            line["host"], line["file"], line["packets"], line["dropped"], line["complete"], line["reason"],
            tuple(line["filters"]), dict.fromkeys(line["refused"], "") | line.get("why_refused", {}),
        )  # fmt: skip
    elif kind == "error":
        # What failed while things were being undone is recorded before what made that necessary, and is less telling.
        if line.get("undoing"):
            evidence.undoing_error = evidence.undoing_error or line["message"]
        else:
            evidence.error = evidence.error or line["message"]
        evidence.missing = evidence.missing or (line["message"] if line.get("missing") else None)
    elif kind == "interrupted":
        evidence.interrupted = True
    elif kind == "python-end":
        evidence.left_by, evidence.asserted = line["exception"], line["assertion"]
    elif kind == "run-end":
        evidence.seconds = line["t"]


def _fault(evidence: Evidence, line: dict[str, Any]) -> FaultRecord:
    """The fault that an event is about: the one begun last under its name at its host, or a new one."""
    for fault in reversed(evidence.faults):
        if (fault.name, fault.host, fault.step) == (line["name"], line["host"], line["step"]):
            return fault
    made = FaultRecord(
        line["name"],
        line["kind"],
        line["host"],
        line["interface"],
        line["backend"],
        line["commands"],
        line["step"],
    )
    evidence.faults.append(made)
    return made


def _ended(evidence: Evidence, program: ProgramRecord, line: dict[str, Any]) -> ProgramRecord:
    def text(suffix: str) -> str:
        path = evidence.path / f"programs/{line['file']}.{suffix}"
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise EvidenceError(f"{path} cannot be read: {error.strerror}") from None

    return ProgramRecord(
        program.handle, program.host, program.argv, program.step, program.started, line["t"], line["exit"],
        line["outcome"], text("out"), text("err"),
        alone="signalled" in line and line["signalled"] is None and line.get("killed") is None,
        refused=line.get("refused"), left_out=line.get("left_out", {}),
    )  # fmt: skip


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for line_number, line in enumerate(file, 1):
                try:
                    value = _DECODER.decode(line)
                except (ValueError, RecursionError):
                    raise EvidenceError(f"{path}:{line_number}: this line is no JSON") from None
                if not isinstance(value, dict):
                    raise EvidenceError(f"{path}:{line_number}: this line is no JSON object")
                yield value
    except OSError as error:
        raise EvidenceError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise EvidenceError(f"{path} is not UTF-8 text") from None
