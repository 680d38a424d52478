"""Options and arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from labctl.errors import UsageError


def offers(what: str) -> Any:
    """What the shell offers for a word, by the name of a function in `labctl.completing`; imported only when it is asked."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
        import labctl.completing

        return getattr(labctl.completing, what)(ctx, param, incomplete)

    return complete


PATHS = click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), shell_complete=offers("scenarios")
)
WORDS = click.option("-k", "words", multiple=True, metavar="WORD", help="Only scenarios with this in their name; repeatable.")
TAGS = click.option(
    "--tag", "tags", multiple=True, metavar="TAG", shell_complete=offers("tags"),
    help="Only scenarios with this tag; repeatable.",
)  # fmt: skip
CASES = click.option(
    "--case", "cases", multiple=True, metavar="NAME", shell_complete=offers("cases"),
    help="Only this case of scenarios that have cases; repeatable.",
)  # fmt: skip
SET = click.option(
    "--set", "sets", multiple=True, metavar="NAME=VALUE", shell_complete=offers("parameters"),
    help="Change a parameter of the scenario.",
)  # fmt: skip
RUN = click.argument("run", type=click.Path(path_type=Path, exists=True), shell_complete=offers("runs"))
LAB = click.option("--lab", metavar="NAME", help="Which standing lab, when there are several.", shell_complete=offers("labs"))
HOST = click.argument("host", shell_complete=offers("hosts"))
SEEDS = click.IntRange(0, 2**31 - 1)
BACKENDS = click.Choice(["auto", "netem", "nfqueue"])


def overrides(sets: tuple[str, ...]) -> dict[str, str]:
    """`k=v` pairs as a mapping. Raises UsageError."""
    found = {}
    for item in sets:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {item}: write NAME=VALUE")
        found[name] = value
    return found
