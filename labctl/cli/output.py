"""Where a command's words go: the terminal, a pipe, or a file that was asked for."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import select
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labctl.errors import LabctlError, ScenarioError
from labctl.interrupts import handled, heard, interrupt_main

if TYPE_CHECKING:
    from rich.console import Console

    from labctl.report.terminal import Plain, Rich

PIPED_COLUMNS = 110


def console_for() -> Console:
    """Where progress goes: the terminal, or a pipe (with lines of a fixed width)."""
    from rich.console import Console

    class Printing(Console):
        def on_broken_pipe(self) -> None:  # rich's own ends the process, in the middle of a run
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    asked = os.environ.get("COLUMNS", "")
    width = int(asked) if asked.isdecimal() and int(asked) else PIPED_COLUMNS
    return Printing(highlight=False, width=None if sys.stdout.isatty() else width)


def ready_streams() -> None:
    """Standard output and error take whatever is printed: `?` for what their encoding lacks; a closed one goes nowhere."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def write_file(path: Path, text: str) -> Path:
    """Write a text where somebody asked for it. Raises LabctlError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritten(path, error) from None
    return path


def try_to_write(path: Path) -> None:
    """Find out whether `write_file` can write there, and leave everything as it is. Raises LabctlError."""
    made: list[Path] = []  # outermost last
    try:
        if os.path.lexists(path):
            if path.is_file() or path.is_dir():  # a pipe or a device would take what is tried for what is written
                path.open("ab").close()
            return
        missing = [folder for folder in path.parents if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            made.insert(0, folder)
        path.open("xb").close()
        made.insert(0, path)
    except OSError as error:
        raise _unwritten(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            for each in made:
                each.unlink() if each == path else each.rmdir()


def _unwritten(path: Path, error: OSError) -> LabctlError:
    return LabctlError(f"{path} cannot be written: {error.strerror}")


def told(error: LabctlError) -> str:
    """What is said of an error: whose it is, or the places in the file that is to be mended."""
    from labctl.report.plain import printable

    prefix = "" if isinstance(error, ScenarioError) else "labctl: "
    return prefix + "\n".join(printable(line) for line in str(error).splitlines())


def say(line: str) -> None:
    """Progress, beside the result: on standard error."""
    click.echo(line, err=True)


def echo_json(value: Any) -> None:
    """The result for a program, alone on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@contextlib.contextmanager
def read_or_not() -> Iterator[None]:
    """What the block prints is lost without harm when nobody reads it any more: a closed pipe, a terminal that is gone."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        silence()


@contextlib.contextmanager
def ended_at_once() -> Iterator[None]:
    """Nothing is begun in the block that would have to be undone: a signal to end ends the command there, with 130.

    An exception would not do: it comes anywhere, also in code that makes another error of it (what pydantic calls back).
    """

    def end(number: int, frame: object) -> None:  # noqa: ARG001
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"interrupted\n")
        os._exit(130)

    with handled(end, heard()):
        yield


def interrupt_unread(output: int) -> None:
    """Wait until nobody reads what is written to a pipe any more (poll(2): POLLERR), and interrupt the command.

    A command that writes seldom would hear of it as seldom. Returns at once, and never interrupts, where it is no pipe.
    """
    waiting = select.poll()
    waiting.register(output, 0)
    if stat.S_ISFIFO(os.fstat(output).st_mode):
        waiting.poll()
        interrupt_main()


def silence() -> None:
    """What is printed from now on, or waits to be written, goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class Quiet:
    """Progress where only the result is wanted: none. What shows it otherwise need not even be imported."""

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *_: object) -> None: ...

    def observe(self, scenario: str, event: Mapping[str, Any]) -> None: ...


class Telling:
    """Progress that is told while somebody reads it; a run does not hang on that."""

    def __init__(self, progress: Rich | Plain | Quiet) -> None:
        self._progress = progress
        self._read = True

    def __enter__(self) -> Telling:
        self._try(self._progress.__enter__)
        return self

    def __exit__(self, *_: object) -> None:
        self._try(self._progress.__exit__)

    def observe(self, scenario: str, event: Mapping[str, Any]) -> None:
        self._try(self._progress.observe, scenario, event)

    def _try(self, tell: Callable[..., object], *arguments: Any) -> None:
        if self._read:
            try:
                tell(*arguments)
            except OSError:
                self._read = False
