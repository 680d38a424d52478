"""Expectations that never fail whatever is seen, or never hold whatever is seen."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

from labctl.evidence.shapes import flag, number, text
from labctl.scenario.model import OUTCOME_KEYS, Expectation, TextMatch
from labctl.scenario.tree import Loc
from labctl.scenario.words import shorten

Finding = tuple[Loc, str]

# Texts that have nothing in common: what is found in all of them is found in any text.
_TEXTS = ("", "\u2603", "\x07 ~\n\u00bf", "a1\n\nB2\n")
_ALL = "every number is at least 0, so this could never fail; write a larger min:, or a max:"
# What each outcome of a bundled program has (images/programs/outcome.py), and what it is there.
_KINDS: tuple[tuple[str, Callable[[Any], bool], tuple[str, ...]], ...] = (
    ("a number", number, ("ms", "total_ms", "sent", "received")),
    ("true or false", flag, ("timed_out", "returned")),
    ("text", text, ("op", "program", "byteorder", "machine", "stopped", "reason")),
)
_EVERY = "every text contains the empty one, so this could never fail"


def vacuous(expect: Expectation) -> Iterator[Finding]:
    """What of an expectation says nothing. Yields the place in it and what to write."""
    yield from _ranges(expect)
    yield from _texts("stdout", expect.stdout)
    yield from _texts("stderr", expect.stderr)
    yield from _outcome(expect)
    yield from _at_odds(expect)


def _ranges(expect: Expectation) -> Iterator[Finding]:
    """Ranges that every number lies in: at least 0, and no end."""
    for key in ("elapsed", "sent", "received", "throughput"):
        if _has_no_end(getattr(expect, key)):
            yield (key, "min"), _ALL
    for key, names in (
        ("packets", ("count", "delay", "apart")), ("icmp", ("count",)), ("retransmissions", ("count",)),
        ("sockets", ("recv_q", "send_q")),
    ):  # fmt: skip
        for index, entry in enumerate(getattr(expect, key)):
            yield from (((key, index, name, "min"), _ALL) for name in names if _has_no_end(getattr(entry, name)))
    for index, pair in enumerate(expect.same):
        # One of the two without an end says that it does not matter; the other can still fail.
        if _has_no_end(pair.lost) and _has_no_end(pair.added):
            yield ("same", index), "any number lost or added, so this could never fail; write how many of one there may be"


def _has_no_end(wanted: object) -> bool:
    return getattr(wanted, "min", None) == 0 and getattr(wanted, "max", None) is None


def _texts(key: str, wanted: str | TextMatch | None) -> Iterator[Finding]:
    if wanted == "":
        yield (key,), f"{_EVERY}; write {key}: {{exact: ''}} for no output"
    elif isinstance(wanted, TextMatch):
        if wanted.contains == "":
            yield (key, "contains"), f"{_EVERY}; write exact: '' for no output"
        if wanted.lacks == "":
            yield (key, "lacks"), "no text lacks the empty one, so this never holds; write what must not be there"
        if wanted.matches is not None and all(re.search(wanted.matches, one, re.MULTILINE) for one in _TEXTS):
            found = f"/{shorten(wanted.matches)}/ is found in every text, so this could never fail"
            yield (key, "matches"), f"{found}; write what must be there"
        yield from _texts_at_odds(key, wanted)


def _texts_at_odds(key: str, wanted: TextMatch) -> Iterator[Finding]:
    """What must be there and must not. White space at the end of an exact text is not looked at, so it proves nothing here."""
    exact = None if wanted.exact is None else wanted.exact.rstrip()
    if exact is not None and wanted.contains and wanted.contains.rstrip() not in exact:
        yield (key, "contains"), "exact: has not what contains: asks for, so this never holds; leave one of the two out"
    for name, there in (("exact", exact), ("contains", wanted.contains)):
        if wanted.lacks and there is not None and wanted.lacks in there:
            yield (key, "lacks"), f"{name}: has what lacks: forbids, so this never holds; leave one of the two out"


def _outcome(expect: Expectation) -> Iterator[Finding]:
    """Fields of an outcome that are never such a value."""
    asked = expect.outcome or {}
    for kind, fits, names in _KINDS:
        for name in names:
            if name in asked and not fits(asked[name]):
                said = f"{name} is {kind}, and {shorten(json.dumps(asked[name], default=str))} is not"
                yield ("outcome", name), f"{said}, so this never holds; write {kind}"


def _at_odds(expect: Expectation) -> Iterator[Finding]:
    """Two expectations of which one at most can hold."""
    never = "so this never holds; leave one of the two out"
    if expect.within == 0 or (expect.elapsed is not None and expect.elapsed.max == 0):
        yield ("within",) if expect.within == 0 else ("elapsed", "max"), "nothing is done in no time, so this never holds"
    for index, socket in enumerate(expect.sockets):
        if socket.state is not None and socket.state == socket.never:
            yield ("sockets", index, "never"), f"in state {socket.state} and never in it, {never}"
    if expect.signal is not None:
        status = 128 + signal.Signals[f"SIG{expect.signal}"]
        if expect.exit not in (None, status):
            yield ("exit",), f"what SIG{expect.signal} ends has the exit status {status}, {never}"
        for key in sorted(expect.model_fields_set & OUTCOME_KEYS):
            yield (key,), f"what SIG{expect.signal} ends reports no outcome any more, {never}"
    if expect.timed_out and expect.errno is not None and None not in expect.errno:
        yield ("errno",), f"a call that the program's own limit ends (timed_out: true) has no errno, {never}"
    if (expect.outcome or {}).get("returned") is False and "errno" in expect.model_fields_set:
        yield ("errno",), f"a call that has not returned (returned: false) has neither succeeded nor failed, {never}"
