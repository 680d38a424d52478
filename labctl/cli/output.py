"""Where a command's words go: the terminal, a pipe, or a file that was asked for."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labctl.errors import LabctlError

if TYPE_CHECKING:
    from rich.console import Console


def console_for(quiet: bool) -> Console:
    """Where progress goes: the terminal, a pipe (with lines of a fixed width), or nowhere when only JSON is wanted."""
    from rich.console import Console

    if quiet:
        return Console(quiet=True)
    return Console(
        highlight=False, width=None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "110"))
    )


def write_file(path: Path, text: str) -> Path:
    """Write a text where somebody asked for it. Raises LabctlError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LabctlError(f"{path} cannot be written: {error.strerror}") from None
    return path


def say(line: str) -> None:
    """Progress, beside the result: on standard error."""
    click.echo(line, err=True)


def echo_json(value: Any) -> None:
    """The result for a program, alone on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
