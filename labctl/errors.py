"""Every error labctl raises on purpose, and the exit code each one means.

Only `labctl.cli` turns an error into an exit code; everything else raises.
"""

from __future__ import annotations

from dataclasses import dataclass


class LabctlError(Exception):
    """Base of all errors that are explained to the user without a traceback.

    Arguments: a message that says what was tried, what was answered and, where it is known, what to do.
    """

    exit_code = 4


class UsageError(LabctlError):
    """The command line asks for something that cannot be (exit 2)."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file: where (1-based line and column), what, and what would be right."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class ScenarioError(LabctlError):
    """A scenario or compose file that cannot be used; carries every problem found (exit 2)."""

    exit_code = 2

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems

    def __reduce__(self) -> tuple[type[ScenarioError], tuple[list[Problem]]]:
        """It travels between processes with its problems."""
        return ScenarioError, (self.problems,)


class MissingError(LabctlError):
    """Something the scenario needs is missing on this machine: Docker, an image, a kernel feature (exit 3)."""

    exit_code = 3


class LabError(LabctlError):
    """The lab itself broke: a container died, an agent vanished, the disk is full (exit 4)."""

    exit_code = 4


class Interrupted(LabctlError):
    """Somebody asked to stop before this began (exit 130)."""

    exit_code = 130


class EvidenceError(LabctlError):
    """A run directory that cannot be read or believed: truncated, edited, or of a newer version (exit 4)."""

    exit_code = 4
