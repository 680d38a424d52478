"""docs/scenarios.md is in step with the models and with what the loader really says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labctl.faults import FAULTS
from labctl.runs import prepare_all
from labctl.scenario.model import STEPS, Expectation
from labctl.scenario.reference import SAMPLE, SECTIONS, render
from labctl.scenario.shape import keys_of

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "scenarios.md").read_text(encoding="utf-8")


def test_generated_sections_are_up_to_date() -> None:
    assert render(PAGE) == PAGE, "run python -m labctl.scenario.reference docs/scenarios.md"


def test_every_section_is_in_the_page() -> None:
    assert set(re.findall(r"<!-- begin (\w+)", PAGE)) == set(SECTIONS)


@pytest.mark.parametrize("word", [*STEPS, *FAULTS, *keys_of(Expectation)])
def test_every_word_of_the_language_is_there(word: str) -> None:
    assert f"`{word}`" in PAGE or f"# {word}" in PAGE


def test_every_whole_example_is_a_scenario_of_our_lab(tmp_path: Path) -> None:
    """A block of the page that has a scenario's name can be checked, planned and so run."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    names = []
    for number, block in enumerate(b for b in blocks if b != SAMPLE and "\nscenario:" in f"\n{b}"):
        (tmp_path / f"{number}.yaml").write_text(block, encoding="utf-8")
        names += [checked.scenario.scenario for checked in prepare_all([tmp_path / f"{number}.yaml"], {})]
    assert names == ["firewall", "slow-lines[near]", "slow-lines[far]"]
