"""The catalogue: what the scenarios in some files show, by topic, and found by error, fault or tag. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labctl.errors import UsageError
from labctl.faults import FAULTS
from labctl.faults.base import Fault
from labctl.faults.link import Link
from labctl.scenario.files import summary_of, uncased
from labctl.scenario.loader import load_cases
from labctl.scenario.model import Expectation, FaultStep, FinishStep, RunStep, Scenario, StartStep, StopStep
from labctl.scenario.symbols import ERRNOS, LOOKUPS, SYNONYMS
from labctl.scenario.words import did_you_mean, listing

# The tags of the scenarios we ship, in the order in which they are best read. A scenario's first tag is its topic.
TOPICS: Mapping[str, str] = {
    "baseline": "The lab itself",
    "connect": "Opening a connection",
    "firewall": "Firewalls",
    "close": "How connections end",
    "silence": "Nobody answers",
    "flow-control": "Nobody reads, or slowly",
    "path": "Between the hosts",
    "icmp": "What ICMP says",
    "nat": "Routers that remember",
    "link": "Bad lines",
    "udp": "Datagrams",
    "ipv6": "IPv6",
    "names": "Names",
    "host": "Hosts",
    "byte-order": "Byte order",
    "calls": "Mistakes of a program",
}
OTHER = "other"
# What a link fault does to packets; `--fault loss` finds every model of it.
LINK_EFFECTS: Mapping[str, tuple[str, ...]] = {
    "delay": ("delay",),
    "jitter": ("jitter",),
    "loss": ("loss", "loss_gemodel", "loss_state"),
    "duplicate": ("duplicate",),
    "corrupt": ("corrupt",),
    "reorder": ("reorder",),
    "rate": ("rate",),
    "limit": ("limit",),
    "slot": ("slot",),
    "ramp": ("ramp",),
}


@dataclass(frozen=True)
class Way:
    """One step that is expected to end in an errno: its number from 1, its name, and where its program runs."""

    errno: str
    step: int
    name: str
    host: str


@dataclass(frozen=True)
class Entry:
    """One scenario: its name and topic, what its first comment says, and what it produces in any of its cases."""

    name: str
    path: str
    topic: str
    summary: str
    tags: tuple[str, ...]
    errnos: tuple[str, ...]
    faults: tuple[str, ...]
    programs: tuple[str, ...]
    ways: tuple[Way, ...]
    cases: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def catalogue(files: Sequence[Path]) -> list[Entry]:
    """One entry for each file. Raises ScenarioError for one that cannot be read."""
    return [_entry(path) for path in files]


def select(
    entries: Sequence[Entry], errno: str | None = None, fault: str | None = None, tag: str | None = None
) -> list[Entry]:
    """The entries that produce the error, have the fault (a kind, or what a link fault does) and carry the tag.

    Raises UsageError for a word that means nothing, with the nearest that does, and when no scenario is like that.
    """
    if errno:
        errno = errno.upper()
        errno = SYNONYMS.get(errno, errno)
        _known("errno", errno, ERRNOS | LOOKUPS)
    if fault:
        _known("fault", fault, (*FAULTS, *LINK_EFFECTS))
    if tag:
        _known("tag", tag, dict.fromkeys(tag for entry in entries for tag in entry.tags))
    chosen = [
        e for e in entries
        if (not errno or errno in e.errnos) and (not fault or fault in e.faults) and (not tag or tag in e.tags)
    ]  # fmt: skip
    if not chosen:
        raise UsageError("no scenario is like that; `labctl list` shows all")
    return chosen


def _known(what: str, word: str, words: Iterable[str]) -> None:
    words = list(words)
    if word not in words:
        few = f"they are {listing(words, 'and')}" if len(words) < 40 else "see errno(3)"
        raise UsageError(f"there is no {what} {word}{did_you_mean(word, words, few)}")


def by_topic(entries: Iterable[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """The entries in groups: topic and its entries, the topics in their own order, then others as they come."""
    groups: dict[str, list[Entry]] = {topic: [] for topic in TOPICS}
    for entry in entries:
        groups.setdefault(entry.topic, []).append(entry)
    return ((topic, found) for topic, found in groups.items() if found)


def _entry(path: Path) -> Entry:
    cases = load_cases(path)
    steps = [step for case in cases for step in case.scenario.steps]
    ways = tuple(dict.fromkeys(way for case in cases for way in _ways(case.scenario)))
    first = cases[0]
    return Entry(
        uncased(first.scenario.scenario), str(path), next(iter(first.scenario.tags), OTHER), summary_of(first.text),
        first.scenario.tags,
        tuple(dict.fromkeys(way.errno for way in ways)),
        tuple(dict.fromkeys(word for s in steps if isinstance(s, FaultStep) for word in fault_words(s.spec))),
        tuple(dict.fromkeys(_words(s)[0] for s in steps if isinstance(s, StartStep | RunStep))),
        ways,
        tuple(case.case for case in cases if case.case is not None),
    )  # fmt: skip


def fault_words(spec: Fault) -> tuple[str, ...]:
    """What a fault can be found by: its kind, and what it does to packets if it is a link fault."""
    if not isinstance(spec, Link):
        return (spec.kind,)
    effects = (
        word for word, keys in LINK_EFFECTS.items() if any(getattr(spec, key) is not None for key in keys)
    )
    return (spec.kind, *effects)


def _words(step: StartStep | RunStep) -> tuple[str, ...]:
    return step.start if isinstance(step, StartStep) else step.run


def expected_of(scenario: Scenario) -> Iterator[tuple[int, str, str, Expectation]]:
    """Every step that expects something of a program: number from 1, name, host, expectation."""
    started: dict[str, StartStep] = {}
    for number, step in enumerate(scenario.steps, 1):
        if isinstance(step, StartStep):
            started[step.handle] = step
        elif isinstance(step, RunStep):
            yield number, step.name or " ".join(step.run), step.on, step.expect
        elif isinstance(step, FinishStep | StopStep) and step.expect:
            program = started[step.finish if isinstance(step, FinishStep) else step.stop]
            yield number, step.name or " ".join(program.start), program.on, step.expect


def _ways(scenario: Scenario) -> Iterator[Way]:
    for number, name, host, expect in expected_of(scenario):
        for symbol in expect.errno or ():
            if symbol:
                yield Way(symbol, number, name, host)
