"""What a number may be, and what a text must be."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StrictInt, model_validator

from labctl.scenario.model.parts import Regex, Strict
from labctl.units import Bytes, Duration, Rate


class Range(Strict):
    """Base of the ranges: at least one end is given, and they are in order."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        low, high = getattr(self, "min", None), getattr(self, "max", None)
        if low is None and high is None:
            raise ValueError("a range needs min: or max:, or both")
        if low is not None and high is not None and low > high:
            raise ValueError("min: is more than max:, so nothing could ever lie between them; swap them")
        return self


class DurationRange(Range):
    """A time that must lie between min and max, both included."""

    min: Duration | None = Field(default=None, description="At least this long.")
    max: Duration | None = Field(default=None, description="At most this long.")


class SizeRange(Range):
    """A number of bytes that must lie between min and max, both included."""

    min: Bytes | None = Field(default=None, description="At least so many bytes.")
    max: Bytes | None = Field(default=None, description="At most so many bytes.")


class CountRange(Range):
    """A count that must lie between min and max, both included."""

    min: Annotated[StrictInt, Field(ge=0)] | None = Field(default=None, description="At least so many.")
    max: Annotated[StrictInt, Field(ge=0)] | None = Field(default=None, description="At most so many.")


def may_be_none(wanted: int | CountRange) -> bool:
    """Whether a count is also right when there is nothing to count."""
    return wanted == 0 if isinstance(wanted, int) else not wanted.min


class RateRange(Range):
    """Bits per second that must lie between min and max, both included."""

    min: Rate | None = Field(default=None, description="At least so much in a second.")
    max: Rate | None = Field(default=None, description="At most so much in a second.")


class TextMatch(Strict):
    """What a text must be: all that are given must hold."""

    exact: str | None = Field(default=None, description="The whole text, but for white space at its end.")
    contains: str | None = Field(default=None, description="Somewhere in the text.")
    matches: Regex | None = Field(
        default=None, description="A Python regular expression, searched for, multi-line."
    )
    lacks: str | None = Field(default=None, description="Nowhere in the text.")

    @model_validator(mode="after")
    def _asks_for_something(self) -> TextMatch:
        if not self.model_fields_set:
            raise ValueError("write at least one of exact, contains, matches, lacks")
        return self
