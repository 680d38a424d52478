"""What the lines of a record must look like: a record may be truncated, edited, or written by a program that lies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

# Beyond this no time, count or size of ours is real, and arithmetic on it would fail.
_LIMIT = 10**15
# A file of the record lies in its folder: no separators, no way up.
_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_CAPTURE = re.compile(rf"pcap/{_STEM.pattern}\.pcapng")
# What a shell reports for a command that it found no way to run (POSIX, Shell Command Language, 2.8.2).
NOT_RUN = (126, 127)

Check = Callable[[Any], bool]
# What is not there passes no check but `or_absent`.
_ABSENT = object()


def text(value: Any) -> bool:
    return isinstance(value, str)


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LIMIT < value < _LIMIT


def whole(value: Any) -> bool:
    return isinstance(value, int) and number(value)


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def mapping_of(check: Check) -> Check:
    return lambda value: isinstance(value, Mapping) and all(text(key) and check(item) for key, item in value.items())


def or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(check(item) for item in value)


def like(shape: Mapping[str, Check]) -> Check:
    return lambda value: isinstance(value, Mapping) and lacking(value, shape) is None


def or_absent(check: Check) -> Check:
    """What older records do not have."""
    return lambda value: value is _ABSENT or check(value)


def lacking(value: Mapping[str, Any], shape: Mapping[str, Check]) -> str | None:
    """The first key of the shape that the value lacks or garbles; None when it has the shape."""
    return next((key for key, check in shape.items() if not check(value.get(key, _ABSENT))), None)


def is_outcome(value: Any) -> bool:
    """Whether a value is what a program reports as its outcome: `op` and `errno`, and the known numbers are numbers."""
    if not isinstance(value, Mapping) or not text(value.get("op")) or "errno" not in value:
        return False
    numbers = all(number(value[key]) for key in ("ms", "sent", "received") if key in value)
    flags = all(flag(value[key]) for key in ("timed_out", "returned") if key in value)
    return or_null(text)(value["errno"]) and numbers and flags and text(value.get("stopped", ""))


_HOST = like({"name": text, "addresses": list_of(text), "clock_offset_s": number})
SOCKET = {"state": text, "port": whole, "peer": whole, "recv_q": whole, "send_q": whole}
SAMPLE = {"t": number, "host": text, "looked": or_absent(or_null(number)), "sockets": list_of(like(SOCKET))}
# Every event that evidence is made of; others only inform people.
EVENTS: dict[str, dict[str, Check]] = {
    "run-start": {"run": text, "scenario": text, "engine": text, "started": text, "epoch": number, "seed": whole},
    "lab-up": {"hosts": list_of(_HOST)},
    "environment": {"environment": mapping},
    "faults-before": {"faults": list_of(like({"host": text, "name": text, "kind": text, "by": text}))},
    "step-start": {"index": whole},
    "step-end": {"index": whole, "error": or_null(text), "program": or_null(text)},
    "program-start": {"id": text, "handle": text, "host": text, "argv": list_of(text), "step": whole},
    "program-end": {
        "id": text, "exit": or_null(whole), "outcome": or_null(is_outcome),
        "file": lambda value: text(value) and _STEM.fullmatch(value) is not None,
        "killed": or_absent(or_null(text)), "signalled": or_absent(or_null(text)), "refused": or_absent(or_null(text)),
        "left_out": or_absent(mapping_of(whole)),
    },
    "fault-applied": {
        "name": text, "kind": text, "host": text, "interface": or_null(text), "backend": text,
        "commands": list_of(list_of(text)), "step": whole, "asked": number,
    },
    "fault-counts": {
        "step": whole, "faults": list_of(like({"name": text, "host": text, "packets": or_null(whole)})),
    },
    "checksums": {"step": whole, "hosts": mapping_of(mapping_of(whole))},
    "fault-removed": {
        "name": text, "host": text, "packets": or_null(whole), "effect": or_absent(or_null(mapping_of(whole))),
        "asked": or_absent(or_null(number)),
    },
    "capture-end": {
        "host": text, "file": lambda value: text(value) and _CAPTURE.fullmatch(value) is not None, "packets": whole,
        "dropped": whole, "complete": flag, "reason": or_null(text), "filters": list_of(text), "refused": list_of(text),
        "why_refused": or_absent(mapping_of(text)),
    },
    "error": {"message": text},
    "interrupted": {},
    "python-end": {"exception": or_null(text), "assertion": flag},
    "run-end": {},
}  # fmt: skip
