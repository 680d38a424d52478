"""What turns labctl's own errors into a message and an exit code."""

from __future__ import annotations

import atexit
import contextlib
import gc
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import click

from labctl.cli.output import ready_streams, silence, told
from labctl.errors import LabctlError, LabError

GC_THRESHOLD = 200_000
# The modules that write to standard output and error.
_PRINTERS = ("click.", "rich.", "labctl.cli.")


class Commands(click.Group):
    """Turns labctl's own errors into exit codes, and nothing else."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """As click runs it, once there is something to print to."""
        ready_streams()
        return super().main(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        # What a command imports stays: looking through it for garbage every 700 objects would cost a tenth of its start.
        gc.set_threshold(GC_THRESHOLD)
        atexit.register(gc.freeze)  # nor is it worth 0.1 s when all of it goes anyway
        try:
            return super().invoke(ctx)
        except LabctlError as error:
            fail(error)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(130)
        except BrokenPipeError:
            silence()
            sys.exit(128 + signal.SIGPIPE)
        except OSError as error:
            if not _was_printing(error):
                fail(LabError(_told(error)))
            with contextlib.suppress(OSError):
                click.echo(f"labctl: what was to be printed could not be written: {error.strerror}", err=True)
            silence()
            sys.exit(LabError.exit_code)


def _was_printing(error: OSError) -> bool:
    """Whether a stream of this command refused what was to be printed: such an error names no file, and who wrote is known."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    name = str(frame.f_globals.get("__name__"))
    return error.errno is not None and error.filename is None and name.startswith(_PRINTERS)


def _told(error: OSError) -> str:
    """What the operating system said, and of what; or a library's own kind of error, like a daemon that does not answer."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return "the folder in which this was started is gone; go to one that is there"
    if error.errno is None:
        return f"{type(error).__name__}: {error}"
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def fail(error: LabctlError) -> NoReturn:
    """Say what went wrong and exit with its code."""
    click.echo(told(error), err=True)
    sys.exit(error.exit_code)
