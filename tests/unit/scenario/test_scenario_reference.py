"""docs/scenarios.md is in step with the models and with what the loader really says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labctl.faults import FAULTS
from labctl.scenario.loader import from_source
from labctl.scenario.model import STEPS, Expectation
from labctl.scenario.reference import SECTIONS, render
from labctl.scenario.shape import keys_of
from labctl.scenario.yamltext import Source

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "scenarios.md").read_text(encoding="utf-8")


def test_generated_sections_are_up_to_date() -> None:
    assert render(PAGE) == PAGE, "run python -m labctl.scenario.reference docs/scenarios.md"


def test_every_section_is_in_the_page() -> None:
    assert set(re.findall(r"<!-- begin (\w+)", PAGE)) == set(SECTIONS)


@pytest.mark.parametrize("word", [*STEPS, *FAULTS, *keys_of(Expectation)])
def test_every_word_of_the_language_is_there(word: str) -> None:
    assert f"`{word}`" in PAGE or f"# {word}" in PAGE


def test_the_first_example_is_a_scenario() -> None:
    example = PAGE.split("```yaml\n")[1].split("```")[0]
    assert from_source(Source("docs", example)).scenario.scenario == "firewall"
