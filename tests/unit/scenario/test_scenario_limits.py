"""Hostile YAML is refused after bounded work: counted in events, never in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from labctl.errors import ScenarioError
from labctl.scenario.loader import from_source
from labctl.scenario.yamltext import MAX_ANCHORS, MAX_DEPTH, MAX_VALUES, Source, decode

BOMB = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
)
LADDER = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 5000))
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60))


class Counted:
    """How many events were taken from the parser, and whether nodes were ever made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events = 0
        parse = yaml.parse

        def counting(*args: Any, **named: Any) -> Iterator[Any]:
            for event in parse(*args, **named):
                self.events += 1
                yield event

        monkeypatch.setattr(yaml, "parse", counting)
        monkeypatch.setattr(yaml, "compose", lambda *_args, **_named: pytest.fail("nodes were made"))


@pytest.mark.parametrize(
    ("text", "message", "events"),
    [
        (BOMB, f"makes more than {MAX_VALUES} values", 100),
        (LADDER, f"is nested more than {MAX_DEPTH} deep", 300),
        (MERGES, "values, all aliases", 300),
        ("a: " + "[" * 500_000, f"is nested more than {MAX_DEPTH} deep", 100),
        ("a: " + "{a: " * 100_000, f"is nested more than {MAX_DEPTH} deep", 100),
        ("- " * 500_000, f"is nested more than {MAX_DEPTH} deep", 100),
        ("? " * 500_000, f"is nested more than {MAX_DEPTH} deep", 100),
        ("a: [" + "1," * 500_000 + "]", f"makes more than {MAX_VALUES} values", MAX_VALUES + 10),
    ],
    ids=["bomb", "ladder", "merges", "brackets", "braces", "dashes", "questions", "long list"],
)
def test_refused_after_few_events(
    text: str, message: str, events: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch)
    with pytest.raises(ScenarioError, match=message):
        from_source(Source("f.yaml", text))
    assert counted.events <= events


def test_many_anchors_and_directives_are_refused() -> None:
    """PyYAML and libyaml take quadratic time for them: 60 000 took 19 s."""
    anchors = "".join(f"k{n}: &a{n} 1\n" for n in range(MAX_ANCHORS + 1))
    with pytest.raises(ScenarioError, match=f"more than {MAX_ANCHORS} anchors"):
        from_source(Source("f.yaml", anchors))
    with pytest.raises(ScenarioError, match="3:1: a line that begins with % is a directive"):
        decode("f.yaml", b"a: 1\n...\n%TAG !a! x\n---\n")


def test_parameters_do_not_blow_a_file_up() -> None:
    text = f"params: {{a: {'x' * 50_000}}}\nsteps:\n" + "  - {wait: 'b${a}${a}'}\n" * 30_000
    with pytest.raises(ScenarioError, match="the parameters make more than 1 MiB"):
        from_source(Source("f.yaml", text[: text.rindex("\n", 0, 20_000 + 60_000)]))


def test_deepest_and_largest_that_are_allowed_do_not_exhaust_the_stack() -> None:
    deep = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    wide = "[" + ",".join(["x"] * (MAX_VALUES - 200)) + "]"
    for value in (deep, wide):
        with pytest.raises(ScenarioError, match="unknown key 'a'"):
            from_source(Source("f.yaml", f"a: {value}\n"))
