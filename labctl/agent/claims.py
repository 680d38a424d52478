"""Whose a chain or a qdisc is: an agent that lives holds a socket of its name, so what nobody holds is a dead agent's.

Several agents may live in one network namespace (a run's, and the one that holds what is broken by hand), and one that was
killed took nothing back. The sockets are abstract ones (unix(7)): each network namespace has its own, and the kernel closes
them with the process, however it ends.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


def _address(name: str) -> str:
    return f"\0labctl/{name}"


def is_held(name: str) -> bool:
    """Whether a process in this network namespace holds the name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(_address(name))  # a datagram socket: the holder hears nothing of it, and need not answer
        except ConnectionRefusedError:
            return False
    return True


@dataclass
class Claims:
    """The names that this process holds. Thread-safe."""

    _held: dict[str, socket.socket] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hold(self, name: str) -> bool:
        """Hold a name from now on; False when another process has it. Held already: nothing happens."""
        with self._lock:
            if name in self._held:
                return True
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                channel.bind(_address(name))
            except OSError:
                channel.close()
                return False
            self._held[name] = channel
            return True

    def release(self, name: str) -> None:
        """Let a name go; what was made under it is gone."""
        with self._lock:
            if channel := self._held.pop(name, None):
                channel.close()

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Hold a name while the block runs."""
        self.hold(name)
        try:
            yield
        finally:
            self.release(name)

    def close(self) -> None:
        """Let everything go."""
        for name in list(self._held):
            self.release(name)
