"""Waiting for another process's Unix socket: its file is there before anybody can connect to it."""

from __future__ import annotations

import time
from pathlib import Path

SOCKETS = Path("/proc/net/unix")
ACCEPTS = 0x10000  # __SO_ACCEPTCON (linux/net.h): listen(2) was called


def wait_until_listening(path: Path, timeout_s: float = 10.0) -> None:
    """Until somebody listens at `path`, between bind(2) and which a busy machine may stand still (proc(5), /proc/net/unix)."""
    deadline = time.monotonic() + timeout_s
    while not any(words[7:] == [str(path)] and int(words[3], 16) & ACCEPTS for words in _sockets()):
        assert time.monotonic() < deadline, f"nobody listens at {path}"
        time.sleep(0.01)


def _sockets() -> list[list[str]]:
    return [line.split(maxsplit=7) for line in SOCKETS.read_text(encoding="utf-8").splitlines()[1:]]
