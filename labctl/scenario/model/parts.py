"""What every part of a scenario is made of: the strict base of the models, commands, names, ports, filters."""

from __future__ import annotations

import re
import warnings
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, WithJsonSchema

SYMBOL = re.compile(r"E[A-Z0-9]+(_[A-Z]+)?")


class Strict(BaseModel):
    """Base of every part of a scenario: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)


def _argv(value: object) -> object:
    if isinstance(value, str):
        if len(words := value.split()) > 1:
            raise ValueError(
                f"a command is a list, so that every argument is seen; write [{', '.join(words)}]"
            )
        return (value,)
    if isinstance(value, list):
        if not value:
            raise ValueError("a command needs at least a program, like [probe, connect, server, 65432]")
        is_number = [isinstance(part, int | float) and not isinstance(part, bool) for part in value]
        return tuple(str(part) if number else part for part, number in zip(value, is_number, strict=True))
    return value


def _reaches_a_program(value: str) -> str:
    """Whatever a program is given ends for it at its first NUL (execve(2)), so nothing that has one can be handed over."""
    if "\0" in value:
        raise ValueError(f"{value[:40]!r} has a NUL in it, and no program can be given one; leave it out")
    return value


def _is_a_name_of_a_variable(value: str) -> str:
    if not value or "=" in value or "\0" in value:
        rule = "it is at least one character, without = and NUL"
        raise ValueError(f"{value[:40]!r} is no name of an environment variable; {rule}")
    return value


def _names(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _is_a_regular_expression(value: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{value[:40]!r} is no regular expression: {error}") from None
    return value


def _one_line(value: str) -> str:
    text = value.strip()
    if any(ord(char) < 32 for char in text):
        raise ValueError("a filter is one line without tabs; join its lines with && or ||")
    return text


_GIVEN = {"type": ["string", "number", "boolean"], "pattern": r"^[^\u0000]*$"}
Regex = Annotated[str, AfterValidator(_is_a_regular_expression), Field(min_length=1)]
Word = Annotated[str, AfterValidator(_reaches_a_program)]
Argv = Annotated[
    tuple[Word, ...],
    BeforeValidator(_argv),
    WithJsonSchema(
        {
            "type": ["array", "string"],
            "items": _GIVEN,
            "minItems": 1,
            "pattern": r"^[^\s\u0000]+$",
            "examples": [["probe", "connect", "server", 65432]],
        }
    ),
]
Env = Annotated[
    dict[Annotated[str, AfterValidator(_is_a_name_of_a_variable)], Word],
    Field(description="Environment variables of the program, each its text as written."),
    WithJsonSchema({"type": "object", "additionalProperties": _GIVEN, "propertyNames": {"pattern": r"^[^=\u0000]+$"}}),
]
HostName = Annotated[str, Field(description="A host of the lab: one service of its compose file.")]
HostNames = Annotated[
    tuple[str, ...],
    BeforeValidator(_names),
    Field(min_length=1, json_schema_extra={"type": ["array", "string"], "items": {"type": "string"}}),
]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]
Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,19}$")]
Filter = Annotated[str, AfterValidator(_one_line)]
Count = Annotated[StrictInt, Field(ge=0)]
Signal = Literal["TERM", "INT", "KILL", "HUP", "QUIT", "USR1", "USR2"]
