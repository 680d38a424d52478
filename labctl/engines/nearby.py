"""Programs in containers of this machine, without Docker: signals, for which it needs 50 ms to start a kill(1) beside each, and
their ends, which it tells only when their output has ended as well, or after two seconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from labctl.engines.owner import number_inside

FIRST = 1  # the number of the first process of a PID namespace in it (pid_namespaces(7))


def send(number: int, inside: int, mark: str, name: str) -> bool:
    """Send SIG`name` to a process of this machine. False where none is seen or can be signalled; nothing was sent then."""
    process = handle(number, inside, mark)
    if process is None:
        return False
    try:
        signal.pidfd_send_signal(process, signal.Signals[f"SIG{name}"])
    except OSError:
        return False
    finally:
        os.close(process)
    return True


def handle(number: int, inside: int, mark: str) -> int | None:
    """A descriptor of a process of this machine, by its number here: of that which has the mark in its environment alone.

    `inside` is its number in its own PID namespace. None where there is no such process to be seen from here, as with a daemon
    on another machine, another user's container, or a program that has cleared its environment. The process that was looked at
    is the one that the descriptor is of, whatever becomes of its number (pidfd_open(2)): it can be polled for its end.
    """
    try:
        process = os.pidfd_open(number)
    except (AttributeError, OSError):  # no Linux, or no such process
        return None
    with contextlib.suppress(OSError):
        if _bears(Path(f"/proc/{number}"), mark) and number_inside(str(number)) == inside:
            return process
    os.close(process)
    return None


def sees(number: int, container: str) -> bool:
    """Whether the process of that number here is one of a container (its ID), so that whose others are not here are nowhere."""
    with contextlib.suppress(OSError):
        return container in Path(f"/proc/{number}/cgroup").read_text(encoding="utf-8", errors="replace")
    return False


def goes_on(first: int, container: str, mark: str) -> bool | None:
    """Whether something in a container of this machine has the mark in its environment, as all has that a program forked.

    `first` is the number here of the container's first process. None wherever that cannot be seen.
    """
    if not sees(first, container):
        return None
    try:
        processes = [each for each in _inside(first).iterdir() if each.name.isdigit() and each.name != str(FIRST)]
    except OSError:
        return None
    found: bool | None = False
    for each in processes:
        try:
            if _bears(each, mark):
                return True
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        except OSError:
            found = None
    return found


def has_ended(first: int, container: str, inside: int) -> bool:
    """Whether a container of this machine has no process of that number in it any more, by the /proc that it has itself.

    `first` is the number here of the container's first process. False wherever that cannot be seen.
    """
    processes = _inside(first)
    try:
        state = (processes / str(inside) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return (processes / str(FIRST) / "stat").exists() and sees(first, container)
    except (OSError, IndexError):
        return False
    return state in ("Z", "X") and sees(first, container)


def _inside(first: int) -> Path:
    """What a container has as /proc, by the number here of its first process."""
    return Path(f"/proc/{first}/root/proc")


def _bears(process: Path, mark: str) -> bool:
    """Whether a process, by its folder in some /proc, has a variable in its environment, NAME=VALUE. Raises OSError."""
    return mark.encode() in (process / "environ").read_bytes().split(b"\0")
