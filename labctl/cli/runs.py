"""Commands that look at a run again, from its directory alone: judge, report, show, diff."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from labctl.cli.options import RUN, NamedPath, offers
from labctl.cli.output import console_for, echo_json


@click.command()
@RUN
@click.option("--json", "as_json", is_flag=True)
def judge(run: Path, as_json: bool) -> None:
    """Judge a run again from its directory alone."""
    from labctl import api
    from labctl.report import terminal

    value = api.judge(run).result
    if as_json:
        echo_json(value)
    else:
        terminal.summary(console_for(), value, run)
    sys.exit(api.exit_code([value]))


@click.command()
@RUN
@click.option("--open", "open_it", is_flag=True, help="Open the page in a browser.")
def report(run: Path, open_it: bool) -> None:
    """Write a run's page again."""
    from labctl.evidence.rundir import RunDirectory
    from labctl.runs import judge_run, write_reports
    from labctl.verdict.judge import result

    verdict = judge_run(run)
    write_reports(RunDirectory(run, lambda _: None), verdict, result(verdict))
    click.echo(run / "report.html")
    if open_it:
        click.launch(str(run / "report.html"))


@click.command()
@RUN
@click.option("--width", type=click.IntRange(60, 400), help="Columns; the terminal's when not given.")
def show(run: Path, width: int | None) -> None:
    """A run as a ladder of its packets in text, with the faults in it."""
    import shutil

    from labctl.report.text import show as ladder
    from labctl.runs import judge_run

    click.echo(ladder(judge_run(run), width or shutil.get_terminal_size((100, 40)).columns))


@click.command()
@click.argument("first", type=NamedPath(exists=True), shell_complete=offers("runs"))
@click.argument("second", type=NamedPath(exists=True), shell_complete=offers("runs"))
def diff(first: Path, second: Path) -> None:
    """What changed between two runs of a scenario: verdicts, errnos, times, packets."""
    from labctl.report.diff import diff as compare
    from labctl.report.diff import text
    from labctl.runs import judge_run

    click.echo(text(compare(judge_run(first), judge_run(second))))
