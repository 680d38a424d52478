"""The JSON Schema of a scenario, for editors: made from the models, and told what the loader adds to them.

`python -m labctl.scenario.schema` writes schema.json beside this file. What a schema cannot say (names that
must exist, ranges in order, a unit's limits) the loader and `labctl check` say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from labctl.errnos import TEXTS
from labctl.faults import FAULTS
from labctl.faults.base import Fault
from labctl.scenario.model import PROGRAMS, STEPS, Scenario
from labctl.scenario.model.parts import SYMBOL
from labctl.scenario.params import CASE_NAME, PARAM_NAME
from labctl.scenario.shape import default_of, fields_of, models_below, shape_at

FILE = Path(__file__).with_name("schema.json")
PARAM = {"$ref": "#/$defs/Param"}

# What the models' validators demand, in JSON Schema's words.
RULES: dict[str, dict[str, Any]] = {
    "FaultStep": {"oneOf": [{"required": [kind]} for kind in FAULTS]},
    "Ready": {"oneOf": [{"required": [key]} for key in ("listen", "bound", "output")]},
    "Until": {"oneOf": [{"required": [key]} for key in ("listen", "bound")], "not": {"required": ["output"]}},
    "Expectation": {"minProperties": 1},
    "TextMatch": {"minProperties": 1},
    "DurationRange": {"minProperties": 1},
    "SizeRange": {"minProperties": 1},
    "CountRange": {"minProperties": 1},
    "SocketExpectation": {"anyOf": [{"required": ["port"]}, {"required": ["peer"]}]},
    "QueueOf": {"anyOf": [{"required": ["port"]}, {"required": ["peer"]}]},
}


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a scenario file."""
    raw = Scenario.model_json_schema(by_alias=True, mode="validation")
    defs: dict[str, Any] = raw.pop("$defs")
    for model in models_below(Scenario):
        definition = raw if model is Scenario else defs[model.__name__]
        _describe(definition, model)
    defs["Param"] = {
        "type": "string",
        "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_-]*\}",
        "description": "Text with a value from params in it, like ${port}.",
    }
    raw["properties"]["params"]["propertyNames"] = {"pattern": f"^{PARAM_NAME.pattern}$"}
    cases = raw["properties"]["cases"]
    cases |= {"minProperties": 1, "propertyNames": {"pattern": f"^{CASE_NAME.pattern}$"}}
    cases["additionalProperties"]["propertyNames"] = {"pattern": f"^{PARAM_NAME.pattern}$"}
    raw["properties"]["capture"] = {
        "description": raw["properties"]["capture"]["description"],
        "anyOf": [{"type": "boolean"}, {"enum": ["on", "off"]}, PARAM, {"$ref": "#/$defs/Capture"}],
    }
    _suggest(defs)
    raw["properties"]["steps"]["items"] = {
        "anyOf": [{"$ref": f"#/$defs/{s.__name__}"} for s in STEPS.values()]
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **raw,
        "title": "labctl scenario",
        "$defs": defs,
    }


def _suggest(defs: dict[str, Any]) -> None:
    """Offer what is most often written where anything of its kind may stand: errors of the atlas, bundled programs."""
    symbol = {"type": ["string", "null"], "pattern": f"^{SYMBOL.pattern}$"}
    known = [text.symbol for text in TEXTS if text.symbol.startswith("E")]
    defs["Errno"] = {
        "description": "An error of errno(3) or getaddrinfo(3) by its symbol; null is success.",
        "anyOf": [{"enum": [*known, None]}, symbol, PARAM],
    }
    errno = defs["Expectation"]["properties"]["errno"]
    for branch in errno["anyOf"]:
        if branch == symbol:
            branch.clear()
            branch["$ref"] = "#/$defs/Errno"
        elif branch.get("type") == "array":
            branch["items"] = {"$ref": "#/$defs/Errno"}
    for step, key in (("RunStep", "run"), ("StartStep", "start")):
        command = defs[step]["properties"][key]["anyOf"][0]
        command["prefixItems"] = [{"anyOf": [{"enum": list(PROGRAMS)}, {"type": "string"}]}]


def text() -> str:
    """The schema as schema.json holds it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _describe(definition: dict[str, Any], model: type[BaseModel]) -> None:
    """Put right what pydantic cannot know of one model, in place."""
    definition.pop("title", None)
    definition.update(RULES.get(model.__name__, {}))
    if issubclass(model, Fault):
        definition["description"] = model.summary
    for key, info in fields_of(model).items():
        kept = definition["properties"][key]
        about = {word: kept.pop(word) for word in ("description", "examples") if word in kept}
        kept.pop("title", None)
        kept.pop("default", None)
        if (default := default_of(info)) is not None:
            about["default"] = default
        definition["properties"][key] = about | _property(kept, model, key, info)


def _property(prop: dict[str, Any], model: type[BaseModel], key: str, info: FieldInfo) -> dict[str, Any]:
    """A key's own schema: no null where it means nothing, one where a list of one may be, a parameter
    anywhere.
    """
    branches = [branch for branch in prop.get("anyOf", [prop]) if branch != {"type": "null"}]
    shape = shape_at(model, (key,))
    if shape.lenient and info.annotation is not None and branches[0].get("type") == "array":
        branches.insert(0, branches[0].get("items", {"type": "string"}))
    branches = [fixed for branch in branches for fixed in _branch(branch)]
    if any(getattr(limit, "gt", None) is not None or getattr(limit, "ge", 0) > 0 for limit in info.metadata):
        branches = [branch for branch in branches if branch != {"const": 0}]
    if any(_is_narrow(branch) for branch in branches):
        branches.append(PARAM)
    return branches[0] if len(branches) == 1 else {"anyOf": branches}


def _branch(branch: dict[str, Any]) -> list[dict[str, Any]]:
    """One alternative; a pattern binds text only, so of a quantity the number is said apart: bare zero."""
    branch.pop("title", None)
    if branch.get("type") == ["string", "integer"] and "pattern" in branch:
        examples = {"examples": branch["examples"]} if "examples" in branch else {}
        return [{"type": "string", "pattern": branch["pattern"], **examples}, {"const": 0}]
    return [branch]


def _is_narrow(branch: dict[str, Any]) -> bool:
    """Whether text like ${name} is refused by this alternative."""
    kind = branch.get("type")
    return kind in ("integer", "number", "boolean") or bool(branch.keys() & {"enum", "pattern", "const"})


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
