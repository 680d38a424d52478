"""What a lab raises at the end of a block for what did not hold."""

from __future__ import annotations

from labctl.errors import LabError
from labctl.finished import Run


class ExpectationFailed(AssertionError):
    """Something that was expected of a lab did not hold; `run` has the evidence."""

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run


class FaultTouchedNothing(LabError):
    """A fault was put in place and taken away, and no packet met it: nothing is proved."""
