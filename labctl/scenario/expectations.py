"""Expectations that could never hold, or never fail, whatever happens: told before the run. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from labctl.scenario.fields import unknown
from labctl.scenario.hidden import hidden
from labctl.scenario.model import OUTCOME_KEYS, PROGRAMS, Capture, Expectation
from labctl.scenario.symbols import ERRNOS, LOOKUPS, SYNONYMS
from labctl.scenario.tree import Loc
from labctl.scenario.vacuous import vacuous
from labctl.scenario.words import did_you_mean, shorten
from labctl.units import format_duration

Finding = tuple[Loc, str]

_QUOTED = re.compile(r"""r?"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""")
_OPERATOR = re.compile(r"[=!<>~]+")
_CAPTURE_FILTER = re.compile(r"\s*(?:(?:ip6?|tcp|udp)\s+)?(?:(?:src|dst)\s+)?(port|host|net)\s+([\w.:]+)\s*")
_BRACKETS = {")": "(", "]": "[", "}": "{"}


def cannot_hold(expect: Expectation, program: str, timeout_s: float | None, capture: Capture) -> Iterator[Finding]:
    """Every reason why `expect` cannot apply to a step about `program`.

    `timeout_s` is when the step ends it at the latest; None where it may have begun long before the step.

    Yields the location inside the expectation and what to write instead.
    """
    if program not in PROGRAMS:
        for key in sorted(expect.model_fields_set & OUTCOME_KEYS):
            yield (
                (key,),
                (
                    f"{shorten(program)} reports no outcome, only bundled programs do; "
                    f"ask for exit:, stdout:, stderr:, packets: or sockets:, or use probe"
                ),
            )
    for index, symbol in enumerate(expect.errno or ()):
        if symbol is not None and (message := _no_errno(symbol)):
            yield ("errno", index), message
    if timeout_s and expect.elapsed and expect.elapsed.min is not None and expect.elapsed.min >= timeout_s:
        limit = format_duration(timeout_s)
        yield (
            ("elapsed", "min"),
            f"this step is ended after its timeout of {limit}; write a longer timeout: at the step",
        )
    if timeout_s and expect.within is not None and expect.within > timeout_s:
        within, limit = format_duration(expect.within), format_duration(timeout_s)
        yield (
            ("within",),
            f"within: {within} is longer than the step's timeout: {limit}, which ends the program before, so this could never "
            "fail; write a longer timeout: at the step",
        )
    for key in expect.looks_at_packets if not capture.enabled else ():
        yield (key,), "capture: is off, so there will be no packets to look at; remove the one or the other"
    for loc, filter_ in dict.fromkeys((loc, text) for loc, _, text in expect.filters()):
        if message := _broken_filter(filter_):
            yield loc, message
    yield from vacuous(expect)
    if capture.filter is not None:
        yield from hidden(expect, capture.filter)


def _no_errno(symbol: str) -> str | None:
    if symbol in ERRNOS or symbol in LOOKUPS:
        return None
    if symbol in SYNONYMS:
        return f"{symbol} is {SYNONYMS[symbol]} on Linux and is reported so; write {SYNONYMS[symbol]}"
    return f"Linux has no errno {symbol}{did_you_mean(symbol, ERRNOS | LOOKUPS, 'see errno(3)', cutoff=0.7)}"


def _broken_filter(text: str) -> str | None:
    """What is wrong with a display filter, as far as that can be seen without tshark."""
    if not text.strip():
        return "an empty filter selects every packet; write one, like tcp, or frame for all of them"
    if match := _CAPTURE_FILTER.fullmatch(text):
        field = {"port": "tcp.port", "host": "ip.addr", "net": "ip.addr"}[match[1]]
        return f"this is a capture filter (pcap-filter(7)), not a display filter; write {field} == {match[2]}"
    bare = _QUOTED.sub(" ", text)
    if '"' in bare or "'" in bare:
        return "a quote in this filter is never closed"
    opened: list[str] = []
    for char in bare:
        if char in "([{":
            opened.append(char)
        elif char in _BRACKETS and (not opened or opened.pop() != _BRACKETS[char]):
            return f"a {char} in this filter closes nothing"
    if opened:
        return f"a {opened[-1]} in this filter is never closed"
    if "=" in _OPERATOR.findall(bare):
        return f"a display filter compares with ==, not =; write {shorten(_OPERATOR.sub(_doubled, text), 80)}"
    return unknown(_QUOTED.sub(" 0 ", text))


def _doubled(match: re.Match[str]) -> str:
    return "==" if match[0] == "=" else match[0]
