"""Agents for a lab that stands: they are forked from a Python that has everything imported already.

Starting an agent takes a container (0.1 s) and a Python with the agent's modules (0.3 s and more). On a lab that stands both
are there: `python3 -m agent.nursery` listens on a Unix socket; `nursery.py ask`, started by the engine, hands it its own
standard streams (SCM_RIGHTS, unix(7)), and the nursery forks an agent that has them. The agent then lives as any other:
when its standard input ends, whatever the reason, it undoes everything and exits.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

SOCKET = "/run/labctl-nursery"
STREAMS = 3


def serve(path: str = SOCKET) -> None:
    """Fork an agent for each that asks, for ever."""
    from . import __main__ as agent

    # One thread only, ever: a fork of several would have the locks of threads that are not in it.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel takes away what has ended (sigaction(2))
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    while True:
        caller, _ = listener.accept()
        _, streams, _, _ = socket.recv_fds(caller, 1, STREAMS)
        if len(streams) == STREAMS and os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an agent waits for its commands
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            for stream in streams:
                os.close(stream)
            agent.main()  # never returns; `caller` is closed when the agent ends, which the one who asked waits for
        for stream in streams:
            os.close(stream)
        caller.close()


def ask(path: str = SOCKET) -> int:
    """Have an agent forked that has our standard streams, and wait until it has ended; 1 when nobody serves."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as nursery:
        try:
            nursery.connect(path)
            socket.send_fds(nursery, [b"."], range(STREAMS))
        except OSError as error:
            print(f"no nursery answers at {path}: {error.strerror}", file=sys.stderr)
            return 1
        # We stay until the agent has ended: Docker holds the streams to be over when the one it started exits.
        with contextlib.suppress(OSError):
            nursery.recv(1)
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["ask"]:
        sys.exit(ask())
    serve()
