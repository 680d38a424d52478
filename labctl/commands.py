"""docs/commands.md, made from the commands themselves: `python -m labctl.commands docs/commands.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from labctl.cli import main

HEAD = """\
# Commands

Made from the program: `python -m labctl.commands docs/commands.md`. Exit codes of all of them: 0 done, every verdict pass or
skip · 1 an expectation failed · 2 bad usage or a bad scenario · 3 something that is needed is missing on this machine · 4 the
lab itself broke · 130 interrupted. With `--json` the result is on standard output and nothing else is.
"""


def render() -> str:
    """The page."""
    return HEAD + "".join(f"\n## labctl {name}\n\n{_body(name, command)}" for name, command in walk(main))


def walk(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command under its full name; groups give way to what is in them."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from walk(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def _body(name: str, command: click.Command) -> str:
    with click.Context(command, info_name=f"labctl {name}") as context:
        usage = " ".join(command.collect_usage_pieces(context))
        rows = [option.get_help_record(context) for option in command.params if isinstance(option, click.Option)]
    text = f"{command.help}\n\n    labctl {name} {usage}\n"
    shown = [f"| `{option}` | {_cell(meaning)} |\n" for option, meaning in (row for row in rows if row)]
    return text + ("\n| option | meaning |\n|---|---|\n" + "".join(shown) if shown else "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render(), encoding="utf-8")
