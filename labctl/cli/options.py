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


class NamedPath(click.Path):
    """A path that was given: an empty one, as of a variable that is not set, would mean the current folder."""

    def __init__(self, exists: bool = False) -> None:
        super().__init__(path_type=Path, exists=exists)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("an empty name is no file's and no folder's; write . for the current folder", param, ctx)
        return super().convert(value, param, ctx)


def lab_named(ctx: click.Context, param: click.Parameter, name: str | None) -> str | None:  # noqa: ARG001
    """The name of a standing lab, as `labctl up` takes it. Raises UsageError."""
    from labctl.engines.labels import lab_name

    return None if name is None else lab_name(name)


PATHS = click.argument(
    "paths", nargs=-1, required=True, type=NamedPath(), shell_complete=offers("scenarios")
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
RUN = click.argument("run", type=NamedPath(exists=True), shell_complete=offers("runs"))
LAB = click.option(
    "--lab", metavar="NAME", callback=lab_named, shell_complete=offers("labs"),
    help="Which standing lab, when there are several.",
)  # fmt: skip
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
