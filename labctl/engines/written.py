"""What a program has written, as far as it is kept, and what the shell that starts it says of it."""

from __future__ import annotations

import re

# What a program's output may grow to in the driver's memory: its beginning, and its end, where programs say how it went.
HEAD_BYTES = 16 * 2**20
TAIL_BYTES = 64 * 2**10

# A process started by exec can be signalled only by its number inside the container, which Docker does not tell. A shell
# says it and becomes the program; `sh` is all that this asks of an image. When it cannot become the program it says that too:
# the status alone (126, 127) may be the program's own. After a failed exec dash and BusyBox end and run their EXIT trap, bash
# goes on where `execfail` is set. Its first argument is for others to read: whose program it is (`leftovers.program_mark`).
LAUNCHER = (
    "sh", "-c",
    'shift; echo "labctl-pid $$" >&2; shopt -s execfail 2>/dev/null; trap "echo labctl-not-run >&2" EXIT; '
    'exec "$@"; status=$?; echo labctl-not-run >&2; exit "$status"',
    "sh",
)  # fmt: skip
_PID = re.compile(rb"labctl-pid (\d+)\n")
_NOT_RUN = b"labctl-not-run\n"


class Written:
    """One stream of a program: its first HEAD_BYTES, and of what came after that the last TAIL_BYTES."""

    def __init__(self) -> None:
        self._head, self._tail = bytearray(), bytearray()
        self._total = 0

    def add(self, data: bytes) -> None:
        """Take in what was written next."""
        self._total += len(data)
        room = max(0, HEAD_BYTES - len(self._head))
        self._head += data[:room]
        self._tail += data[room:]
        del self._tail[:-TAIL_BYTES]

    @property
    def left_out(self) -> int:
        """How many bytes between the beginning and the end were not kept."""
        return self._total - len(self._head) - len(self._tail)

    def kept(self) -> bytes:
        """All of it, or its beginning and its end with a line between them that says how much is missing."""
        if not self.left_out:
            return bytes(self._head + self._tail)
        return bytes(self._head) + b"\n[labctl: %d bytes left out here]\n" % self.left_out + self._tail


class Errors(Written):
    """The standard error of a program that LAUNCHER starts: without what LAUNCHER says, which is kept apart."""

    def __init__(self) -> None:
        super().__init__()
        self.pid: int | None = None
        self.not_run = False

    def add(self, data: bytes) -> None:
        super().add(data)
        if self.pid is None and (match := _PID.search(self._head)):
            self.pid = int(match[1])
            self._take_out(match[0])
        if self.pid is not None and _NOT_RUN in self._head[-4096:]:
            self.not_run = True
            while _NOT_RUN in self._head[-4096:]:
                self._take_out(_NOT_RUN)

    def _take_out(self, words: bytes) -> None:
        at = self._head.rfind(words)
        del self._head[at : at + len(words)]
        self._total -= len(words)
