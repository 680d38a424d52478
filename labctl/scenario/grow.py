"""PyYAML's nodes → plain values, with the position of each and every `${name}` replaced."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from labctl.scenario.params import check_cases, chosen, declare, declare_cases, override, substitute
from labctl.scenario.tree import Cases, Loc, Mark, Pairs, Param, Tree, at, scalar
from labctl.scenario.yamltext import MAX_BYTES, Source

# What becomes text exactly as written, so that 1.10 or 010 or true reaches a program as its author typed it.
_VERBATIM = ("run", "start", "env")
File = tuple[Source, yaml.MappingNode]


def grow(
    source: Source,
    root: yaml.MappingNode,
    overrides: Mapping[str, str],
    included: File | None = None,
    case: str | None = None,
) -> Tree:
    """The file's values, in one of its cases where it has some. Problems are collected, not raised.

    The parameters of a file it includes are its own as well, with the value it gives them where it names them again; cases
    are the including file's where it has some. A case's values win over `params:`, and `overrides` over all. Raises
    UsageError for an override of an unknown parameter, and for a case that is none, or that was not named.
    """
    tree, pairs = _begin(source, root)
    declared = set(tree.params).union(*tree.cases.values())
    if included is not None:
        tree.below, lower = _begin(*included)
        declared -= set(tree.below.params)
    _choose(tree, case)
    override(tree, overrides)
    if tree.below is not None:
        tree.below.params = tree.params
        _fill(tree.below, lower)
        tree.used |= tree.below.used
    _fill(tree, pairs)
    for name in sorted(declared - tree.used) if tree.written <= MAX_BYTES else ():
        line, column = _declared_at(tree, name)
        tree.problem(line, column, f"the parameter {name} is used nowhere; write ${{{name}}} where it belongs")
    return tree


def declared(
    source: Source, root: yaml.MappingNode, included: File | None = None
) -> tuple[Cases, dict[str, Param]]:
    """The cases and the parameters that a file, or the file it includes, names; what is wrong is told when it is grown."""
    own = _begin(source, root)[0]
    lower = _begin(*included)[0] if included is not None else Tree(source)
    cases = own.cases or lower.cases
    of_cases = {name: param for values in reversed(cases.values()) for name, param in values.items()}
    return cases, {**lower.params, **own.params, **of_cases}


def _begin(source: Source, root: yaml.MappingNode) -> tuple[Tree, Pairs]:
    """A file's own parameters and cases, and all its keys."""
    tree = Tree(source)
    pairs = tree.pairs(root)
    if "params" in pairs:
        declare(tree, *pairs["params"])
    if "cases" in pairs:
        declare_cases(tree, *pairs["cases"])
    return tree, pairs


def _choose(tree: Tree, case: str | None) -> None:
    """Make the parameters those of one case, over those of `params:`, over those of the included file."""
    below = tree.below
    defaults = {**(below.params if below else {}), **tree.params}
    owner = below if below and not tree.cases else tree
    check_cases(owner, defaults)
    cases: Cases = owner.cases
    if case is None and owner.problems:
        case = next(iter(cases), None)  # the problems are what is told; with values there are no others that echo them
    tree.params = {**defaults, **chosen(cases, case, tree.source.file)}


def _declared_at(tree: Tree, name: str) -> tuple[int, int]:
    marks = (tree.marks.get(loc) for loc in (("params", name), *(("cases", case, name) for case in tree.cases)))
    return next(mark.key for mark in marks if mark and mark.key)


def _fill(tree: Tree, pairs: Pairs) -> None:
    tree.marks[()] = Mark(1, 1, None, "mapping")
    if tree.params or "params" in pairs:
        tree.value["params"] = {known: param.value for known, param in tree.params.items()}
    for name, (key, node) in pairs.items():
        if name == "params":
            continue
        if name == "cases":
            tree.value[name] = {c: {k: p.value for k, p in given.items()} for c, given in tree.cases.items()}
        else:
            tree.value[name] = _value(tree, node, (name,), key)


def _value(tree: Tree, node: yaml.Node, loc: Loc, key: yaml.Node | None) -> object:
    line, column = at(node)
    key_at = at(key) if key is not None else None
    if isinstance(node, yaml.MappingNode):
        tree.marks[loc] = Mark(line, column, key_at, "mapping")
        return {name: _value(tree, value, (*loc, name), k) for name, (k, value) in tree.pairs(node).items()}
    if isinstance(node, yaml.SequenceNode):
        tree.marks[loc] = Mark(line, column, key_at, "list")
        return [_value(tree, item, (*loc, index), None) for index, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)  # the third and last kind of node there is
    tree.marks[loc] = Mark(line, column, key_at, "text", node.value)
    verbatim = len(loc) > 2 and loc[0] == "steps" and loc[2] in _VERBATIM
    if "${" in node.value:
        return substitute(tree, node, verbatim)
    value = scalar(node.tag, node.value)
    return node.value if verbatim and value is not None else value
