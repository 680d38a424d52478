"""Text from outside (programs, packets, scenarios) made harmless to look at."""

from __future__ import annotations

import re
import unicodedata

# Cc but tab and newline: terminal escapes live there. Bidirectional controls reorder what stands around them (UAX #9),
# line and paragraph separators break lines in JavaScript and in terminals, the tags block is invisible, surrogates and
# non-characters cannot be written as UTF-8 or XML.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_BEYOND_ASCII_PRINTABLE = re.compile(r"[^\n\t\x20-\x7e]")


def printable(text: str) -> str:
    r"""The same text with every character that steers instead of shows written out, like ``\x1b`` or ``\u202e``.

    Newlines and tabs stay, CR LF becomes LF. The result can be printed to a terminal, put into XML and encoded as UTF-8.
    """
    if not _BEYOND_ASCII_PRINTABLE.search(text):
        return text
    return _UNSAFE.sub(_escape, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """`printable`, on one line: newlines and tabs become spaces."""
    return " ".join(printable(text).split())


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, the last an ellipsis when something was cut."""
    return text if len(text) <= limit else text[: max(0, limit - 1)].rstrip() + "…"


def columns(text: str) -> int:
    """How many terminal columns a printable text takes: wide East Asian characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def fit(text: str, width: int) -> str:
    """Cut or padded to exactly `width` terminal columns."""
    if columns(text) > width:
        kept = ""
        for c in text:
            if columns(kept + c) > width - 1:
                break
            kept += c
        text = kept + "…" if width > 0 else ""
    return text + " " * (width - columns(text))


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    named = {0x0D: "\\r", 0x00: "\\0"}
    if number in named:
        return named[number]
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def plural(number: int, noun: str) -> str:
    """`1 packet`, `2 packets`, `1,204 packets`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def size(number: float) -> str:
    """`12 B`, `310 kB`, `1.2 MB`: three significant digits at most, powers of ten, for people."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            return f"{number / scale:.3g} {unit}" if number / scale < 1000 else f"{number / scale:.0f} {unit}"
    return f"{number:.0f} B"


def seconds(number: float) -> str:
    """`1.02 s`, `4.2 ms`, `85 µs`: for people."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if abs(number) >= scale * 0.9995:
            return f"{number / scale:.3g} {unit}" if abs(number) < 999.5 * scale else f"{number / scale:.0f} {unit}"
    return f"{number * 1e6:.0f} µs" if number else "0 s"
