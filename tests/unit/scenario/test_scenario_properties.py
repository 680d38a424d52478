"""Whatever stands in a file, the answer is a scenario or a ScenarioError with positions inside that file."""

from __future__ import annotations

import json
from typing import Any

from bad_scenarios import NO_SCENARIO
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scenario_loader import GOOD

from labctl.errors import Problem, ScenarioError
from labctl.scenario.loader import from_source
from labctl.scenario.yamltext import decode

QUICK = settings(max_examples=150, deadline=None)
PIECES = [
    "\n",
    "  ",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "'",
    '"',
    "#",
    "&a ",
    "*a",
    "<<: ",
    "${",
    "${port}",
    "null",
    "true",
]
WORDS = [
    *PIECES,
    "expect:",
    "run:",
    "errno:",
    "drop:",
    "1e9",
    "010",
    "-1",
    "\t",
    "!x ",
    "|",
    ">",
    "---\n",
    "\0",
    "é",
    "\u2028",
]


def problems_of(data: bytes) -> list[Problem] | None:
    try:
        from_source(decode("f.yaml", data))
    except ScenarioError as error:
        return error.problems
    return None


def survives(data: bytes) -> None:
    found = problems_of(data)
    if found is not None:
        lines = data.count(b"\n") + data.count(b"\r") + data.count(b"\xc2\x85") + data.count(b"\xe2\x80") + 2
        assert found
        assert all(1 <= p.line <= lines and p.column >= 1 and p.message for p in found)


@QUICK
@given(st.binary(max_size=300))
def test_bytes(data: bytes) -> None:
    survives(data)


@QUICK
@given(st.lists(st.sampled_from(WORDS), max_size=40).map("".join))
def test_scraps_of_yaml(text: str) -> None:
    survives(text.encode())


@QUICK
@given(st.data())
def test_mutations_of_a_good_scenario(data: Any) -> None:
    text = GOOD
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + data.draw(st.sampled_from(["", *WORDS])) + text[end:]
    survives(text.encode())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["5s", "x", "", "ETIMEDOUT", "64KiB"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["errno", "min", "max", "at", "filter", "drop", "to", "contains", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@QUICK
@given(st.data())
def test_any_value_in_any_place(data: Any) -> None:
    """YAML is a superset of JSON, so a value can be put anywhere as one."""
    value = json.dumps(data.draw(VALUES))
    keys = ["run", "on", "expect", "timeout", "env", "name"]
    key = data.draw(st.sampled_from(keys))
    inner = data.draw(
        st.sampled_from(["errno", "elapsed", "stdout", "sent", "packets", "sockets", "queues", "outcome"])
    )
    step = {"run": "x", "on": "a", "expect": f"{{{inner}: {value}}}", key: value}
    lines = "".join(f"    {name}: {text}\n" for name, text in step.items())
    survives(f"scenario: x\nsteps:\n  -\n{lines}".encode())


def test_the_bad_table_survives_every_cut() -> None:
    for text, _ in NO_SCENARIO:
        for end in range(0, len(text), 7):
            survives(text[:end].encode())
