"""The closed set of verdicts, and one expectation held against the evidence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["pass", "fail", "error", "skip"]
# error beats fail beats pass: a run that broke proves nothing, whatever else it saw.
_RANK: dict[Verdict, int] = {"skip": 0, "pass": 1, "fail": 2, "error": 3}


def worst(verdicts: Iterable[Verdict], default: Verdict = "pass") -> Verdict:
    """The verdict that decides; `default` when there is none."""
    return max(verdicts, key=lambda v: _RANK[v], default=default)


@dataclass(frozen=True)
class Finding:
    """One expectation: what was expected (with its tolerance), what was seen, and what follows."""

    check: str
    expected: str
    actual: str
    verdict: Verdict

    @classmethod
    def of(cls, check: str, expected: str, actual: str, ok: bool) -> Finding:
        """A finding that passes or fails."""
        return cls(check, expected, actual, "pass" if ok else "fail")

    def as_json(self) -> dict[str, Any]:
        return {
            "check": self.check,
            "expected": self.expected,
            "actual": self.actual,
            "verdict": self.verdict,
        }

    def __str__(self) -> str:
        return f"{self.check}: expected {self.expected}, got {self.actual}"
