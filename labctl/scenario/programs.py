"""What the bundled programs take on their command lines, so that a misspelt option is found before anything runs.

`python -m labctl.scenario.programs` asks the programs themselves (images/programs) and writes programs.json beside this file.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from labctl.scenario.model import PROGRAMS
from labctl.scenario.words import did_you_mean, listing, nearest, shorten

FILE = Path(__file__).with_name("programs.json")
SOURCES = Path(__file__).resolve().parents[2] / "images/programs"
# What a word may be, by the name of the function that reads it (images/programs/options.py): a pattern, and what to write.
KINDS: Mapping[str, tuple[str, str]] = {
    "duration": (r"\d+(\.\d+)?(us|ms|s|m|h|)", "a time, like 100ms or 5s"),
    "size": (r"\d+(\.\d+)?(B|kB|MB|GB|KiB|MiB|GiB|)", "a size, like 4096 or 64KiB"),
    "positive_size": (r"0*[1-9]\d*(\.\d+)?(B|kB|MB|GB|KiB|MiB|GiB|)", "a size of at least one byte, like 4096 or 64KiB"),
    "port_number": (r"\d{1,5}", "a port, 0 to 65535"),
    "count": (r"0*[1-9]\d{0,8}", "a number of 1 or more"),
}
# What argparse takes for a word of its own and not for an option ("Arguments containing -").
_NEGATIVE = re.compile(r"-\d+|-\d*\.\d+")

# Run where the programs are, which import each other by name; prints what their parsers hold.
_ASK = """
import argparse, importlib, json, sys

def word(action):
    entry = {"name": str(action.metavar or action.dest)}
    if action.nargs is not None:
        entry["values"] = action.nargs
    if action.choices:
        entry["choices"] = [str(choice) for choice in action.choices]
    if action.type:
        entry["kind"] = action.type.__name__
    return entry

def takes(parser):
    found = {"options": {}, "words": [], "verbs": {}}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found["verbs"] = {name: takes(sub) for name, sub in action.choices.items()}
        elif action.option_strings:
            found["options"] |= {name: word(action) for name in action.option_strings}
        else:
            found["words"].append(word(action))
    return found

modules = {name: importlib.import_module(module) for name, module in json.loads(sys.argv[1]).items()}
print(json.dumps({name: takes(module.arguments()) for name, module in modules.items()}))
"""


@dataclass(frozen=True)
class Word:
    """One option or other word of a command line, as argparse has it; `values` is its nargs."""

    name: str
    values: int | str | None
    choices: tuple[str, ...] = ()
    kind: str = ""

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Word:
        return cls(value["name"], value.get("values"), tuple(value.get("choices", ())), value.get("kind", ""))

    def refuses(self, text: str) -> str | None:
        """What is wrong with a value, and what to write; None when nothing is, or nobody knows."""
        if self.choices and text not in self.choices:
            known = f"it is one of {listing(self.choices)}"
            return f"cannot be {shorten(text)!r}{did_you_mean(text, self.choices, known)}"
        if self.kind in KINDS and not re.fullmatch(KINDS[self.kind][0], text):
            return f"cannot be {shorten(text)!r}; write {KINDS[self.kind][1]}"
        return None


@dataclass(frozen=True)
class Takes:
    """A command line: options, and other words in their order; or verbs, each with a command line of its own."""

    options: Mapping[str, Word]
    words: tuple[Word, ...]
    verbs: Mapping[str, Takes]

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Takes:
        options = {name: Word.of(option) for name, option in value["options"].items()}
        verbs = {name: cls.of(verb) for name, verb in value["verbs"].items()}
        return cls(options, tuple(Word.of(word) for word in value["words"]), verbs)


@cache
def known() -> Mapping[str, Takes]:
    """What each bundled program takes."""
    return {name: Takes.of(value) for name, value in json.loads(FILE.read_text(encoding="utf-8")).items()}


def ask() -> str:
    """The text of programs.json, from the programs themselves."""
    modules = {word: Path(file).stem for word, file in PROGRAMS.items()}
    argv = [sys.executable, "-B", "-c", _ASK, json.dumps(modules)]
    done = subprocess.run(argv, cwd=SOURCES, capture_output=True, text=True, check=True)
    programs = (f"{json.dumps(name)}: {json.dumps(takes)}" for name, takes in json.loads(done.stdout).items())
    return "{\n" + ",\n".join(programs) + "\n}\n"


def wrong(command: Sequence[str]) -> Iterator[tuple[int, str]]:
    """What a bundled program would refuse of its command: the position of the word, and what would be right."""
    name, takes = command[0], known()[command[0]]
    given = list(enumerate(command))[1:]
    if takes.verbs:
        if not given:
            yield 0, f"{name} needs a verb: {listing(takes.verbs)}"
            return
        said = given[0][1]
        if said not in takes.verbs:
            verbs = f"its verbs are {listing(takes.verbs, 'and')}"
            yield 1, f"{name} has no verb {shorten(said)!r}{did_you_mean(said, takes.verbs, verbs)}"
            return
        name, takes, given = f"{name} {said}", takes.verbs[said], given[1:]
    yield from _line(name, takes, given)


def _line(name: str, takes: Takes, given: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Go through a command line as argparse does; stops where nobody can tell what a word belongs to."""
    others: list[tuple[int, str]] = []
    while given:
        index, word = given.pop(0)
        if word == "--":
            others += given
            break
        if not word.startswith("-") or word == "-" or _NEGATIVE.fullmatch(word):
            others.append((index, word))
            continue
        option, equals, value = word.partition("=")
        if option not in takes.options:
            yield index, f"{name} has no option {shorten(option)}{_near(option, takes)}"
            return
        about = takes.options[option]
        if about.values == 0:
            if equals:
                yield index, f"{option} of {name} takes no value; write {option} alone"
        elif about.values is None:
            if not equals:
                if not given or given[0][1].startswith("--"):
                    yield index, f"{option} of {name} needs a value, like {option}={about.name}"
                    return
                index, value = given.pop(0)
            if said := about.refuses(value):
                yield index, f"{option} of {name} {said}"
        else:
            return
    yield from _others(name, takes, others)


def _others(name: str, takes: Takes, others: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """The words that are no options, each in its place."""
    if any(word.values not in (None, "?") for word in takes.words):
        return
    needed = [word for word in takes.words if word.values is None]
    if len(others) < len(needed):
        lacks = listing([word.name for word in needed[len(others) :]], "and")
        yield 0, f"{name} needs {lacks} as well; write [{', '.join([*name.split(), *(word.name for word in needed)])}]"
    for (index, text), about in zip(others, takes.words, strict=False):
        if said := about.refuses(text):
            yield index, f"{about.name} of {name} {said}"
    for index, text in others[len(takes.words) :]:
        words = listing([*(word.name for word in takes.words), "options"], "and")
        yield index, f"{name} takes no {shorten(text)!r} here; it takes {words}"


def _near(option: str, takes: Takes) -> str:
    options = [name for name in takes.options if name.startswith("--")]
    near = nearest(option, options)
    return f"; did you mean {near}?" if near else f"; it has {listing(options, 'and')}"


if __name__ == "__main__":
    FILE.write_text(ask(), encoding="utf-8")
