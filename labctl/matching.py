"""Regular expressions that are given up after a while: there are some that a few more characters keep busy for years."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
import threading
import time

from labctl.interrupts import handled

LIMIT_S = 10.0
SIMPLER = "write it so that no repeat stands within another, nor beside one that takes the same"
# Whoever waits for it may be killed and cannot end it then: the kernel does, by its processor time (getrlimit(2), RLIMIT_CPU).
# It is not tied to its parent as `docker compose` is (engines/compose.py): that takes a preexec_fn, which beside other threads
# may hang, before any limit holds (subprocess, preexec_fn).
_ELSEWHERE = """
import json, re, resource, sys
pattern, text, seconds = json.load(sys.stdin)
most = resource.getrlimit(resource.RLIMIT_CPU)[1]
seconds = seconds if most == resource.RLIM_INFINITY else min(seconds, most)
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
print(bool(re.search(pattern, text, re.MULTILINE)))
"""


class TooSlow(Exception):
    """An expression has given no answer in time."""


def matches(pattern: str, text: str, limit_s: float = LIMIT_S) -> bool:
    """Whether a regular expression is found in a text, in which ^ and $ stand at every line.

    Raises TooSlow when that is not known after `limit_s` seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        return _elsewhere(pattern, text, limit_s)

    def give_up(*_: object) -> None:
        raise TooSlow

    begun = time.monotonic()
    left_s, interval_s = 0.0, 0.0
    try:
        # What matches, in C, looks for signals every few thousand steps (_sre, MAYBE_CHECK_SIGNALS).
        with handled(give_up, [signal.SIGALRM]):
            left_s, interval_s = signal.setitimer(signal.ITIMER_REAL, limit_s)
            try:
                return re.search(pattern, text, re.MULTILINE) is not None
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        if left_s:  # somebody else's goes on; one that came meanwhile comes now
            signal.setitimer(signal.ITIMER_REAL, max(left_s - (time.monotonic() - begun), 1e-6), interval_s)


def _elsewhere(pattern: str, text: str, limit_s: float) -> bool:
    """The same by another process: signals are handled by the main thread, which the match would keep from doing so."""
    asked = json.dumps([pattern, text, math.ceil(limit_s) + 1])
    try:
        done = subprocess.run(
            [sys.executable, "-S", "-E", "-c", _ELSEWHERE], input=asked, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, encoding="ascii", timeout=limit_s, check=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise TooSlow from None
    return done.stdout == "True\n"
