"""What a run did and when, as comments for its captures: Wireshark's packet list shows where each step and fault begins."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labctl.evidence.record import Evidence


@dataclass(frozen=True, order=True)
class Mark:
    """Something that happened at `t` seconds of the run."""

    t: float
    text: str


def marks(evidence: Evidence, titles: Mapping[int, str]) -> list[Mark]:
    """The run, its steps (`titles` by index) and its faults: when each began and ended, in the order of time."""
    found = [Mark(0.0, f"labctl run {evidence.run}, scenario {evidence.scenario}")]
    for step in evidence.steps.values():
        title = titles.get(step.index, "")
        found.append(Mark(step.started, f"labctl: step {step.index} begins: {title}"))
        if step.ended is not None:
            found.append(Mark(step.ended, f"labctl: step {step.index} ends"))
    for fault in evidence.faults:
        what = f"labctl: fault {fault.name} ({fault.kind}) at {fault.host}"
        for span in fault.spans:
            found.append(Mark(span.applied, f"{what} begins"))
            if span.removed is not None:
                touched = "" if span.packets is None else f"; packets touched: {span.packets}"
                found.append(Mark(span.removed, f"{what} ends{touched}"))
    return sorted(found)


def placed(found: Sequence[Mark], epoch: float, times_ns: Sequence[int]) -> dict[int, list[str]]:
    """Which comments go on which packet, by number from 1: each on the first packet that is not before it, or on the last.

    Arguments: the marks in order, the wall clock at the start of the run (on the capture's clock), and the packets' times in
    nanoseconds since the epoch, in the order of the file, which need not be that of time.
    """
    if not times_ns:
        return {}
    order = sorted(range(len(times_ns)), key=times_ns.__getitem__)
    times = [times_ns[i] for i in order]
    notes: dict[int, list[str]] = {}
    for mark in found:
        at = min(bisect_left(times, round((epoch + mark.t) * 1e9)), len(order) - 1)
        notes.setdefault(order[at] + 1, []).append(mark.text)
    return notes
