"""A file's bytes → PyYAML's node graph, or a plain sentence with the position where it stops being usable.

Everything that could make a small file expensive (size, depth, aliases) is bounded while events stream by,
before PyYAML builds anything from them: nothing here takes more time or memory than a file of `MAX_VALUES`
values does.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from labctl.errors import Problem, ScenarioError
from labctl.scenario.recognise import SUFFIXES
from labctl.scenario.words import did_you_mean
from labctl.scenario.yamlsentences import sentence

MAX_BYTES = 2**20
MAX_DEPTH = 40
# What a newer libyaml says at depth 1000, where it reads that far ahead of its events.
_LIBYAML_TOO_DEEP = "exceeded maximum nesting depth"
MAX_VALUES = 20_000
# PyYAML's time grows with their square, as libyaml's does with that of directives (%TAG), which are refused.
MAX_ANCHORS = 200



@dataclass(frozen=True)
class Bounds:
    """What a file may hold, and what stands in a message behind each bound: how much of it one needs.

    `depth`, `values` (all aliases written out) and `anchors` are numbers of them. With `foreign` it may also have what means
    something to other tools and is not asked for here: tags and a %YAML directive. `noun` is what the file should be.
    """

    depth: int
    values: int
    anchors: int
    foreign: bool = False
    noun: str = "scenario"
    size_need: str = ""
    depth_need: str = ""
    values_need: str = ""
    anchors_need: str = ""
    documents_need: str = ""

    @property
    def too_deep(self) -> str:
        return f"is nested more than {self.depth} deep{self.depth_need}"


SCENARIO = Bounds(
    MAX_DEPTH, MAX_VALUES, MAX_ANCHORS,
    size_need="; a scenario is some 45 lines", depth_need="; a scenario needs about 6",
    values_need="; a scenario has some hundred", anchors_need="; a scenario needs a few",
    documents_need="; one file is one scenario, so remove the ---",
)  # fmt: skip

# YAML 1.2.2, 5.1: the characters a stream may hold.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DIRECTIVE = re.compile("^%", re.MULTILINE)
_FOREIGN_DIRECTIVE = re.compile("^%(?!YAML[ \t])", re.MULTILINE)
_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")

# libyaml where PyYAML was built with it (ten times quicker; its positions are the same, a test holds that).
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CoreLoader(_Base):  # type: ignore[misc]
    """PyYAML with the scalars of YAML 1.2's core schema (10.3.2) instead of 1.1's.

    So `on`, `yes` and `no` are text, `1:30` and `2024-01-01` are text, `010` is ten.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML's own name and kind


_TAG = "tag:yaml.org,2002:"
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    # Longer numbers than any unit needs stay text, so that no number can overflow later.
    ("int", r"[-+]?[0-9]{1,18}|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,2})?", "-+.0123456789"),
):
    CoreLoader.add_implicit_resolver(_TAG + _tag, re.compile(rf"(?:{_pattern})\Z"), list(_first))


@dataclass(frozen=True)
class Source:
    """A file as text, and the name the user called it by."""

    file: str
    text: str

    def problem(self, line: int, column: int, message: str) -> Problem:
        return Problem(self.file, line, column, message)

    def fail(self, line: int, column: int, message: str) -> NoReturn:
        raise ScenarioError([self.problem(line, column, message)])


def read(path: str | os.PathLike[str], bounds: Bounds = SCENARIO) -> Source:
    """The file's text. Raises ScenarioError when it is missing, no file, too large, or no UTF-8 text."""
    return decode(os.fspath(path), content(path, bounds), bounds)


def content(path: str | os.PathLike[str], bounds: Bounds = SCENARIO) -> bytes:
    """What is in the file. Raises ScenarioError when it is missing, no file, or too large."""
    file = os.fspath(path)
    if "\0" in file:
        raise ScenarioError([Problem(file, 1, 1, "cannot be read: the name holds a NUL")])
    try:
        if not Path(file).is_file():
            raise ScenarioError([Problem(file, 1, 1, _why_no_file(Path(file), bounds.noun))])
        with Path(file).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ScenarioError([Problem(file, 1, 1, f"cannot be read: {reason}")]) from None
    return _bounded(file, data, bounds)


def _bounded(file: str, data: bytes, bounds: Bounds) -> bytes:
    if len(data) > MAX_BYTES:
        raise ScenarioError([Problem(file, 1, 1, f"is larger than 1 MiB{bounds.size_need}")])
    return data


def decode(file: str, data: bytes, bounds: Bounds = SCENARIO) -> Source:
    """Text from bytes. Raises ScenarioError with the position of the first thing that is no text."""
    try:
        text = _bounded(file, data, bounds).decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = Source(file, data[: error.start].decode("utf-8"))
        line, column = _position(before.text, len(before.text))
        before.fail(
            line, column, f"byte 0x{data[error.start]:02x} is not UTF-8; save this file as UTF-8 text"
        )
    source = Source(file, text)
    if bad := _FORBIDDEN.search(text):
        line, column = _position(text, bad.start())
        source.fail(
            line, column, f"the character U+{ord(bad[0]):04X} is not allowed in YAML; is this a text file?"
        )
    if found := (_FOREIGN_DIRECTIVE if bounds.foreign else _DIRECTIVE).search(text):
        line, column = _position(text, found.start())
        has = "only %YAML is read here" if bounds.foreign else "a scenario has none"
        source.fail(line, column, f"a line that begins with % is a directive, and {has}; remove it")
    return source


def nodes(source: Source, bounds: Bounds) -> yaml.Node | None:
    """The root of the only document, if there is one. Raises ScenarioError for what is no YAML, and what is out of bounds."""
    try:
        _Survey(source, bounds).run()
        return yaml.compose(source.text, Loader=CoreLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        if error.problem == _LIBYAML_TOO_DEEP:
            raise OutOfBounds([source.problem(line, column, bounds.too_deep)]) from None
        source.fail(line, column, sentence(error, source.text.splitlines()))
    except yaml.YAMLError as error:
        source.fail(1, 1, f"is not YAML: {str(error).splitlines()[0]}")


def compose(source: Source) -> yaml.MappingNode:
    """The root mapping of a scenario's only document. Raises ScenarioError."""
    root = nodes(source, SCENARIO)
    if root is None or (isinstance(root, yaml.ScalarNode) and not root.value and not root.style):
        source.fail(1, 1, "is empty; a scenario begins with scenario: NAME and has steps:")
    if not isinstance(root, yaml.MappingNode):
        at = root.start_mark
        kind = "a list" if isinstance(root, yaml.SequenceNode) else "text"
        source.fail(
            at.line + 1, at.column + 1, f"is {kind}, not a mapping; a scenario begins with scenario: NAME"
        )
    return root


def fragment(text: str) -> yaml.Node | None:
    """A piece of YAML, like a command line has it; None when it is none, or nothing."""
    try:
        _Survey(Source("", text), SCENARIO).run()
        return yaml.compose(text, Loader=CoreLoader)
    except (yaml.YAMLError, ScenarioError):
        return None


@dataclass
class _Open:
    """A collection whose end has not been seen: how much is in it, all aliases written out."""

    anchor: str | None
    values: int = 1
    depth: int = 1


class OutOfBounds(ScenarioError):
    """A file that may be YAML, and holds what none of its kind may."""


class _Survey:
    """One pass over the events that bounds depth, aliases and documents before any node is made."""

    def __init__(self, source: Source, bounds: Bounds) -> None:
        self.source, self.bounds = source, bounds
        self.stack = [_Open(None, 0, 0)]
        self.anchors: dict[str, tuple[int, int]] = {}
        self.values = 0
        self.documents = 0

    def run(self) -> None:
        """Raises ScenarioError at the first event that goes beyond a bound, and what the parser raises."""
        for event in yaml.parse(self.source.text, Loader=CoreLoader):
            if isinstance(event, yaml.DocumentStartEvent):
                self.documents += 1
                if self.documents > 1:
                    self._fail(event, f"a second document begins here{self.bounds.documents_need}")
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
                self._begins(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                done = self.stack.pop()
                self.stack[-1].values += done.values
                self.stack[-1].depth = max(self.stack[-1].depth, done.depth + 1)
                if done.anchor:
                    self.anchors[done.anchor] = (done.values, done.depth)

    def _alias(self, event: Any) -> None:
        name = str(event.anchor)
        if any(entry.anchor == name for entry in self.stack):
            self._fail(event, f"*{name} stands inside what &{name} names, so it would never end")
        if name not in self.anchors:
            near = did_you_mean(name, self.anchors, f"an anchor is written &{name}")
            self._fail(event, f"*{name} names nothing above{near}")
        values, depth = self.anchors[name]
        self._count(event, values, depth)
        self.stack[-1].values += values
        self.stack[-1].depth = max(self.stack[-1].depth, depth + 1)

    def _begins(self, event: Any) -> None:
        if event.tag not in (None, "!") and not self.bounds.foreign:
            self._fail(event, "tags (!…) mean nothing in a scenario; remove it, and quote what must be text")
        name = event.anchor
        if name and (name in self.anchors or any(entry.anchor == name for entry in self.stack)):
            self._fail(event, f"the anchor &{name} stands here a second time; choose another name")
        if name and len(self.anchors) >= self.bounds.anchors:
            self._fail(event, f"has more than {self.bounds.anchors} anchors (&){self.bounds.anchors_need}")
        self._count(event, 1, 1)
        if not isinstance(event, yaml.ScalarEvent):
            self.stack.append(_Open(name))
            return
        self.stack[-1].values += 1
        if name:
            self.anchors[name] = (1, 1)

    def _count(self, event: Any, values: int, depth: int) -> None:
        self.values += values
        if len(self.stack) - 1 + depth > self.bounds.depth:
            self._fail(event, self.bounds.too_deep)
        if self.values > self.bounds.values:
            what = f"makes more than {self.bounds.values} values, all aliases (*) written out"
            self._fail(event, f"{what}{self.bounds.values_need}")

    def _fail(self, event: Any, message: str) -> NoReturn:
        mark = event.start_mark
        raise OutOfBounds([self.source.problem(mark.line + 1, mark.column + 1, message)])


def _position(text: str, index: int) -> tuple[int, int]:
    """1-based line and column of `text[index]`, counted as YAML counts lines."""
    line, start = 1, 0
    for found in _LINE_BREAK.finditer(text, 0, index):
        line, start = line + 1, found.end()
    return line, index - start + 1


def _why_no_file(path: Path, noun: str) -> str:
    if path.is_dir():
        return f"is a folder, not a {noun}; name the YAML file in it"
    if path.exists():
        return "is not a regular file"
    if path.is_symlink():
        return "is a symbolic link that leads nowhere"
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    near = did_you_mean(
        path.name, [entry.name for entry in folder.iterdir() if entry.suffix in SUFFIXES]
    )
    return f"there is no such file{near}"
