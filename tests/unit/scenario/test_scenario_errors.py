"""Every mistake in a file gets its place, what is wrong, and what to write instead, word for word."""

from __future__ import annotations

import re

import pytest
from bad_scenarios import NO_SCENARIO, NOT_YAML

from labctl.errors import ScenarioError
from labctl.scenario.loader import from_source
from labctl.scenario.yamltext import decode

# Python's and pydantic's words, which say nothing to someone who writes YAML.
FOREIGN = re.compile(
    r"\b(str|int|dict|tuple|None|NoneType|pydantic|validation error|Input should|Value error|Traceback)\b"
)


def problems(text: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        from_source(decode("f.yaml", text.encode()))
    assert caught.value.exit_code == 2
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(("text", "message"), NOT_YAML.values(), ids=NOT_YAML)
def test_not_yaml(text: str, message: str) -> None:
    assert problems(text) == [message]


@pytest.mark.parametrize(("text", "messages"), NO_SCENARIO, ids=[messages[0] for _, messages in NO_SCENARIO])
def test_no_scenario(text: str, messages: tuple[str, ...]) -> None:
    assert tuple(problems(text)) == messages


def test_messages_use_the_words_of_yaml() -> None:
    every = [message for _, message in NOT_YAML.values()] + [m for _, found in NO_SCENARIO for m in found]
    assert [message for message in every if FOREIGN.search(message)] == []
    assert [message for message in every if not re.match(r"f\.yaml:\d+:\d+: \S", message)] == []
