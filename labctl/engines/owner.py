"""Who made a lab, so that what a dead driver left behind can be told from what a live one uses."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """A process on one boot of one machine: number and start time together name it for ever (proc_pid_stat(5), field 22)."""

    boot: str
    pid: int
    started: int

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        return cls(_boot_id(), os.getpid(), _started(os.getpid()) or 0)

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """From its label, or None when it is none."""
        boot, _, rest = text.partition(":")
        pid, _, started = rest.partition(":")
        return cls(boot, int(pid), int(started)) if pid.isdecimal() and started.isdecimal() else None

    def __str__(self) -> str:
        return f"{self.boot}:{self.pid}:{self.started}"

    def is_alive(self) -> bool:
        """Whether that very process runs now. One of another boot of this machine is dead.

        One of another machine that shares the Docker daemon cannot be seen from here and would be called dead, so
        `labctl gc` is for the machine that the runs were started on.
        """
        return self.boot == _boot_id() and _started(self.pid) == self.started


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # not Linux: processes are still told apart by number within one boot
        return "unknown"


def _started(pid: int) -> int | None:
    if not Path("/proc/self/stat").exists():  # not Linux: a process has no known start time, only a number
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return 0
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])
