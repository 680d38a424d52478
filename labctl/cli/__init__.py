"""The command line: the only room that prints and exits. What is slow to import is imported by the command that needs it."""

from __future__ import annotations

import os

import click

from labctl import __version__
from labctl.cli import faults, labs, machine, running, runs, scenarios
from labctl.cli.group import Commands

# Ours has none, and looking for some is a twentieth of what a command takes to start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="labctl")
def main() -> None:
    """A laboratory for network failures: real hosts, real faults, evidence and a verdict."""


# In the order of docs/commands.md.
for command in (
    running.run, scenarios.check_command, scenarios.explain, scenarios.init, scenarios.list_command,
    labs.up, labs.down, labs.ps, labs.exec_command, labs.capture, faults.fault,
    runs.judge, runs.report, runs.show, runs.diff,
    machine.doctor, machine.gc, machine.images_command, machine.completion, scenarios.schema,
):  # fmt: skip
    main.add_command(command)
