"""What is fed to iptables-restore, as the commands that it stands for: for kernels that are made up."""

from __future__ import annotations

from labctl.agent.command import Argv


def commands(argv: Argv, stdin: str) -> list[Argv]:
    """Each rule as the iptables command that would make it, in order; empty where `argv` is no iptables-restore.

    It must be one transaction on one table that leaves alone what is there, or the made-up kernel could not take it.
    """
    tool, is_restore, _ = argv[0].partition("-restore")
    if not is_restore:
        return []
    table, *rules, commit = stdin.splitlines()
    assert (argv[1:], table[0], commit) == (("--noflush", "-w", "5"), "*", "COMMIT"), (argv, stdin)
    named = () if table == "*filter" else ("-t", table[1:])
    return [(tool, "-w", "5", *named, *_words(rule)) for rule in rules]


def _words(line: str) -> list[str]:
    """A chain is made by `:CHAIN - [0:0]`."""
    return ["-N", line[1:].split(maxsplit=1)[0]] if line.startswith(":") else line.split()
