"""A regular expression is found or not, or given up: in no thread does one keep a run for longer than it may."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from labctl.matching import _ELSEWHERE, TooSlow, matches

Matches = Callable[..., bool]
SLOW = ("^(a+)+$", "a" * 46 + "!")


def in_a_thread(*arguments: object) -> bool:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(matches, *arguments).result()  # type: ignore[arg-type]


EVERYWHERE = pytest.mark.parametrize("search", [matches, in_a_thread], ids=["the main thread", "another thread"])


@EVERYWHERE
@pytest.mark.parametrize(
    ("pattern", "text", "is_found"),
    [("^b.d$", "a\nbcd\ne", True), ("^c", "abc", False), ("é\ud800?$", "caf\u00e9\ud800\n", True), ("", "", True)],
)
def test_what_is_there_is_found(search: Matches, pattern: str, text: str, is_found: bool) -> None:
    """Line by line, and whatever characters a program's output is read as."""
    assert search(pattern, text) is is_found


@EVERYWHERE
@pytest.mark.parametrize(
    ("pattern", "text"), [SLOW, ("(.*)*x", "b" * 40), (".*.*.*.*x", "a" * 5000), ("(a|aa)+$", "a" * 60 + "!")]
)
def test_what_takes_too_long_is_given_up(search: Matches, pattern: str, text: str) -> None:
    """Also what would take years; and the next answers again."""
    with pytest.raises(TooSlow):
        search(pattern, text, 0.1)
    assert search("b", "abc")


def test_a_search_ends_though_nobody_is_left_to_end_it() -> None:
    """Another process does it, and whoever waits for that may be killed: it would go on for years."""
    asked = json.dumps([*SLOW, 1])
    done = subprocess.run([sys.executable, "-S", "-E", "-c", _ELSEWHERE], input=asked, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL


def test_a_timer_of_somebody_elses_goes_on() -> None:
    """A program that uses labctl may have one of its own, and its own handler."""
    heard: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: heard.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 3600)
        assert matches("b", "abc")
        assert 3500 < signal.getitimer(signal.ITIMER_REAL)[0] <= 3600
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(TooSlow):
            matches(*SLOW, 0.1)
        deadline = time.monotonic() + 10
        while not heard:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
