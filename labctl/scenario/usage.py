"""What a bundled program says of the arguments that a scenario gives it, before anything runs.

The programs (images/programs) say what they take in their own argument parsers; those are asked here, so that there is one
source for it. Nothing of a program is run but `arguments()`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from labctl.scenario.model import PROGRAMS
from labctl.scenario.words import did_you_mean, listing, shorten

FOLDER = Path(__file__).resolve().parents[2] / "images/programs"

_CHOICE = re.compile(r"argument (?P<what>\S+): invalid choice: '(?P<word>[^']*)' \(choose from (?P<known>.*)\)")
_TOO_MUCH = re.compile(r"unrecognized arguments: (?P<words>.*)")
_TOO_LITTLE = re.compile(r"the following arguments are required: (?P<words>.*)")
_OPTION = re.compile(r"--[a-z][a-z-]*")


def misuse(words: Sequence[str]) -> tuple[int, str] | None:
    """The position of a wrong word in a command and what is wrong with it; None when the program takes them all.

    `words` is a command as a scenario has it; one that is not bundled takes whatever it is given.
    """
    if words[0] not in PROGRAMS:
        return None
    parser = parser_of(words[0])
    if (said := _refusal(parser, words[1:])) is None:
        return None
    if match := _CHOICE.fullmatch(said):
        known = re.findall(r"[\w-]+", match["known"])
        near = did_you_mean(match["word"], known, f"there are {listing(known, 'and')}")
        what = match["what"] if match["what"].startswith("-") else match["what"].lower()
        return _place(words, match["word"]), f"{words[0]} has no {what} {shorten(match['word'])!r}{near}"
    if match := _TOO_MUCH.fullmatch(said):
        first = match["words"].split()[0]
        if not first.startswith("-"):
            return _place(words, first), f"{shorten(first)!r} is one argument too many for {words[0]}"
        near = did_you_mean(first.partition("=")[0], _options(parser, words), cutoff=0.7)
        return _place(words, first), f"{words[0]} has no option {shorten(first.partition('=')[0])!r} here{near}"
    if match := _TOO_LITTLE.fullmatch(said):
        return 0, f"{words[0]} needs {listing(match['words'].split(', '), 'and')} here as well"
    quoted = re.search(r"'([^']*)'", said)
    return _place(words, quoted[1] if quoted else ""), f"{words[0]}: {said.removeprefix('argument ')}"


def _place(words: Sequence[str], wrong: str) -> int:
    """Where in a command a wrong word stands, alone or behind the = of an option; its beginning when nobody can tell."""
    return next((n for n, word in enumerate(words) if n and (word == wrong or word.endswith(f"={wrong}"))), 0)


def _refusal(parser: argparse.ArgumentParser, words: Sequence[str]) -> str | None:
    """What a parser says of arguments that it does not take."""
    said, _ = _said(parser, words)
    return said.strip().rpartition(": error: ")[2] or None


def _options(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """The options that a command's program, and its verb if it has verbs, speaks of in its help."""
    verb = [word for word in words[1:2] if not word.startswith("-")]
    _, shown = _said(parser, [*verb, "--help"])
    return sorted(set(_OPTION.findall(shown)))


def _said(parser: argparse.ArgumentParser, words: Sequence[str]) -> tuple[str, str]:
    """What a parser writes to stderr and stdout about arguments."""
    err, out = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        parser.parse_args(list(words))
    return err.getvalue(), out.getvalue()


@cache
def parser_of(word: str) -> argparse.ArgumentParser:
    """The argument parser of a bundled program, by the word that scenarios have for it. Raises KeyError."""
    with _importable():
        parser: argparse.ArgumentParser = importlib.import_module(Path(PROGRAMS[word]).stem).arguments()
        return parser


@contextlib.contextmanager
def _importable() -> Iterator[None]:
    """The programs' modules can be imported inside the block and by nobody afterwards: their names are common words."""
    names = {path.stem for path in FOLDER.glob("*.py")}
    before = {name: sys.modules.pop(name) for name in names & sys.modules.keys()}
    sys.path.insert(0, str(FOLDER))
    try:
        yield
    finally:
        sys.path.remove(str(FOLDER))
        for name in names & sys.modules.keys():
            del sys.modules[name]
        sys.modules.update(before)
