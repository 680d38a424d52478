"""No text from outside can steer a terminal, a page or a file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.report.plain import columns, fit, one_line, plural, printable, seconds, shorten, size

# Any text, surrogates included, and often what steers.
HOSTILE = st.text(st.characters() | st.sampled_from("\x1b\x00\x07\x9b\u202e\u2028\ufeff\ud800\U000e0041\r\n\t"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("windows\r\nlines", "windows\nlines"),
        ("over\rwritten", "over\\rwritten"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("a\u2028b", "a\\u2028b"),
        ("nul\0", "nul\\0"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("größer → 日本", "größer → 日本"),
    ],
)
def test_what_steers_is_written_out_and_the_rest_stays(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(HOSTILE)
def test_nothing_that_steers_is_left_and_twice_changes_nothing(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")
    assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in shown)
    assert not any(c in shown for c in "\u202e\u2066\u2028\u2029\ufeff\u200f")
    assert printable(shown) == shown


@given(HOSTILE, st.integers(0, 40))
def test_a_cell_is_exactly_as_wide_as_asked(text: str, width: int) -> None:
    assert columns(fit(one_line(text), width)) == width


def test_numbers_for_people() -> None:
    assert [size(n) for n in (0, 12, 1500, 310_000, 2_500_000_000)] == ["0 B", "12 B", "1.5 kB", "310 kB", "2.5 GB"]
    assert [seconds(n) for n in (0, 0.000085, 0.0042, 1.02, 75.3, 4000)] == [
        "0 s", "85 µs", "4.2 ms", "1.02 s", "75.3 s", "4000 s",
    ]  # fmt: skip
    assert [plural(n, "packet") for n in (0, 1, 1204)] == ["0 packets", "1 packet", "1,204 packets"]
    assert shorten("abcdef", 4) == "abc…"
