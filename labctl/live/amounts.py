"""The scenario that steps told one by one amount to, as text that `labctl run` takes. Pure."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labctl.faults import FAULTS

# Text that YAML's core schema (10.3.2) reads as that text, in a flow collection too.
_PLAIN = re.compile(r"[A-Za-z/_][A-Za-z0-9/_.-]*(?: [A-Za-z0-9/_.-]+)*")
_WORDS = frozenset({"true", "false", "null"})


@dataclass
class Amounts:
    """A scenario as it grows: what stands above its steps, and the steps taken so far."""

    header: Mapping[str, Any]
    steps: list[dict[str, Any]] = field(default_factory=list)

    def text(self) -> str:
        """The scenario as YAML: one line for each key, with `$${` where Python wrote `${`."""
        lines = ["# Written by labctl while a Python program told it what to do."]
        lines += [f"{flow(key)}: {flow(value)}" for key, value in self.header.items()]
        lines += ["steps:"] if self.steps else ["steps: []"]
        for step in self.steps:
            for index, (key, value) in enumerate(step.items()):
                lines.append(f"  {'- ' if index == 0 else '  '}{flow(key)}: {flow(value)}")
        return "\n".join(lines) + "\n"

    def program(self, step: Mapping[str, Any]) -> str:
        """The program that a step runs or finishes, as it was called when it was started."""
        if "run" in step:
            return str(step["run"][0])
        return next(str(s["start"][0]) for s in reversed(self.steps) if s.get("as") == step["finish"])

    def fault_kind(self, name: str) -> str:
        """The kind of the fault that was last put in place under this name."""
        return next(kind for s in reversed(self.steps) if s.get("fault") == name for kind in FAULTS if kind in s)


def plain(value: Any) -> Any:
    """A value as YAML has it: mappings, lists, text, numbers, true, false and null. Raises TypeError for any other."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item) for item in value]
    raise TypeError(f"a scenario has no place for {type(value).__name__}: {value!r}")


def flow(value: Any) -> str:
    """A plain value in YAML's flow style."""
    if isinstance(value, str):
        safe = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if safe else json.dumps(value.replace("${", "$${"), ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return json.dumps(value)
