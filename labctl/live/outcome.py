"""What a program that ran on a host of a lab ended in, for a Python program to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labctl.errors import UsageError


@dataclass(frozen=True)
class Outcome:
    """How a program ended and what it said.

    `step` is its step in the run, `exit` its exit status (128 + n when signal n ended it), `seconds` how long it ran, `fields`
    the outcome that a bundled program reports, and None for any other program.
    """

    step: int
    host: str
    argv: tuple[str, ...]
    exit: int | None
    seconds: float
    stdout: str
    stderr: str
    fields: Mapping[str, Any] | None

    @classmethod
    def read(cls, path: Path, step: int, started: Mapping[str, Any], ended: Mapping[str, Any]) -> Outcome:
        """From the run directory and the events of the program's beginning and end."""
        texts = [
            (path / f"programs/{ended['file']}.{end}").read_text("utf-8", "replace") for end in ("out", "err")
        ]
        seconds = round(ended["t"] - started["t"], 6)
        argv = tuple(started["argv"])
        return cls(step, started["host"], argv, ended["exit"], seconds, texts[0], texts[1], ended["outcome"])

    @property
    def errno(self) -> str | None:
        """The symbol of the last call, like `ECONNREFUSED`; None is success, or that it never returned (`fields`).

        Raises UsageError for one that reports none.
        """
        return self._field("errno", None)  # type: ignore[no-any-return]

    @property
    def elapsed(self) -> float:
        """Seconds that the last call took; for a program that reports no outcome, that it ran."""
        return (
            self.seconds
            if self.fields is None or "ms" not in self.fields
            else float(self.fields["ms"]) / 1000
        )

    @property
    def timed_out(self) -> bool:
        """Whether the program's own time limit ended the call: no error, no answer. Raises UsageError as `errno`."""
        return bool(self._field("timed_out", False))

    @property
    def sent(self) -> int:
        """Bytes sent. Raises UsageError as `errno`."""
        return int(self._field("sent", 0))

    @property
    def received(self) -> int:
        """Bytes received. Raises UsageError as `errno`."""
        return int(self._field("received", 0))

    def as_expected(self) -> dict[str, Any]:
        """What a scenario expects that sees the same again."""
        if self.fields is None:
            return {"exit": self.exit or 0}
        if self.fields.get("returned") is False:
            return {"outcome": {"op": self.fields["op"], "returned": False}}
        return {"timed_out": True} if self.timed_out else {"errno": self.errno}

    def _field(self, name: str, default: Any) -> Any:
        if self.fields is None:
            raise UsageError(
                f"{self.argv[0]} reports no outcome, so there is no {name}; look at exit, stdout, stderr or seconds"
            )
        return self.fields.get(name, default)
