"""What is to be done when this process is gone, however it ends and whatever it has become by exec: by a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

from labctl.interrupts import SIGNALS


def when_gone(action: Callable[[], object]) -> None:
    """Have `action` done once this process has ended: killed, interrupted, or by itself. It says nothing to anybody.

    The other process holds one end of a pipe whose other end is this one's for life, also across exec; the kernel closes it.
    """
    ended, held = os.pipe()
    if (child := os.fork()) == 0:
        if os.fork() == 0:  # nobody's child: who this process becomes need not know of it
            with contextlib.suppress(BaseException):
                os.close(held)
                _apart()
                os.read(ended, 1)
                action()
        os._exit(0)
    os.waitpid(child, 0)
    os.close(ended)
    os.set_inheritable(held, True)


def _apart() -> None:
    """Hear no signal that is meant for the terminal's processes, and keep no stream open that others wait for the end of."""
    os.setsid()
    for each in (*SIGNALS, signal.SIGPIPE):
        signal.signal(each, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
