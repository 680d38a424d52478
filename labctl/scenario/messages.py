"""What pydantic says about a value, in the words of the language: one sentence, what is wrong and what to
write.

A union reports every branch; only the branch the author meant is shown. Python's words (str, tuple) never
are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from labctl.errors import Problem
from labctl.faults import FAULTS
from labctl.faults.base import Fault
from labctl.scenario.model import Step
from labctl.scenario.shape import Field, Shape, annotation_at, field_at, keys_of, shape_at
from labctl.scenario.tree import Loc, Mark, Tree
from labctl.scenario.words import did_you_mean, listing, nearest, shorten
from labctl.units import format_duration, format_rate, format_size

# What to write for a key that is required and missing.
_EXAMPLES = {
    "scenario": "firewall",
    "steps": "and below it a list of steps, each behind a dash",
    "on": "server",
    "at": "server",
    "expect": "{errno: null}",
    "filter": "'tcp.flags.reset == 1'",
    "of": "[{at: server, queue: recv_q, port: 65432}]",
    "queue": "recv_q",
}
_WRONG_TYPE = {
    "model_type", "dict_type", "tuple_type", "list_type", "string_type", "int_type", "int_parsing",
    "int_from_float", "bool_type", "bool_parsing", "float_type", "float_parsing", "none_required",
}  # fmt: skip


# A whole number with more digits than the language takes for one (yamltext.py), which came as text or as a float.
_BEYOND = re.compile(r"[-+]?[0-9]{19,}|0o[0-7]{21,}|0x[0-9a-fA-F]{16,}")
_MOST_DIGITS = 18

_NULL_MEANS_SOMETHING = ("errno", "outcome")


@dataclass(frozen=True)
class _Finding:
    """One pydantic error: where it is in the file and, if in one branch of a union, that union and branch."""

    error: ErrorDetails
    loc: Loc
    union: Loc | None = None
    branch: str = ""

    @property
    def is_wrong_type(self) -> bool:
        return self.error["type"] in _WRONG_TYPE


def explain(tree: Tree, model: type[BaseModel], error: ValidationError, prefix: Loc) -> list[Problem]:
    """The problems behind a ValidationError of `model`, whose value stands at `prefix` in the file."""
    findings = [_located(tree, model, detail, prefix) for detail in error.errors()]
    findings = [finding for finding in findings if not _is_echo(tree, finding) and not _is_misspelt(finding, findings)]
    chosen = [finding for finding in findings if finding.union is None]
    for union in dict.fromkeys(finding.union for finding in findings if finding.union is not None):
        shape = shape_at(model, union[len(prefix) :])
        chosen += _meant(tree, shape, union, [finding for finding in findings if finding.union == union])
    # Whatever the filters above make of it, an error is never turned into none.
    if not chosen and not tree.problems:
        chosen = [_located(tree, model, error.errors()[0], prefix)]
    return [_problem(tree, model, finding, prefix) for finding in chosen]


def _located(tree: Tree, model: type[BaseModel], detail: ErrorDetails, prefix: Loc) -> _Finding:
    """Take from pydantic's location what names a branch of a union (`str`, `SizeRange`) and no place."""
    loc: Loc = prefix
    union: Loc | None = None
    branch = ""
    for part in detail["loc"]:
        if (*loc, part) in tree.marks:
            loc = (*loc, part)
        elif shape_at(model, loc[len(prefix) :]).is_union and union is None:
            union, branch = loc, str(part)
        elif detail["type"] == "missing":
            loc = (*loc, part)
    return _Finding(detail, loc, union, branch)


def _is_echo(tree: Tree, finding: _Finding) -> bool:
    """Whether the error only repeats another: an empty key's, or (a list too short) that of an item."""
    too_short = finding.error["type"] == "too_short" and (*finding.loc, 0) in tree.marks
    return too_short or finding.loc in tree.empty


def _is_misspelt(missing: _Finding, findings: list[_Finding]) -> bool:
    """Whether a key is missing only because it stands there misspelt, which is told."""
    if missing.error["type"] != "missing":
        return False
    *around, key = missing.loc
    unknown = [f.loc[-1] for f in findings if f.error["type"] == "extra_forbidden" and f.loc[:-1] == tuple(around)]
    return any(nearest(str(word), [str(key)]) for word in unknown)


def _meant(tree: Tree, shape: Shape, union: Loc, findings: list[_Finding]) -> list[_Finding]:
    """Of one union's errors those of the branch that was meant: by a mapping the mapping, else the others."""
    mapping = re.compile(rf"\b{shape.model.__name__ if shape.model else '-'}\b")
    of_mapping = [finding for finding in findings if mapping.search(finding.branch)]
    if tree.marks[union].what == "mapping" and of_mapping:
        return of_mapping
    rest = [finding for finding in findings if finding not in of_mapping] or findings
    return [finding for finding in rest if not finding.is_wrong_type][:1] or rest[:1]


def empties(tree: Tree, model: type[BaseModel], value: object, loc: Loc, prefix: Loc) -> list[Problem]:
    """A key with nothing behind it, where null means nothing: mostly an indentation gone wrong."""
    if isinstance(value, dict):
        inside = [(key, item) for key, item in value.items() if key not in _NULL_MEANS_SOMETHING]
        return [p for key, item in inside for p in empties(tree, model, item, (*loc, key), prefix)]
    if isinstance(value, list):
        return [
            p for index, item in enumerate(value) for p in empties(tree, model, item, (*loc, index), prefix)
        ]
    if value is not None or loc not in tree.marks:
        return []
    tree.empty.add(loc)
    return [tree.source.problem(*tree.marks[loc].place, _empty(model, loc[len(prefix) :]))]


def _problem(tree: Tree, model: type[BaseModel], finding: _Finding, prefix: Loc) -> Problem:
    kind = finding.error["type"]
    loc = finding.loc
    mark = _nearest(tree, loc)
    inside = loc[len(prefix) :]
    if kind == "extra_forbidden":
        line, column = mark.key or (mark.line, mark.column)
        return tree.source.problem(line, column, _unknown_key(model, inside))
    if kind == "missing":
        line, column = _nearest(tree, loc[:-1]).place if len(loc) > 1 else (1, 1)
        return tree.source.problem(line, column, _missing(model, inside))
    line, column = mark.place
    message = _sentence(model, finding, inside, mark)
    return tree.source.problem(line, column, message + _where_from(tree, mark))


def _nearest(tree: Tree, loc: Loc) -> Mark:
    while loc not in tree.marks:
        loc = loc[:-1]
    return tree.marks[loc]


def _sentence(model: type[BaseModel], finding: _Finding, inside: Loc, mark: Mark) -> str:
    error = finding.error
    context: dict[str, Any] = error.get("ctx") or {}
    field = field_at(model, inside)
    key = next((part for part in reversed(inside) if isinstance(part, str)), "")
    written = repr(shorten(mark.written)) if mark.written else "this"
    if (beyond := _beyond(model, inside, mark, field)) is not None:
        return f"{key}: {written} is out of range; {beyond}"
    if error["type"] == "value_error":
        return str(context["error"])
    if finding.is_wrong_type:
        return _wrong_type(model, inside, mark, key)
    if error["type"] == "literal_error" and field:
        allowed = f"it is one of {listing(field.words)}"
        return f"{key}: cannot be {written}{did_you_mean(mark.written or '', field.words, allowed)}"
    if error["type"] == "string_pattern_mismatch":
        return f"{key}: cannot be {written}; {_name_rule(context['pattern'])}"
    if error["type"] in ("too_short", "string_too_short"):
        return f"{key}: is empty; write at least one"
    if error["type"] == "string_too_long":
        return f"{key}: is longer than {context['max_length']} characters; shorten it"
    if limit := _limit(error["type"], context, field):
        return f"{key}: {written} is out of range; {limit}"
    return f"{key}: {written} cannot be used here: {error['msg'][:1].lower()}{error['msg'][1:]}"


def _empty(model: type[BaseModel], inside: Loc) -> str:
    shape, field = shape_at(model, inside), field_at(model, inside)
    key = next((str(part) for part in reversed(inside) if isinstance(part, str)), "")
    if inside and isinstance(inside[-1], int):
        return f"an entry of {key}: is empty; write {shape.words}, or remove it"
    if shape.model and issubclass(shape.model, Fault):
        return f"{key}: is empty; write its keys one level deeper, or {key}: {{}} for all its defaults"
    return f"{key}: is empty; write {shape.words}" + (
        "" if field and field.required else f", or leave {key}: out"
    )


def _name_rule(pattern: str) -> str:
    """The rule of a name in words, read from its regular expression."""
    longest = re.search(r"\{0,(\d+)\}", pattern)
    first = " beginning with a letter" if pattern.startswith("^[a-z][") else ""
    most = f", at most {int(longest[1]) + 1}" if longest else ""
    return f"a name is lower-case letters, digits and dashes{first}{most}"


_SHOWN_AS: dict[str, Callable[[Any], str]] = {
    "duration": format_duration, "size": format_size, "rate": format_rate, "percentage": "{:g}%".format,
}  # fmt: skip


def _beyond(model: type[BaseModel], inside: Loc, mark: Mark, field: Field | None) -> str | None:
    """What a whole number of too many digits may be at most, or at least; None when it is none, or none may stand there."""
    written = mark.written or ""
    if not _BEYOND.fullmatch(written) or "number" not in shape_at(model, inside).words:
        return None
    most = 10**_MOST_DIGITS - 1
    try:
        TypeAdapter(annotation_at(model, inside)).validate_python(-most if written.startswith("-") else most)
    except ValidationError as error:
        limits = (_limit(detail["type"], detail.get("ctx") or {}, field) for detail in error.errors())
        return next((limit for limit in limits if limit), None)
    return f"write at most {_MOST_DIGITS} digits"


def _limit(kind: str, context: dict[str, Any], field: Field | None) -> str | None:
    show: Callable[[Any], str] = str
    if field and field.quantity:
        show = _SHOWN_AS[field.quantity]
    words = {
        "greater_than": ("gt", "it must be more than"),
        "greater_than_equal": ("ge", "it must be at least"),
        "less_than": ("lt", "it must be less than"),
        "less_than_equal": ("le", "it must be at most"),
    }
    if kind not in words:
        return None
    bound, sentence = words[kind]
    return f"{sentence} {show(context[bound])}"


def _wrong_type(model: type[BaseModel], inside: Loc, mark: Mark, key: str) -> str:
    shape = shape_at(model, inside)
    had = {"mapping": "a mapping", "list": "a list"}.get(mark.what, repr(shorten(mark.written or "")))
    hint = ""
    if mark.what == "text" and shape.takes_text:
        hint = f'; as text it is written in quotes: "{shorten(mark.written or "")}"'
    return f"{key}: must be {shape.words}, not {had}{hint}"


def _where_from(tree: Tree, mark: Mark) -> str:
    """Which parameter a wrong value came from."""
    for name, param in tree.params.items():
        if mark.written and f"${{{name}}}" in mark.written:
            return f" (${{{name}}} is {shorten(param.text)}{', by --set' if param.given else ''})"
    return ""


def _unknown_key(model: type[BaseModel], inside: Loc) -> str:
    *around, word = inside
    word = str(word)
    owner = shape_at(model, tuple(around)).model or model
    keys = keys_of(owner)
    if not around and hasattr(model, "spec") and nearest(word, FAULTS):
        faults = f"a fault is one of {listing(FAULTS)}"
        return f"there is no fault {shorten(word)!r}{did_you_mean(word, FAULTS, faults)}"
    for key in keys:
        inner = shape_at(owner, (key,)).model or shape_at(owner, (key, 0)).model
        if inner and word in keys_of(inner):
            return f"{word}: belongs inside {key}:, indented one level deeper"
    known = f"the keys here are {listing(keys, 'and')}"
    return f"unknown key {shorten(word)!r}{did_you_mean(word, keys, known)}"


def _missing(model: type[BaseModel], inside: Loc) -> str:
    key = str(inside[-1])
    field = field_at(model, inside)
    about = (
        f" ({field.description.rstrip('.')})" if field and field.description and key not in _EXAMPLES else ""
    )
    owner = next((part for part in reversed(inside[:-1]) if isinstance(part, str)), None)
    where = f"this {model.kind} step" if issubclass(model, Step) else "this scenario"
    if owner:
        where = f"this entry of {owner}:" if isinstance(inside[-2], int) else f"{owner}:"
    return f"{key}: is missing in {where}; write {key}: {_EXAMPLES.get(key, '…')}{about}"
