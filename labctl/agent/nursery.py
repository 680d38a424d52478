"""Agents for a lab that stands: they are forked from a Python that has everything imported already.

Starting an agent takes a container (0.1 s) and a Python with the agent's modules (0.3 s and more). On a lab that stands both
are there: `python3 -m agent.nursery` listens on a Unix socket; `nursery.py ask`, started by the engine, hands it its own
standard streams (SCM_RIGHTS, unix(7)), and the nursery forks an agent that has them. The agent then lives as any other:
when its standard input ends, whatever the reason, it undoes everything and exits. Where the driver is on the same machine it
has a folder of its own mounted here (DOORS), and hands its streams over itself, through a second socket in that folder.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

SOCKET = "/run/labctl-nursery"
DOORS = "/run/labctl-doors"
STREAMS = 3
READY_TIMEOUT_S = 25.0
POLL_S = 0.02


def serve(path: str = SOCKET, door: str | None = None) -> None:
    """Fork an agent for each that asks, for ever, at one socket or at two; a door that cannot be made is done without."""
    from . import __main__ as agent
    from .probes import has_netem

    has_netem()  # it takes a while, and what is known here every agent knows
    # One thread only, ever: a fork of several would have the locks of threads that are not in it.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel takes away what has ended (sigaction(2))
    listeners = [_listen(path)]
    if door is not None:
        with contextlib.suppress(OSError):
            listeners.append(_listen(door))
            Path(door).chmod(0o666)  # who may come here is for the folder to say, which is the driver's own
    while True:
        (listener, *_), _, _ = select.select(listeners, [], [])
        caller, _ = listener.accept()
        _, streams, _, _ = socket.recv_fds(caller, 1, STREAMS)
        if len(streams) == STREAMS and os.fork() == 0:
            for each in listeners:
                each.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an agent waits for its commands
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            for stream in streams:
                os.close(stream)
            agent.main()  # never returns; `caller` is closed when the agent ends, which the one who asked waits for
        for stream in streams:
            os.close(stream)
        caller.close()


def _listen(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    return listener


def ask(path: str = SOCKET, wait_s: float = READY_TIMEOUT_S) -> int:
    """Have an agent forked that has our standard streams, and wait until it has ended; 1 when nobody serves.

    A nursery that has begun this moment serves once it knows its kernel: it has `wait_s` seconds for that.
    """
    deadline = time.monotonic() + wait_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as nursery:
        while True:
            try:
                nursery.connect(path)
                socket.send_fds(nursery, [b"."], range(STREAMS))
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    print(f"no nursery answers at {path}: {error.strerror}", file=sys.stderr)
                    return 1
                time.sleep(POLL_S)
        # We stay until the agent has ended: Docker holds the streams to be over when the one it started exits.
        with contextlib.suppress(OSError):
            nursery.recv(1)
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["ask"]:
        sys.exit(ask())
    if sys.argv[2:]:
        from .forks import serve as serve_forks

        serve_forks()
    serve(door=f"{DOORS}/{sys.argv[1]}" if sys.argv[1:] else None)
