"""Expectations that never fail whatever is seen, or never hold whatever is seen."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

from labctl.scenario.model import OUTCOME_KEYS, Expectation, TextMatch
from labctl.scenario.tree import Loc
from labctl.scenario.words import shorten

Finding = tuple[Loc, str]

# Texts that have nothing in common: what is found in all of them is found in any text.
_TEXTS = ("", "\u2603", "\x07 ~\n\u00bf", "a1\n\nB2\n")
_ALL = "every number is at least 0, so this could never fail; write a larger min:, or a max:"
_EVERY = "every text contains the empty one, so this could never fail"


def vacuous(expect: Expectation) -> Iterator[Finding]:
    """What of an expectation says nothing. Yields the place in it and what to write."""
    yield from _ranges(expect)
    for key, text in (("stdout", expect.stdout), ("stderr", expect.stderr)):
        yield from _texts(key, text)
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


def _texts(key: str, text: str | TextMatch | None) -> Iterator[Finding]:
    if text == "":
        yield (key,), f"{_EVERY}; write {key}: {{exact: ''}} for no output"
    elif isinstance(text, TextMatch):
        if text.contains == "":
            yield (key, "contains"), f"{_EVERY}; write exact: '' for no output"
        if text.lacks == "":
            yield (key, "lacks"), "no text lacks the empty one, so this never holds; write what must not be there"
        if text.matches is not None and all(re.search(text.matches, one, re.MULTILINE) for one in _TEXTS):
            found = f"/{shorten(text.matches)}/ is found in every text, so this could never fail"
            yield (key, "matches"), f"{found}; write what must be there"


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
