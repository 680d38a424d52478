"""The values of a file as they are made of PyYAML's nodes: with the position of each, and what was wrong with them.

A location (`Loc`) is the path of keys and indexes to a value, as pydantic names it: ("steps", 3, "drop", "to").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import yaml

from labctl.errors import Problem
from labctl.scenario.words import shorten
from labctl.scenario.yamltext import Source

Loc = tuple[str | int, ...]
Scalar = str | int | float | bool | None
Pairs = dict[str, tuple[yaml.Node, yaml.Node]]


class Mark(NamedTuple):
    """Where a value stands: 1-based positions of itself and of its key, and what it is."""

    line: int
    column: int
    key: tuple[int, int] | None
    what: str
    written: str | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Where a message about this value points: a scalar itself, the key of anything larger."""
        return (
            self.key if self.key and (self.what != "text" or self.written == "") else (self.line, self.column)
        )


@dataclass(frozen=True, slots=True)
class Param:
    """A value `${name}` can stand for, and its text as it was written."""

    value: Scalar
    text: str
    given: bool = False


Cases = dict[str, dict[str, Param]]


@dataclass
class Tree:
    """Plain values, their marks, and what was wrong while they were made; `below` is the file it includes.

    `params` are what `${name}` stands for, `cases` the sets of them that the file names, `used` the names that stand somewhere.
    """

    source: Source
    value: dict[str, object] = field(default_factory=dict)
    marks: dict[Loc, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    params: dict[str, Param] = field(default_factory=dict)
    cases: Cases = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    empty: set[Loc] = field(default_factory=set)
    written: int = 0
    below: Tree | None = None

    def problem(self, line: int, column: int, message: str) -> None:
        """Note what is wrong at a position of the file."""
        self.problems.append(self.source.problem(line, column, message))

    def pairs(self, mapping: yaml.MappingNode) -> Pairs:
        """The mapping's keys, each with its own node and its value's; merged ones (`<<`) only where not given here."""
        own: Pairs = {}
        merged: Pairs = {}
        for key, value in mapping.value:
            if not isinstance(key, yaml.ScalarNode):
                self.problem(*at(key), "a key is a word, not a list or a mapping")
            elif key.value == "<<" and not key.style:
                for base in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(base, yaml.MappingNode):
                        merged = self.pairs(base) | merged
                    else:
                        self.problem(*at(base), "<<: takes a mapping, like <<: *name, or a list of them")
            elif key.value in own:
                first = at(own[key.value][0])[0]
                line, column = at(key)
                where = (
                    f"in line {first} and again here in line {line}" if first != line else f"twice in line {line}"
                )
                self.problem(line, column, f"the key {shorten(key.value)} stands {where}; keep one of them")
            else:
                own[key.value] = (key, value)
        return own | {name: pair for name, pair in merged.items() if name not in own}


def scalar(tag: str, text: str) -> Scalar:
    """The value of a scalar node, by the tag that the core schema gave it."""
    match tag.rpartition(":")[2]:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text, 0) if text[1:2] in ("o", "x") else int(text)
        case "float":
            return float(text)
    return text


def at(node: yaml.Node) -> tuple[int, int]:
    """Where a node begins: 1-based line and column."""
    return node.start_mark.line + 1, node.start_mark.column + 1
