"""What is fed to one process, as the commands that it stands for: for kernels that are made up."""

from __future__ import annotations

from labctl.agent.command import Argv


def commands(argv: Argv, stdin: str) -> list[Argv]:
    """Each command that is fed to iptables-restore, or to `ip -batch -`, in order; empty where `argv` is neither."""
    if argv[-2:] == ("-batch", "-"):
        return [(*argv[:-2], *line.split()) for line in stdin.splitlines()]
    tool, is_restore, _ = argv[0].partition("-restore")
    return _rules(tool, argv[1:], stdin) if is_restore else []


def _rules(tool: str, options: Argv, stdin: str) -> list[Argv]:
    """It must be one transaction on one table that leaves alone what is there, or the made-up kernel could not take it."""
    table, *rules, commit = stdin.splitlines()
    assert (options, table[0], commit) == (("--noflush", "-w", "5"), "*", "COMMIT"), (tool, options, stdin)
    named = () if table == "*filter" else ("-t", table[1:])
    return [(tool, "-w", "5", *named, *_words(rule)) for rule in rules]


def _words(line: str) -> list[str]:
    """A chain is made by `:CHAIN - [0:0]`."""
    return ["-N", line[1:].split(maxsplit=1)[0]] if line.startswith(":") else line.split()
