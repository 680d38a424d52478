"""Signals to programs in containers of this machine without Docker, which needs 50 ms to start a kill(1) beside each."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from labctl.engines.owner import number_inside


def send(number: int, inside: int, mark: str, name: str) -> bool:
    """Send SIG`name` to a process of this machine, by its number here; to that which has the mark in its environment alone.

    `inside` is its number in its own PID namespace. False where there is no such process to be seen or signalled from here, as
    with a daemon on another machine, another user's container, or a program that has cleared its environment: then nothing was
    sent. The process that is looked at is the one that is signalled, whatever becomes of its number (pidfd_open(2)).
    """
    try:
        process = os.pidfd_open(number)
    except (AttributeError, OSError):  # no Linux, or no such process
        return False
    try:
        environment = Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
        if mark.encode() not in environment or number_inside(str(number)) != inside:
            return False
        signal.pidfd_send_signal(process, signal.Signals[f"SIG{name}"])
    except OSError:
        return False
    finally:
        os.close(process)
    return True
