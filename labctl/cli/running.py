"""labctl run: scenarios in, a summary of each out, and the files over all of them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labctl.cli.options import BACKENDS, CASES, PATHS, SEEDS, SET, TAGS, WORDS, NamedPath, offers, overrides
from labctl.cli.output import (
    Quiet,
    Telling,
    console_for,
    echo_json,
    ended_at_once,
    read_or_not,
    say,
    told,
    try_to_write,
    write_file,
)
from labctl.errors import LabctlError
from labctl.interrupts import interruptible

if TYPE_CHECKING:
    from rich.console import Console

    from labctl.api import Options, Run
    from labctl.report.terminal import Plain, Rich
    from labctl.scenario.loader import Loaded

INDEX = "index.html"


@click.command()
@PATHS
@SET
@WORDS
@TAGS
@CASES
@click.option(
    "--jobs", "-j", default=1, show_default=True, type=click.IntRange(1, 64), help="How many runs at once."
)
@click.option(
    "--out",
    default=Path("runs"),
    show_default=True,
    type=NamedPath(),
    help="Where run directories go.",
)
@click.option("--lab", metavar="NAME", help="Use a standing lab (labctl up).", shell_complete=offers("labs"))
@click.option("--keep", is_flag=True, help="Leave the lab up afterwards, as one that stands.")
@click.option("--junit", type=NamedPath(), help="Also write a JUnit file over all runs.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else, on stdout."
)
@click.option(
    "--link-backend", type=BACKENDS, default="auto", show_default=True,
    help="What makes link faults: the kernel's netem or our emulator.",
)  # fmt: skip
@click.option(
    "--markdown",
    type=NamedPath(),
    help="Also write a Markdown summary, for a pull request or a CI job.",
)
@click.option("--seed", type=SEEDS, help="For everything random; recorded in the result.")
def run(
    paths: tuple[Path, ...], sets: tuple[str, ...], jobs: int, out: Path, lab: str | None, keep: bool,
    junit: Path | None, markdown: Path | None, as_json: bool, seed: int | None, link_backend: str,
    words: tuple[str, ...], tags: tuple[str, ...], cases: tuple[str, ...],
) -> None:  # fmt: skip
    """Run scenarios, or folders of them, and judge what was seen."""
    with ended_at_once():
        from labctl import api

        options = api.Options(out, overrides(sets), lab, keep, seed, link_backend)
        checked = api.load_all(api.find(paths, words, tags), options.overrides, words, cases)
        for path in filter(None, (junit, markdown)):
            try_to_write(path)
    console = None if as_json else console_for()
    done = run_all([one.loaded for one in checked], options, jobs, console)
    results = [
        api.not_run(one.loaded, item) if isinstance(item, LabctlError) else item.result
        for one, item in zip(checked, done, strict=True)
    ]
    runs = [item for item in done if not isinstance(item, LabctlError)]
    errors = [item for item in done if isinstance(item, LabctlError)]
    with read_or_not():  # before the files: what came of the runs is told whatever becomes of these
        if console is None:
            echo_json(results[0] if len(checked) == 1 else results)
        elif len(checked) > 1:
            from labctl.report import terminal

            terminal.table(console, results)
    if len(runs) > 1:
        with collected(errors):
            index = write_index(out, [run.result for run in runs])
            with read_or_not():
                if index.name != INDEX:
                    say(f"{out / INDEX} is no page of labctl's, and is left as it is; the index over these runs is {index}")
                if console is not None:
                    console.print(f"  index  {index}", soft_wrap=True)
    if junit is not None:
        with collected(errors):
            write_junit(junit, results, runs)
    if markdown is not None:
        with collected(errors):
            write_markdown(markdown, results)
    with read_or_not():
        for said in dict.fromkeys(map(told, errors)):
            say(said)
    codes = [api.exit_code([run.result for run in runs])] * bool(runs) + [error.exit_code for error in errors]
    sys.exit(next((code for code in (130, 4, 3, 2, 1) if code in codes), 0))


def run_all(checked: Sequence[Loaded], options: Options, jobs: int, console: Console | None) -> list[Run | LabctlError]:
    """Run the scenarios, one after the other here or several at once in processes of their own.

    Progress and summaries go to the console, where there is one.
    """
    from labctl import api
    from labctl.jobs import not_begun, run_many

    progress = Telling(progress_on(console))
    done: list[Run | LabctlError] = []
    interruptible()
    with progress:
        if jobs > 1 and len(checked) > 1:
            done = run_many(checked, options, jobs, progress.observe)
        else:
            for loaded in checked:
                try:
                    done.append(run := api.run_with(loaded, options, partial(progress.observe, loaded.name)))
                except LabctlError as error:
                    done.append(error)
                else:
                    if run.result["interrupted"]:
                        break
            done += [not_begun(loaded.path, loaded.case) for loaded in checked[len(done) :]]
    if console is not None:
        from labctl.report.terminal import summary

        with read_or_not():
            for item in done:
                if not isinstance(item, LabctlError) and (len(checked) == 1 or item.verdict != "pass"):
                    summary(console, item.result, item.path)
    return done


def progress_on(console: Console | None) -> Rich | Plain | Quiet:
    """What shows progress there: a moving picture on a terminal, lines in a pipe, nothing where there is no console."""
    if console is None:
        return Quiet()
    from labctl.report import terminal

    return terminal.Rich(console) if console.is_terminal else terminal.Plain(console)


@contextlib.contextmanager
def collected(errors: list[LabctlError]) -> Iterator[None]:
    """An error of ours in the block ends the block alone, and is put to the others."""
    try:
        yield
    except LabctlError as error:
        errors.append(error)


def write_junit(path: Path, results: Sequence[Mapping[str, Any]], runs: Sequence[Run]) -> None:
    """A JUnit file over all results, of which `runs` have a directory. Raises LabctlError."""
    from labctl.report.junit import junit

    # Attachments are found from where the file is read, which is the folder it is in.
    directories = {run.result["run"]: os.path.relpath(run.path, path.parent) for run in runs}
    write_file(path, junit([{**r, "directory": directories.get(r["run"])} for r in results]))


def write_markdown(path: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """A Markdown summary over all results. Raises LabctlError."""
    from labctl.report.markdown import markdown

    write_file(path, markdown(results))


def write_index(out: Path, results: Sequence[Mapping[str, Any]]) -> Path:
    """One page over several runs, beside their directories. Raises LabctlError.

    It takes the place of another such page and of nothing else: the folder is the user's, and may have an index of its own.
    """
    from labctl.report.index import index

    names = chain([INDEX, "labctl-index.html"], (f"labctl-index-{number}.html" for number in count(2)))
    path = next(place for place in (out / name for name in names) if not os.path.lexists(place) or is_page(place))
    return write_file(path, index(results))


def is_page(path: Path) -> bool:
    """Whether that is a page of labctl's, whatever run it is about: each says in its head what made it."""
    from labctl.report.html import GENERATOR, HEAD_BYTES

    with contextlib.suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                return GENERATOR.encode() in file.read(HEAD_BYTES)
    return False
