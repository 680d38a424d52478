"""PyYAML's nodes → plain values, with the position of each and every `${name}` replaced.

A location (`Loc`) is the path of keys and indexes to a value, as pydantic names it: ("steps", 3, "drop",
"to").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from labctl.errors import Problem, UsageError
from labctl.scenario.words import did_you_mean, listing, nearest, shorten
from labctl.scenario.yamltext import MAX_BYTES, Source, fragment

Loc = tuple[str | int, ...]
Scalar = str | int | float | bool

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_PARAM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
# What becomes text exactly as written, so that 1.10 or 010 or true reaches a program as its author typed it.
_VERBATIM = ("run", "start", "env")


@dataclass(frozen=True, slots=True)
class Mark:
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


@dataclass
class Tree:
    """Plain values, their marks, and what was wrong while they were made; `below` is the file it includes."""

    source: Source
    value: dict[str, object] = field(default_factory=dict)
    marks: dict[Loc, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    params: dict[str, Param] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    empty: set[Loc] = field(default_factory=set)
    written: int = 0
    below: Tree | None = None


def grow(
    source: Source,
    root: yaml.MappingNode,
    overrides: Mapping[str, str],
    included: tuple[Source, yaml.MappingNode] | None = None,
) -> Tree:
    """The file's values. Problems are collected, not raised; a wrong override raises UsageError.

    The parameters of a file it includes are its own as well, with the value it gives them where it names them again.
    """
    tree = Tree(source)
    pairs = _pairs(tree, root)
    if "params" in pairs:
        _params(tree, *pairs["params"])
    declared = set(tree.params)
    if included is not None:
        tree.below = Tree(included[0])
        lower = _pairs(tree.below, included[1])
        if "params" in lower:
            _params(tree.below, *lower["params"])
        declared -= set(tree.below.params)
        tree.params = tree.below.params | tree.params
    _override(tree, overrides)
    if tree.below is not None:
        tree.below.params = tree.params
        _values(tree.below, lower)
        tree.used |= tree.below.used
    _values(tree, pairs)
    for name in sorted(declared - tree.used) if tree.written <= MAX_BYTES else ():
        line, column = tree.marks["params", name].key or (1, 1)
        _problem(
            tree, line, column, f"the parameter {name} is used nowhere; write ${{{name}}} where it belongs"
        )
    return tree


def _values(tree: Tree, pairs: Mapping[str, tuple[yaml.Node, yaml.Node]]) -> None:
    tree.marks[()] = Mark(1, 1, None, "mapping")
    for name, (key, node) in pairs.items():
        if name == "params":
            tree.value[name] = {known: param.value for known, param in tree.params.items()}
        else:
            tree.value[name] = _value(tree, node, (name,), key)


def _scalar(tag: str, text: str) -> Scalar | None:
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


def _problem(tree: Tree, line: int, column: int, message: str) -> None:
    tree.problems.append(tree.source.problem(line, column, message))


def _at(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _pairs(tree: Tree, mapping: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """The mapping's keys, each with its own node and its value's; merged ones (`<<`) only where not given
    here.
    """
    own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    for key, value in mapping.value:
        if not isinstance(key, yaml.ScalarNode):
            _problem(tree, *_at(key), "a key is a word, not a list or a mapping")
        elif key.value == "<<" and not key.style:
            for base in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(base, yaml.MappingNode):
                    merged = _pairs(tree, base) | merged
                else:
                    _problem(tree, *_at(base), "<<: takes a mapping, like <<: *name, or a list of them")
        elif key.value in own:
            first = _at(own[key.value][0])[0]
            line, column = _at(key)
            where = (
                f"in line {first} and again here in line {line}" if first != line else f"twice in line {line}"
            )
            _problem(tree, line, column, f"the key {shorten(key.value)} stands {where}; keep one of them")
        else:
            own[key.value] = (key, value)
    return own | {name: pair for name, pair in merged.items() if name not in own}


def _value(tree: Tree, node: yaml.Node, loc: Loc, key: yaml.Node | None) -> object:
    line, column = _at(node)
    key_at = _at(key) if key is not None else None
    if isinstance(node, yaml.MappingNode):
        tree.marks[loc] = Mark(line, column, key_at, "mapping")
        return {name: _value(tree, value, (*loc, name), k) for name, (k, value) in _pairs(tree, node).items()}
    if isinstance(node, yaml.SequenceNode):
        tree.marks[loc] = Mark(line, column, key_at, "list")
        return [_value(tree, item, (*loc, index), None) for index, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)  # the third and last kind of node there is
    tree.marks[loc] = Mark(line, column, key_at, "text", node.value)
    verbatim = len(loc) > 2 and loc[0] == "steps" and loc[2] in _VERBATIM
    if "${" in node.value:
        return _substitute(tree, node, verbatim)
    value = _scalar(node.tag, node.value)
    return node.value if verbatim and value is not None else value


def _substitute(tree: Tree, node: yaml.ScalarNode, verbatim: bool) -> Scalar:
    """The scalar with its parameters put in; one that is nothing but `${name}` takes the parameter's type."""
    text: str = node.value
    whole = _REFERENCE.fullmatch(text)
    if whole and whole[1] in tree.params and text.endswith("}") and not verbatim:
        tree.used.add(whole[1])
        return tree.params[whole[1]].value
    # Counted before it is written: parameters must not make of a small file a large one.
    longest = max((len(param.text) for param in tree.params.values()), default=0)
    tree.written += len(text) + text.count("${") * longest
    if tree.written > MAX_BYTES:
        _problem(tree, *_at(node), "the parameters make more than 1 MiB of text of this file")
        return text

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "${"
        if match[0].endswith("}") and name in tree.params:
            tree.used.add(name)
            return tree.params[name].text
        _problem(tree, *_at(node), _unknown(tree, name, match[0]))
        return match[0]

    return _REFERENCE.sub(replace, text)


def _unknown(tree: Tree, name: str, written: str) -> str:
    if not written.endswith("}") or not _PARAM_NAME.fullmatch(name):
        return (
            f"{shorten(written)} is no parameter; write ${{name}}, or $${{ for the two characters themselves"
        )
    if not tree.params:
        return f"there is no parameter {name}; write it down first, as params: {{{name}: VALUE}}"
    known = f"this file has {listing(tree.params, 'and')}"
    return f"there is no parameter {name}{did_you_mean(name, tree.params, known)}"


def _params(tree: Tree, key: yaml.Node, node: yaml.Node) -> None:
    tree.marks["params",] = Mark(*_at(node), _at(key), "mapping")
    if not isinstance(node, yaml.MappingNode):
        _problem(tree, *_at(key), "params: is a mapping of names and values, like params: {port: 65432}")
        return
    for name, (name_node, value_node) in _pairs(tree, node).items():
        tree.marks["params", name] = Mark(*_at(value_node), _at(name_node), "text")
        if not _PARAM_NAME.fullmatch(name):
            message = (
                f"{shorten(name)!r} cannot be a parameter; a name is letters, digits, _ and -, a letter first"
            )
            _problem(tree, *_at(name_node), message)
            continue
        value = _scalar(value_node.tag, value_node.value) if isinstance(value_node, yaml.ScalarNode) else None
        if value is None:
            _problem(
                tree, *_at(name_node), f"the parameter {name} needs one value: text, a number, true or false"
            )
            value = ""
        tree.params[name] = Param(value, str(getattr(value_node, "value", "")))


def _override(tree: Tree, overrides: Mapping[str, str]) -> None:
    for name, text in overrides.items():
        if name not in tree.params:
            near = nearest(name, tree.params)
            known = f"it has {listing(tree.params, 'and')}" if tree.params else "it has none"
            hint = f"; did you mean --set {near}={shorten(text)}?" if near else ""
            raise UsageError(f"--set {name}: {tree.source.file} has no such parameter{hint} ({known})")
        tree.params[name] = _given(name, text)


def _given(name: str, text: str) -> Param:
    """A value from the command line, read as one YAML scalar."""
    node = fragment(text)
    if node is None:
        return Param(text, text, given=True)
    if not isinstance(node, yaml.ScalarNode):
        raise UsageError(
            f"--set {name}={shorten(text)}: a parameter is one value; "
            f"text like this needs quotes: '\"{shorten(text)}\"'"
        )
    value = _scalar(node.tag, node.value)
    return Param("" if value is None else value, node.value, given=True)
