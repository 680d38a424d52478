"""The short way to a nursery of this machine: a folder of the driver's own, in which each nursery has a socket.

`docker exec` takes a tenth of a second to hand an agent its streams; through here the driver hands over its own. A daemon on
another machine, or one that may not write into that folder, leaves no socket there, and the driver goes the long way.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import tempfile
import threading
from pathlib import Path
from zlib import crc32

from labctl.engines.endpoint import chosen
from labctl.engines.owner import Owner

CONNECT_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 10.0
PIECE_BYTES = 65536


def folder(project: str) -> Path | None:
    """The folder for a lab's doors, made if need be; None where there can be none.

    Nobody else may come into it: whoever reaches a door may change the network of its host.
    """
    if not chosen().is_here:
        return None
    above = _above()
    try:
        above.mkdir(mode=0o700, exist_ok=True)
        found = above.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            return None
        (above / project).mkdir(exist_ok=True)
    except OSError:
        return None
    return above / project


def remove(project: str) -> None:
    """Remove a lab's folder, if there is one of this user's."""
    shutil.rmtree(_above() / project, ignore_errors=True)


def remove_dead(kind: str) -> None:
    """Remove the folders `<kind>-<owner>-...` of this user's whose owners (`Owner`) are gone."""
    for each in _above().glob(f"{kind}-*-*"):
        owner = Owner.parse(each.name.removeprefix(f"{kind}-").rpartition("-")[0])
        if owner is not None and not owner.is_alive():
            remove(each.name)


def name(host: str) -> str:
    """What a host's door is called: short, as a socket's path is (108 bytes, unix(7))."""
    return f"{crc32(host.encode()):08x}"


def _above() -> Path:
    return Path(tempfile.gettempdir()) / f"labctl-{os.getuid()}"


class DoorChannel:
    """An agent forked in a nursery that was reached through its door. Raises OSError when nobody answers there.

    The agent has the other end of our socket as its standard input, which ends when this process does.
    """

    def __init__(self, door: Path) -> None:
        self._socket, theirs = socket.socketpair()
        self._said, saying = os.pipe()
        self._ended = threading.Event()
        try:
            with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as nursery:
                nursery.settimeout(CONNECT_TIMEOUT_S)
                nursery.connect(str(door))
                socket.send_fds(nursery, [b"."], [theirs.fileno(), theirs.fileno(), saying])
        except OSError:
            self._close()
            raise
        finally:
            os.close(saying)
        os.set_blocking(self._said, False)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self) -> bytes:
        try:
            data = self._socket.recv(PIECE_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            self._ended.set()
        return data

    def errors(self) -> str:
        with contextlib.suppress(OSError):
            return os.read(self._said, PIECE_BYTES).decode(errors="replace")
        return ""

    def close(self) -> None:
        # Whoever reads hears the end of the agent's output when it has undone everything and exited.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._ended.wait(CLOSE_TIMEOUT_S)
        self._close()

    def _close(self) -> None:
        self._socket.close()
        if self._said >= 0:
            os.close(self._said)
            self._said = -1
