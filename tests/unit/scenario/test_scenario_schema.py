# ruff: noqa: E501  messages stand here as they are shown, on one line
"""The JSON Schema says what the loader says, as far as a schema can."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from bad_scenarios import HEAD, NO_SCENARIO, RUN
from test_scenario_loader import GOOD

from labctl.errors import ScenarioError
from labctl.scenario import schema as module
from labctl.scenario.loader import from_source
from labctl.scenario.model import PROGRAMS
from labctl.scenario.yamltext import CoreLoader, Source

SCENARIOS = Path(__file__).resolve().parents[3] / "scenarios"

# What no schema can see: several values at once, numbers in text, names elsewhere in the file, or YAML itself.
BEYOND_A_SCHEMA = (
    "could never lie between", "nothing could ever lie", "no step expects anything", "answers TCP only", "has no ports", "regular expression",
    "out of range", "is no port", "the key", "is used nowhere", "there is no parameter", "(${", "is no parameter",
)  # fmt: skip

GOOD_ONES = [
    GOOD,
    HEAD + RUN,
    HEAD
    + RUN
    + "  - wait: 100 ms\n  - {start: sh, on: a, ready: {output: x, timeout: 0.5s}, env: {A: 1, B: true}, as: b}\n",
    HEAD
    + RUN
    + "  - {until: {listen: 80, timeout: 1m}, on: a}\n  - {stop: a, signal: KILL}\n  - heal: [a, b]\n  - heal: all\n  - {finish: a, expect: {exit: 0}}\n",
    HEAD
    + RUN
    + "  - {fault: a, at: [b, c], reject: {with: tcp-reset, protocol: tcp, dport: 80-90, sport: 5}}\n",
    "scenario: a\nlab: x.yml\ntags: [a]\ntimeout: 1m\ncapture: false\nsample: 50ms\nsteps:\n" + RUN,
    "scenario: a\ncapture: {max: 1GiB, snaplen: 96B, filter: tcp port 80}\nparams: {a: 1}\ntimeout: ${a}0s\nsteps:\n" + RUN,
    HEAD
    + "  - run: x\n    on: a\n    expect: {errno: [null, EAGAIN], sent: 64KiB, received: {min: 0, max: 3}, stdout: x,\n"
    "      stderr: {lacks: y}, timed_out: false, within: 0, packets: [{at: a, filter: x, count: {min: 1}}],\n"
    "      sockets: [{at: a, port: 1, state: ESTAB, send_q: 0}], outcome: {a: null},\n"
    "      queues: {of: [{at: a, peer: 5, queue: send_q}], equals: received, tolerance: 1KiB}}\n",
]


@cache
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(module.schema())


def accepts(text: str) -> bool:
    try:
        value: Any = yaml.load(text, CoreLoader)
    except yaml.YAMLError:
        return False
    return validator().is_valid(value)


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(module.schema())


def test_the_file_is_up_to_date() -> None:
    assert module.FILE.read_text(encoding="utf-8") == module.text(), "run python -m labctl.scenario.schema"


@pytest.mark.parametrize("text", GOOD_ONES)
def test_what_the_loader_takes_the_schema_takes(text: str) -> None:
    assert from_source(Source("f.yaml", text))
    assert accepts(text)


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_scenarios_fit_the_schema(path: Path) -> None:
    assert accepts(path.read_text(encoding="utf-8"))


def _for_a_schema() -> list[tuple[str, str]]:
    return [
        (text, messages[0])
        for text, messages in NO_SCENARIO
        if not all(any(word in message for word in BEYOND_A_SCHEMA) for message in messages)
    ]


@pytest.mark.parametrize("text", [t for t, _ in _for_a_schema()], ids=[m for _, m in _for_a_schema()])
def test_what_the_loader_refuses_the_schema_refuses(text: str) -> None:
    with pytest.raises(ScenarioError):
        from_source(Source("f.yaml", text))
    assert not accepts(text)


def test_every_key_has_its_hover_text() -> None:
    found = module.schema()
    silent = [
        f"{name}.{key}"
        for name, definition in {"": found, **found["$defs"]}.items()
        for key, value in definition.get("properties", {}).items()
        if "description" not in value
    ]
    assert silent == []
    assert [name for name, definition in found["$defs"].items() if "description" not in definition] == []
    assert "null" not in json.dumps(found["$defs"]["Ready"])


def test_an_editor_can_offer_errors_and_programs() -> None:
    """The errors of the atlas and the bundled programs are named; others of their kind may stand there as well."""
    defs = module.schema()["$defs"]
    assert {"ECONNRESET", "EAI_NONAME", None} <= set(defs["Errno"]["anyOf"][0]["enum"])
    for step, key in (("RunStep", "run"), ("StartStep", "start")):
        assert defs[step]["properties"][key]["anyOf"][0]["prefixItems"][0]["anyOf"][0]["enum"] == list(PROGRAMS)
    for said, is_good in (("EXDEV", True), ("[ETIMEDOUT, null]", True), ("'${why}'", True), ("['${a}', null]", True), ("etimedout", False), ("5", False)):
        text = HEAD + f"  - {{run: [curl, x], on: a, expect: {{errno: {said}}}}}\n"
        assert accepts(text) is is_good, text
