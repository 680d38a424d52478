"""A run that has ended: its verdict, and what its evidence answers. Pure, but for a filter that was not asked in the run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from labctl.errors import UsageError
from labctl.evidence.packets import Packet
from labctl.evidence.record import Evidence, Sample
from labctl.evidence.record import load as load_evidence


class HasStep(Protocol):
    """Anything that belongs to one step of a run, such as what a program ended in."""

    @property
    def step(self) -> int: ...


class _Run(NamedTuple):
    path: Path
    result: dict[str, Any]


class Run(_Run):
    """One run: its directory, and its result as result.json holds it."""

    @property
    def verdict(self) -> str:
        """`pass`, `fail`, `error` or `skip`."""
        return str(self.result["verdict"])

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        return str(self.result["reason"])

    @property
    def page(self) -> Path:
        """The HTML page, which opens without a network."""
        return self.path / "report.html"

    @property
    def captures(self) -> dict[str, Path]:
        """The capture of each host, as pcapng."""
        return {c["host"]: self.path / c["file"] for c in self.result["captures"]}

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The steps as result.json holds them, with their findings."""
        return list(self.result["steps"])

    @property
    def faults(self) -> list[dict[str, Any]]:
        """The faults as result.json holds them, with the packets that each touched."""
        return list(self.result["faults"])

    @cached_property
    def evidence(self) -> Evidence:
        """Everything the run recorded. Raises EvidenceError when it cannot be believed."""
        return load_evidence(self.path)

    def packets(
        self, host: str, filter: str | None = None, during: HasStep | int | None = None
    ) -> list[Packet]:
        """The packets captured at a host, in order.

        Arguments: a Wireshark display filter (all packets when not given), and a step, or what a program ended in, to
        see only what came from its beginning to the beginning of the next. Raises UsageError for a host without a capture
        and for a filter that Wireshark refuses, EvidenceError for a capture that is incomplete, MissingError where
        a filter that was not asked in the run finds no tshark.
        """
        capture = self.evidence.captures.get(host)
        if capture is None:
            raise UsageError(
                f"there is no capture of {host}; there are {', '.join(self.evidence.captures) or 'none'}"
            )
        found = self.evidence.packets[host]
        if during is not None:
            start, end = self.evidence.covered(_step(during))
            found = [p for p in found if start <= p.t < end]
        if filter is None:
            return found
        if filter in capture.filters:
            position = capture.filters.index(filter)
            return [p for p in found if position in p.selected]
        from labctl.engines.packetfilter import select

        numbers = select(self.path / capture.file, filter)
        return [p for p in found if p.number in numbers]

    def sockets(self, host: str, during: HasStep | int | None = None) -> list[Sample]:
        """The samples of a host's TCP sockets, in order; with `during` those that may have held in that step."""
        if during is None:
            return list(self.evidence.samples.get(host, []))
        return self.evidence.sampled(host, *self.evidence.window(_step(during)))


def _step(during: HasStep | int) -> int:
    return during if isinstance(during, int) else during.step


def findings(run: Mapping[str, Any]) -> list[str]:
    """What did not hold in a run, one line each: the step, what was expected and what was seen."""
    lines = []
    for step in run["steps"]:
        if step["verdict"] in ("pass", "skip"):
            continue
        lines.append(f"step {step['index']} ({step['name']}): {step['reason']}")
        lines += [
            f"  {f['check']}: expected {f['expected']}, got {f['actual']}"
            for f in step["findings"]
            if f["verdict"] != "pass"
        ]
    return lines
