"""The nearest right word, and lists of words, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word that `word` was most likely meant to be, or None."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    lower = word.lower()[:80]
    found = [lower] if lower in by_lower else difflib.get_close_matches(lower, by_lower, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str], then: str = "", cutoff: float = 0.6) -> str:
    """What to put behind "there is no WORD": `; did you mean X?` if a known word is near, and then `then`.

    `then` is a sentence of its own after the question, else the rest of the one that was begun.
    """
    near = nearest(word, known, cutoff)
    if near:
        return f"; did you mean {near}?" + (f" {then[0].upper()}{then[1:]}" if then else "")
    return f"; {then}" if then else ""


def listing(words: Iterable[str], last: str = "or") -> str:
    """`a, b or c`."""
    *init, final = list(words) or ["nothing"]
    return f"{', '.join(init)} {last} {final}" if init else final


def shorten(text: str, limit: int = 40) -> str:
    """The text on one line, cut with an ellipsis so that a message stays readable."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
