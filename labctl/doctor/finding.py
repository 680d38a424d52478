"""One thing that was looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `cost` is what cannot be done without it, `cure` how to get it; `needed` by every run."""

    what: str
    ok: bool
    found: str
    cost: str = ""
    cure: str = ""
    needed: bool = True

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def at_least(version: str, least: tuple[int, int]) -> bool:
    """Whether a version like `2.26.1-4` or `v20.10.24+dfsg1` is not older than `least`; one that is no number is."""
    numbers = version.lstrip("v").split(".")
    try:
        return (int(numbers[0]), int(numbers[1])) >= least
    except (ValueError, IndexError):
        return False
