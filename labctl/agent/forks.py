"""tshark without its start: forked from one that waits with all its dissectors registered (images/agent/tshark_forks.c).

Registering them is most of what a dissection costs a short run: 0.15 s of processor time for each host. On a lab that stands
one tshark has done it for all hosts: it waits in one nursery's container, at a socket in the folder that all of them share.
Where one command has many runs it waits in a container of its own (`python3 -m agent.forks`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import subprocess
from typing import IO, Any

from .nursery import DOORS

SOCKET = f"{DOORS}/tshark"
PRELOAD = "/usr/local/lib/labctl/tshark_forks.so"
VARIABLE = "LABCTL_FORKS"
MOST_BYTES = 128 * 1024  # as tshark_forks.c takes
_STATUS = struct.Struct("=i")


def serve(path: str = SOCKET) -> subprocess.Popen[bytes]:
    """Start the one that waits. It is told a file to read, as otherwise it would get ready to capture."""
    nowhere = subprocess.DEVNULL
    environment = os.environ | {"LD_PRELOAD": PRELOAD, VARIABLE: path}
    return subprocess.Popen(["tshark", "-r", "-"], stdin=nowhere, stdout=nowhere, stderr=nowhere, env=environment)


def main() -> None:
    """Have it wait until standard input ends."""
    waiting = serve()
    while os.read(0, 65536):
        pass
    waiting.kill()


class Forked:
    """A process that was forked there, to be used as a subprocess.Popen with a pipe to its standard input is."""

    def __init__(self, argv: list[str], stdout: IO[Any], stderr: IO[Any], path: str = SOCKET) -> None:
        """Raises OSError when nobody forks at `path`, or when the command line is too long for that."""
        self._caller = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._returned: int | None = None
        reads, writes = os.pipe()
        try:
            self.stdin = os.fdopen(writes, "wb")
            self._caller.connect(path)
            words = b"".join(word.encode() + b"\0" for word in argv)
            if len(words) > MOST_BYTES:
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            socket.send_fds(self._caller, [words], [reads, stdout.fileno(), stderr.fileno()])
        except OSError:
            self.stdin.close()
            self._caller.close()
            raise
        finally:
            os.close(reads)

    def poll(self) -> int | None:
        """Its exit status, or minus the number of the signal that ended it; None while it runs."""
        try:
            return self.wait(0.0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """As `poll`, when it has ended. Raises subprocess.TimeoutExpired after so many seconds."""
        if self._returned is None:
            self._caller.settimeout(timeout)
            try:
                said = self._caller.recv(_STATUS.size)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("tshark", timeout or 0.0) from None
            except ConnectionError:
                said = b""
            # Without a word: whoever waited for it was killed, and it with that (PR_SET_PDEATHSIG).
            self._returned = _STATUS.unpack(said)[0] if said else -9
            self._caller.close()
        return self._returned

    def kill(self) -> None:
        """End it; `wait` then says how it ended."""
        with contextlib.suppress(OSError):  # what it did not read
            self.stdin.close()
        if self._returned is None:
            self._caller.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
