"""What turns labctl's own errors into a message and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import click

from labctl.errors import LabctlError, ScenarioError


class Commands(click.Group):
    """Turns labctl's own errors into exit codes, and nothing else."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LabctlError as error:
            fail(error)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)


def fail(error: LabctlError) -> NoReturn:
    """Say what went wrong and exit with its code."""
    from labctl.report.plain import printable

    prefix = "" if isinstance(error, ScenarioError) else "labctl: "
    click.echo(prefix + "\n".join(printable(line) for line in str(error).splitlines()), err=True)
    sys.exit(error.exit_code)
