"""What the models allow at a location, in words: for messages and for the reference. Reads the models,
changes nothing.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from labctl.scenario.tree import Loc
from labctl.scenario.words import listing
from labctl.units import (
    format_duration,
    format_size,
    parse_bytes,
    parse_duration_s,
    parse_percent,
    parse_rate_bps,
    parse_size_bytes,
)

_QUANTITIES: dict[Any, tuple[str, str]] = {
    parse_duration_s: ("duration", "a duration like 100ms"),
    parse_bytes: ("size", "a number of bytes like 65536 or 64KiB"),
    parse_size_bytes: ("size", "a size like 64KiB"),
    parse_rate_bps: ("rate", "a rate like 10mbit"),
    parse_percent: ("percentage", "a percentage like 5%"),
}


_JSON_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}


@dataclass(frozen=True)
class Shape:
    """The types that may stand somewhere: `words` names them in YAML's words; `model` is the mapping's, if
    one may.
    """

    words: str
    model: type[BaseModel] | None = None
    item: Any = None
    is_union: bool = False
    takes_text: bool = False
    lenient: bool = False


@dataclass(frozen=True)
class Field:
    """A key of a mapping: what may be written there."""

    description: str | None
    required: bool
    words: tuple[str, ...]
    quantity: str | None


def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """The keys of a mapping, as they are written in YAML."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def shape_at(model: type[BaseModel], loc: Loc) -> Shape:
    """What may stand at a location below `model`."""
    return _shape(annotation_at(model, loc))


def field_at(model: type[BaseModel], loc: Loc) -> Field | None:
    """The nearest key at or around a location below `model`."""
    while loc and not isinstance(loc[-1], str):
        loc = loc[:-1]
    owner = shape_at(model, loc[:-1]).model
    info = fields_of(owner).get(str(loc[-1])) if owner and loc else None
    if info is None:
        return None
    return Field(info.description, info.is_required(), _words(info.annotation), _quantity(info))


def models_below(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The model and every model that a value of it can hold, each once, outermost first."""
    found: dict[type[BaseModel], None] = {}
    waiting = [model]
    while waiting:
        here = waiting.pop(0)
        if here not in found:
            found[here] = None
            waiting += [inner for info in here.model_fields.values() for inner in _models_in(info.annotation)]
    return list(found)


def default_of(info: FieldInfo) -> object:
    """A key's default as it would be written in YAML; None when there is none worth showing."""
    if isinstance(info.default, bool | str):
        return info.default
    if isinstance(info.default, int | float):
        show = {"duration": format_duration, "size": format_size}.get(_quantity(info) or "")
        return show(info.default) if show and info.default else info.default
    return None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in get_args(annotation) for model in _models_in(arg)]


@cache
def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model by the keys they have in YAML."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def annotation_at(model: type[BaseModel], loc: Loc) -> Any:
    """The type that is asked for at a location below `model`, as Python's annotations have it."""
    here: Any = model
    for part in loc:
        shape = _shape(here)
        if isinstance(part, int):
            here = shape.item
        elif shape.model is not None and part in fields_of(shape.model):
            info = fields_of(shape.model)[part]
            here = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
        else:
            here = shape.item
    return here


def _branches(annotation: Any) -> list[Any]:
    """The types of a union, `None` left out, `Annotated` kept on each branch."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        branches = _branches(inner)
        return [Annotated[branches[0], *metadata]] if len(branches) == 1 else branches
    if get_origin(annotation) in (Union, types.UnionType):
        return [b for arg in get_args(annotation) if arg is not type(None) for b in _branches(arg)]
    return [annotation]


def _shape(annotation: Any) -> Shape:
    shapes = [_single(branch) for branch in _branches(annotation)]
    if len(shapes) == 1:
        return shapes[0]
    return Shape(
        listing(dict.fromkeys(shape.words for shape in shapes)),
        next((shape.model for shape in shapes if shape.model), None),
        next((shape.item for shape in shapes if shape.item), None),
        is_union=True,
        takes_text=any(shape.takes_text for shape in shapes),
    )


def _single(annotation: Any) -> Shape:
    metadata: tuple[Any, ...] = ()
    while get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        metadata += tuple(more)
    for entry in metadata:
        if isinstance(entry, BeforeValidator) and entry.func in _QUANTITIES:
            return Shape(_QUANTITIES[entry.func][1])
        if isinstance(entry, FieldInfo) and isinstance(entry.json_schema_extra, dict):
            # The type a validator takes and the one it makes differ, and the schema says the first.
            kinds = entry.json_schema_extra.get("type")
            if isinstance(kinds, list):
                return Shape(listing(_JSON_WORDS[str(kind)] for kind in kinds), takes_text="string" in kinds)
    origin = get_origin(annotation) or annotation
    if origin in (tuple, list):
        lenient = any(isinstance(entry, BeforeValidator) for entry in metadata)
        item = get_args(annotation)[0]
        words = f"{_shape(item).words} or a list" if lenient else "a list"
        return Shape(words, item=item, takes_text=lenient, lenient=lenient)
    if isinstance(origin, type) and issubclass(origin, BaseModel):
        return Shape(f"a mapping ({', '.join(keys_of(origin))})", model=origin)
    if origin is dict:
        return Shape("a mapping of names and values", item=get_args(annotation)[1])
    if origin is Literal:
        return Shape(listing(map(str, get_args(annotation))), takes_text=True)
    plain = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    return Shape(plain.get(origin, "a value"), takes_text=origin is str)


def _words(annotation: Any) -> tuple[str, ...]:
    """The words of a Literal, wherever it stands in an annotation."""
    if get_origin(annotation) is Literal:
        return tuple(str(arg) for arg in get_args(annotation))
    return tuple(word for arg in get_args(annotation) for word in _words(arg))


def _quantity(info: FieldInfo) -> str | None:
    for branch in _branches(Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation):
        metadata = get_args(branch)[1:] if get_origin(branch) is Annotated else ()
        for entry in metadata:
            if isinstance(entry, BeforeValidator) and entry.func in _QUANTITIES:
                return _QUANTITIES[entry.func][0]
    return None
