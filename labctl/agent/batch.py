"""Many commands in one process: `tc -batch`, `ip -batch`, `iptables-restore`. One start, not ten; rules appear at once."""

from __future__ import annotations

from collections.abc import Sequence

from .command import Argv, Ran, Runner, run

IPTABLES = ("iptables", "ip6tables")


def batch(tool: Argv, lines: Sequence[str], commands: Sequence[Argv], runner: Runner = run) -> list[Ran]:
    """Feed `lines` to one process; answers with it and, for the record, each command it stands for, all ending as it did."""
    done = runner(tool, stdin="\n".join(lines) + "\n")
    each = (Ran(argv, done.exit, "", "" if done.ok else done.err, done.ms, done.ended) for argv in commands)
    return [done, *each]


def tc(commands: list[Argv]) -> list[Ran]:
    """tc(8) commands in order, each with its leading `tc`; stops at the first that fails."""
    return batch(("tc", "-batch", "-"), [" ".join(c[1:]) for c in commands], commands) if commands else []


def ip(commands: list[Argv], runner: Runner = run) -> list[Ran]:
    """ip(8) commands in order, each with its leading `ip`, or all of them with `ip -6`; stops at the first that fails."""
    if not commands:
        return []
    options = commands[0][1:2] if commands[0][1].startswith("-") else ()
    lines = [" ".join(c[1 + len(options) :]) for c in commands]
    return batch(("ip", *options, "-batch", "-"), lines, commands, runner)


def iptables(tool: str, table: str, rules: Sequence[Argv], runner: Runner = run) -> list[Ran]:
    """Rules of one table, all in place at once or none (iptables-restore(8), --noflush: what is there stays).

    A rule is what follows `iptables -t TABLE`; `-N CHAIN` makes the chain, or empties one that is there.
    """
    lines = [f":{rule[1]} - [0:0]" if rule[0] == "-N" else " ".join(rule) for rule in rules]
    named = () if table == "filter" else ("-t", table)
    commands = [(tool, "-w", "5", *named, *rule) for rule in rules]
    argv = (f"{tool}-restore", "--noflush", "-w", "5")
    return batch(argv, [f"*{table}", *lines, "COMMIT"], commands, runner) if rules else []
