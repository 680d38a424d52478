"""Ctrl-C: what it interrupts, and what it has to wait for."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

# Ctrl-C, `kill`, and a terminal or a connection that was closed.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def interruptible() -> None:
    """The first SIGINT, SIGTERM or SIGHUP interrupts the run; what follows while it is being undone is ignored.

    A SIGHUP that was ignored from the start stays so: that is what nohup(1) asks for.
    """

    def interrupt(number: int, frame: object) -> None:  # noqa: ARG001
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in _SIGNALS:
        if each == signal.SIGINT or signal.getsignal(each) != signal.SIG_IGN:
            signal.signal(each, interrupt)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold those signals back while the block runs; one that came meanwhile is heard at its end.

    Undoing and saving go in here, so that they are done whole. Signals are handled by the main thread only, so in any
    other there is nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {each: signal.signal(each, lambda number, _: came.append(number)) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, signal.SIG_DFL if handler is None else handler)
        if came:
            signal.raise_signal(came[0])
