"""Quantities as users write them (`100ms`, `5%`, `10mbit`, `64KiB`) as numbers with one fixed unit each.

A unit is always written: a bare number has no meaning that a reader can check. Names follow tc(8), section
UNITS (bit rates in powers of ten), and IEC 80000-13 for sizes (KiB = 1024 bytes).
"""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

DURATION_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
SIZE_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
RATE_BPS = {
    "bit": 1,
    "kbit": 10**3,
    "mbit": 10**6,
    "gbit": 10**9,
    "bps": 8,
    "kbps": 8 * 10**3,
    "mbps": 8 * 10**6,
}

_NUMBER_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z%/]*)\s*")


def _parse(value: object, units: dict[str, float], what: str, example: str) -> float:
    known = ", ".join(units)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{what} is a number with a unit, like {example}")
    match = _NUMBER_UNIT.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{str(value)[:40]!r} is no {what}; write a number with a unit, like {example}")
    number, unit = match.groups()
    if not unit:
        if float(number) == 0:
            return 0.0
        raise ValueError(f"{what} {number[:40]} has no unit; write one of {known}, like {example}")
    if unit not in units:
        raise ValueError(f"{unit[:40]!r} is no unit of {what}; write one of {known}, like {example}")
    if math.isinf(quantity := float(number) * units[unit]):
        raise ValueError(f"{what} {number[:40]}… is larger than any; write one like {example}")
    return quantity


def parse_duration_s(value: object) -> float:
    """Seconds from `250us`, `100ms`, `2s`, `1m`; raises ValueError with the units that exist."""
    return _parse(value, DURATION_S, "duration", "100ms")


def parse_size_bytes(value: object) -> int:
    """Bytes from `1500B`, `64KiB`, `1MB`; raises ValueError with the units that exist."""
    return round(_parse(value, {k: float(v) for k, v in SIZE_BYTES.items()}, "size", "64KiB"))


def parse_bytes(value: object) -> int:
    """Bytes from a size, or from a bare whole number: a count of bytes is exact and needs no unit. Raises
    ValueError.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError(f"{value} is no number of bytes; write one from 0, like 65536 or 64KiB")
        return value
    return parse_size_bytes(value)


def parse_rate_bps(value: object) -> int:
    """Bits per second from `10mbit` (bits) or `1mbps` (bytes, as tc(8) has it); raises ValueError."""
    return round(_parse(value, {k: float(v) for k, v in RATE_BPS.items()}, "rate", "10mbit"))


def parse_percent(value: object) -> float:
    """Percent (0 to 100) from `5%` or `0.1%`; raises ValueError when the sign is missing or out of range."""
    percent = _parse(value, {"%": 1.0}, "percentage", "5%")
    if not 0 <= percent <= 100:
        raise ValueError(f"{value} is not between 0% and 100%")
    return percent


def format_duration(seconds: float) -> str:
    """`0.0031` -> `3.1ms`, `3.07` -> `3.07s`: three significant digits, as people write it."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if abs(seconds) >= scale:
            return f"{seconds / scale:.3g}{unit}" if abs(seconds) < 1000 else f"{seconds:.0f}s"
    return f"{seconds * 1e6:.3g}us" if seconds else "0s"


def format_size(size_bytes: float) -> str:
    """`65536` -> `64KiB`, `1500` -> `1500B`: a binary unit only where it divides evenly, else bytes."""
    for unit in ("GiB", "MiB", "KiB"):
        if size_bytes and size_bytes % SIZE_BYTES[unit] == 0:
            return f"{int(size_bytes // SIZE_BYTES[unit])}{unit}"
    return f"{int(size_bytes)}B"


def format_rate(bits_per_second: float) -> str:
    """`1000000` -> `1mbit`: three significant digits in tc(8)'s words."""
    for unit in ("gbit", "mbit", "kbit"):
        if bits_per_second >= RATE_BPS[unit]:
            return f"{bits_per_second / RATE_BPS[unit]:.3g}{unit}"
    return f"{bits_per_second:.3g}bit"


def _schema(pattern_units: dict[str, float] | dict[str, int], example: str) -> WithJsonSchema:
    units = "|".join(re.escape(unit) for unit in sorted(pattern_units, key=len, reverse=True))
    return WithJsonSchema(
        {
            "type": ["string", "integer"],
            "pattern": rf"^\s*(0|[0-9]+(\.[0-9]+)?\s*({units}))\s*$",
            "examples": [example],
        }
    )


Duration = Annotated[float, BeforeValidator(parse_duration_s), _schema(DURATION_S, "100ms")]
"""Seconds."""
Size = Annotated[int, BeforeValidator(parse_size_bytes), _schema(SIZE_BYTES, "64KiB")]
"""Bytes."""
Rate = Annotated[int, BeforeValidator(parse_rate_bps), _schema(RATE_BPS, "10mbit")]
"""Bits per second."""
Percent = Annotated[float, BeforeValidator(parse_percent), _schema({"%": 1}, "5%")]
"""Percent, 0 to 100."""
Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, _schema(SIZE_BYTES, "64KiB").json_schema]}),
]
"""Bytes, counted: the unit may be left out."""
