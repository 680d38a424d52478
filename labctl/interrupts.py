"""Ctrl-C: what it interrupts, and what it has to wait for."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

# Ctrl-C, `kill`, and a terminal or a connection that was closed.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

AGAIN_S = 0.01


def heard() -> tuple[int, ...]:
    """Those of the signals that a command hears.

    A SIGHUP that was ignored from the start stays so: that is what nohup(1) asks for. A SIGINT that was is none that anybody
    asked for: a shell starts what it puts in the background so (sh, 2.11, Signals and Error Handling).
    """
    return tuple(each for each in SIGNALS if each == signal.SIGINT or signal.getsignal(each) != signal.SIG_IGN)


def interruptible() -> Callable[[], bool]:
    """The first SIGINT, SIGTERM or SIGHUP interrupts the run; what follows while it is being undone is ignored.

    The exception comes anywhere: what calls back from C (weak references, pydantic's validators) may lose it, and then it comes
    again, or make another error of it, and then whoever gets that can ask whether one has come, which is the answer.
    """
    came: list[int] = []
    told = sys.unraisablehook

    def interrupt(number: int, frame: object) -> None:  # noqa: ARG001
        came.append(number)
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    def lost(what: sys.UnraisableHookArgs) -> None:
        if what.exc_type is not KeyboardInterrupt or threading.current_thread() is not threading.main_thread():
            told(what)
            return
        signal.signal(signal.SIGINT, interrupt)
        again = threading.Timer(AGAIN_S, interrupt_main)  # not here, where it would be lost as well
        again.daemon = True
        again.start()

    for each in heard():
        signal.signal(each, interrupt)
    sys.unraisablehook = lost
    return lambda: bool(came)


def interrupt_main() -> None:
    """Interrupt the main thread from another, whatever it waits for."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


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
    try:
        with handled(lambda number, _: came.append(number), SIGNALS):
            yield
    finally:
        if came:
            signal.raise_signal(came[0])


@contextlib.contextmanager
def handled(handler: Callable[[int, FrameType | None], object], numbers: Iterable[int]) -> Iterator[None]:
    """These signals have that handler while the block runs, and then what they had before."""
    before = {each: signal.signal(each, handler) for each in numbers}
    try:
        yield
    finally:
        for each, former in before.items():  # None: it was not set by Python, and cannot be set back
            signal.signal(each, signal.SIG_DFL if former is None else former)


@contextlib.contextmanager
def noticed() -> Iterator[Callable[[], bool]]:
    """Those signals interrupt nothing while the block runs, which asks whether one has come.

    Once one has, what follows is ignored for good, as after an interrupt.
    """
    came: list[int] = []
    before = {each: signal.signal(each, lambda number, _: came.append(number)) for each in heard()}
    try:
        yield lambda: bool(came)
    finally:
        for each, handler in before.items():
            signal.signal(each, signal.SIG_IGN if came else signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def withheld() -> Iterator[None]:
    """Processes that are started in the block, and those that they start, hear of these signals once they `listen`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def listen() -> None:
    """Hear of the signals that were withheld from this process, also of those that came meanwhile."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
