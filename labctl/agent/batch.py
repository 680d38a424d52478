"""Many commands in one process: `tc -batch`, `ip -batch`, `iptables-restore`. One start, not ten; rules appear at once."""

from __future__ import annotations

import subprocess
import time

from .command import TIMEOUT_S, Ran

Argv = tuple[str, ...]


def batch(tool: Argv, lines: list[str], commands: list[Argv]) -> list[Ran]:
    """Feed `lines` to one process; answers with it and, for the record, each command it stands for, all ending as it did."""
    start = time.monotonic()
    status, out, err = _feed(tool, lines)
    ms = round((time.monotonic() - start) * 1000, 3)
    ended = time.time()
    each = (Ran(argv, status, "", err if status else "", ms, ended) for argv in commands)
    return [Ran(tool, status, out, err, ms, ended), *each]


def tc(commands: list[Argv]) -> list[Ran]:
    """tc(8) commands in order, each with its leading `tc`; stops at the first that fails."""
    return batch(("tc", "-batch", "-"), [" ".join(c[1:]) for c in commands], commands) if commands else []


def ip(commands: list[Argv]) -> list[Ran]:
    """ip(8) commands in order, each with its leading `ip`; stops at the first that fails."""
    return batch(("ip", "-batch", "-"), [" ".join(c[1:]) for c in commands], commands) if commands else []


def iptables(tool: str, table: str, rules: list[Argv]) -> list[Ran]:
    """Rules of one table, all in place at once or none (iptables-restore(8), --noflush: what is there stays).

    A rule is what follows `iptables -t TABLE`; `-N CHAIN` makes the chain, or empties one that is there.
    """
    lines = [f":{rule[1]} - [0:0]" if rule[0] == "-N" else " ".join(rule) for rule in rules]
    commands = [(tool, "-w", "5", "-t", table, *rule) for rule in rules]
    return batch((f"{tool}-restore", "--noflush", "-w", "5"), [f"*{table}", *lines, "COMMIT"], commands) if rules else []


def _feed(tool: Argv, lines: list[str]) -> tuple[int | None, str, str]:
    try:
        done = subprocess.run(
            tool, input="\n".join(lines) + "\n", capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S,
            check=False, close_fds=False,
        )  # fmt: skip
    except OSError as error:
        return None, "", f"{tool[0]}: {error.strerror}"
    except subprocess.TimeoutExpired:
        return None, "", f"{tool[0]}: not ended after {TIMEOUT_S:g}s"
    return done.returncode, done.stdout, done.stderr
