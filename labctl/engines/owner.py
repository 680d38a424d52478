"""Who made a lab, so that what a dead driver left behind can be told from what a live one uses."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# The inode of the first PID namespace of a machine, from which every process can be seen (PROC_PID_INIT_INO, linux/proc_ns.h).
INITIAL_NAMESPACE = 0xEFFFFFFC


@dataclass(frozen=True)
class Owner:
    """A process on one boot of one machine: number and start time together name it for ever (proc_pid_stat(5), field 22).

    The number is that of its own PID namespace (pid_namespaces(7)), which `namespace` is the inode of; 0 where nobody knows.
    """

    boot: str
    pid: int
    started: int
    namespace: int = 0

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        return cls(_boot_id(), os.getpid(), _started(os.getpid()) or 0, _namespace("self"))

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """From its label, or None when it is none."""
        boot, *numbers = text.split(":")
        if len(numbers) not in (2, 3) or not all(number.isdecimal() for number in numbers):
            return None
        return cls(boot, *map(int, numbers))

    def __str__(self) -> str:
        return f"{self.boot}:{self.pid}:{self.started}:{self.namespace}"

    def is_alive(self) -> bool:
        """Whether that very process runs now. One of another boot of this machine is dead.

        One in a PID namespace that cannot be seen from here (this is a container, and it is none of ours) counts as alive.
        One of another machine that shares the Docker daemon cannot be seen from here and would be called dead, so
        `labctl gc` is for the machine that the runs were started on.
        """
        if self.boot != _boot_id():
            return False
        here = _namespace("self")
        if self.namespace in (0, here) or not here:
            return _started(self.pid) == self.started
        return here != INITIAL_NAMESPACE or any(map(self._is, _processes()))

    def _is(self, pid: str) -> bool:
        """Whether the process of this number here is that one, which has another number in its own namespace."""
        return _namespace(pid) == self.namespace and number_inside(pid) == self.pid and _started(int(pid)) == self.started


def _processes() -> list[str]:
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _namespace(pid: str) -> int:
    try:
        return Path(f"/proc/{pid}/ns/pid").stat().st_ino
    except OSError:  # not Linux, or another user's process, or gone
        return 0


def number_inside(pid: str) -> int | None:
    """The number of a process in the innermost of its PID namespaces (proc_pid_status(5), NSpid)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith("NSpid:")), "")
    return int(found.split()[-1]) if found else None


def is_alive(owner: Owner | None) -> bool:
    """Whether an owner that may not even be known runs now."""
    return owner is not None and owner.is_alive()


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
