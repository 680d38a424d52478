"""A compose file as plain values, read without Docker under the same guard as a scenario: nothing in it can be expensive."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from labctl.errors import Problem, ScenarioError
from labctl.scenario.tree import Scalar, Tree, scalar
from labctl.scenario.yamltext import Bounds, CoreLoader, OutOfBounds, Source, content, decode, nodes

BOUNDS = Bounds(depth=100, values=100_000, anchors=1000, foreign=True, noun="compose file")
_UNREAD = "the lab's compose file cannot be read: "
_NO_YAML = "the lab's compose file is not YAML: "
_NO_LAB = "this compose file cannot be a lab: "


def read(path: Path) -> dict[Any, Any]:
    """What a compose file holds, tags left aside and `<<:` put in. Raises ScenarioError with where it stops being usable.

    Scalars are of YAML 1.2's core schema (10.3.2), whatever tag they have.
    """
    file = str(path)
    with _told(_UNREAD):
        data = content(path, BOUNDS)
    with _told(_NO_YAML):
        source = decode(file, data, BOUNDS)
        root = nodes(source, BOUNDS)
    if not isinstance(root, yaml.MappingNode):
        source.fail(1, 1, "this is no compose file: its top level is not a mapping")
    with _told(_NO_LAB):
        return _Reading(source).mapping(root)


def resolved(path: Path) -> Path:
    """The whole path of a compose file, as Docker notes it of a lab. Raises ScenarioError for a name that no file can have."""
    try:
        return path.resolve()
    except ValueError:
        why = "the name holds a NUL"
    except (OSError, RuntimeError):  # of pathlib itself before Python 3.13
        why = "its symbolic links lead round in a circle"
    raise ScenarioError([Problem(str(path), 1, 1, _UNREAD + why)])


@contextlib.contextmanager
def _told(prefix: str) -> Iterator[None]:
    """What is wrong, told of a compose file: a scenario names it, and its reader looks at that."""
    try:
        yield
    except ScenarioError as error:
        prefix = _NO_LAB if isinstance(error, OutOfBounds) else prefix
        said = error.problems[0].message.removeprefix("cannot be read: ").removeprefix("is not YAML: ")
        said = f"it {said}" if said.startswith(("is ", "has ", "makes ")) else said
        raise ScenarioError([replace(error.problems[0], message=prefix + said)]) from None


class _Reading:
    def __init__(self, source: Source) -> None:
        self._tree = Tree(source)
        self._resolve = CoreLoader("").resolve

    def mapping(self, node: yaml.MappingNode) -> dict[Any, Any]:
        pairs = self._tree.pairs(node)
        if self._tree.problems:
            raise ScenarioError(self._tree.problems[:1])
        return {self._scalar(key): self._value(value) for key, value in pairs.values()}

    def _value(self, node: yaml.Node) -> object:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item) for item in node.value]
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Scalar:
        """By what is written alone: `!!int abc` is text, and no tag of another tool makes anything of ours."""
        text = str(node.value)
        return text if getattr(node, "style", None) else scalar(self._resolve(yaml.ScalarNode, text, (True, False)), text)
