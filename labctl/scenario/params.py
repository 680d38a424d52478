"""Parameters: declared in `params:`, given by a case, changed from outside, and put in where `${name}` stands."""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml

from labctl.errors import UsageError
from labctl.scenario.tree import Cases, Mark, Param, Scalar, Tree, at, scalar
from labctl.scenario.words import did_you_mean, listing, nearest, shorten
from labctl.scenario.yamltext import MAX_BYTES, fragment

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
PARAM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
CASE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,19}")


def declare(tree: Tree, key: yaml.Node, node: yaml.Node) -> None:
    """Read `params:`: names, each with a value."""
    tree.marks["params",] = Mark(*at(node), at(key), "mapping")
    if not isinstance(node, yaml.MappingNode):
        tree.problem(*at(key), "params: is a mapping of names and values, like params: {port: 65432}")
        return
    tree.params |= _values(tree, node, "params")


def declare_cases(tree: Tree, key: yaml.Node, node: yaml.Node) -> None:
    """Read `cases:`: names, each with values for parameters."""
    tree.marks["cases",] = Mark(*at(node), at(key), "mapping")
    if not isinstance(node, yaml.MappingNode) or not node.value:
        shape = "cases: {near: {delay: 10ms}, far: {delay: 300ms}}"
        tree.problem(*at(key), f"cases: is a mapping of names and values for parameters, like {shape}")
        return
    for case, (name_node, values_node) in tree.pairs(node).items():
        tree.marks["cases", case] = Mark(*at(values_node), at(name_node), "mapping")
        if not CASE_NAME.fullmatch(case):
            rule = "a name is lower-case letters, digits and dashes, at most 20"
            tree.problem(*at(name_node), f"{shorten(case)!r} cannot be a case; {rule}")
        elif not isinstance(values_node, yaml.MappingNode):
            shape = f"{case}: {{delay: 10ms}}, or {case}: {{}} for the defaults alone"
            tree.problem(*at(name_node), f"the case {case} is a mapping of parameters and values, like {shape}")
        else:
            tree.cases[case] = _values(tree, values_node, "cases", case)


def _values(tree: Tree, mapping: yaml.MappingNode, *around: str) -> dict[str, Param]:
    found = {}
    for name, (name_node, value_node) in tree.pairs(mapping).items():
        tree.marks[(*around, name)] = Mark(*at(value_node), at(name_node), "text")
        if not PARAM_NAME.fullmatch(name):
            rule = "a name is letters, digits, _ and -, a letter first"
            tree.problem(*at(name_node), f"{shorten(name)!r} cannot be a parameter; {rule}")
            continue
        if isinstance(value_node, yaml.ScalarNode) and (value_node.value or value_node.style):
            found[name] = Param(scalar(value_node.tag, value_node.value), value_node.value)
        else:
            tree.problem(*at(name_node), f"the parameter {name} needs one value: text, a number, true, false or null")
            found[name] = Param("", "")
    return found


def check_cases(tree: Tree, defaults: Mapping[str, Param]) -> None:
    """Every case gives a value to every parameter that has no default, and no two are the same."""
    named = dict.fromkeys(name for values in tree.cases.values() for name in values)
    seen: dict[tuple[tuple[str, str], ...], str] = {}
    for case, values in tree.cases.items():
        line, column = tree.marks["cases", case].key or (1, 1)
        effective = {**defaults, **values}
        for name in named:
            if name not in effective:
                other = next(c for c, given in tree.cases.items() if name in given)
                tree.problem(
                    line, column, f"the case {case} has no {name}, and {other} has; write one, or a default in params:"
                )
        twin = seen.setdefault(tuple(sorted((name, param.text) for name, param in effective.items())), case)
        if twin != case:
            tree.problem(line, column, f"the case {case} is the same as {twin}, so it shows nothing new; change or remove it")


def chosen(cases: Cases, case: str | None, file: str) -> dict[str, Param]:
    """The values of one case. Raises UsageError where it does not exist, or none is named and there are some."""
    if case is None:
        if cases:
            raise UsageError(f"{file} has the cases {listing(cases, 'and')}; name one of them")
        return {}
    if case not in cases:
        known = f"it has {listing(cases, 'and')}" if cases else "it has none"
        raise UsageError(f"there is no case {case} in {file}{did_you_mean(case, cases, known)}")
    return cases[case]


def override(tree: Tree, overrides: Mapping[str, str]) -> None:
    """Put the values from outside in the place of the file's own. Raises UsageError for a name that it has not."""
    for name, text in overrides.items():
        if name not in tree.params:
            near = nearest(name, tree.params)
            known = f"it has {listing(tree.params, 'and')}" if tree.params else "it has none"
            hint = f"; did you mean --set {near}={shorten(text)}?" if near else ""
            raise UsageError(f"--set {name}: {tree.source.file} has no such parameter{hint} ({known})")
        tree.params[name] = _given(name, text)


def _given(name: str, text: str) -> Param:
    """A value from the command line, read as one YAML scalar. Raises UsageError for more than one, and for what is no text."""
    if any(0xD800 <= ord(char) <= 0xDFFF for char in text):  # what the command line had was bytes (PEP 383)
        raise UsageError(f"--set {name}={shorten(text)}: a parameter is UTF-8 text, and this is not")
    node = fragment(text)
    if node is None:
        return Param(text, text, given=True)
    if not isinstance(node, yaml.ScalarNode):
        raise UsageError(
            f"--set {name}={shorten(text)}: a parameter is one value; "
            f"text like this needs quotes: '\"{shorten(text)}\"'"
        )
    return Param(scalar(node.tag, node.value), node.value, given=True)


def substitute(tree: Tree, node: yaml.ScalarNode, verbatim: bool) -> Scalar:
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
        tree.problem(*at(node), "the parameters make more than 1 MiB of text of this file")
        return text

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "${"
        if match[0].endswith("}") and name in tree.params:
            tree.used.add(name)
            return tree.params[name].text
        tree.problem(*at(node), _unknown(tree, name, match[0]))
        return match[0]

    return _REFERENCE.sub(replace, text)


def _unknown(tree: Tree, name: str, written: str) -> str:
    if not written.endswith("}") or not PARAM_NAME.fullmatch(name):
        return f"{shorten(written)} is no parameter; write ${{name}}, or $${{ for the two characters themselves"
    if not tree.params:
        return f"there is no parameter {name}; write it down first, as params: {{{name}: VALUE}}"
    known = f"this file has {listing(tree.params, 'and')}"
    return f"there is no parameter {name}{did_you_mean(name, tree.params, known)}"
