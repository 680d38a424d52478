"""The scenarios that the documents show whole pass as they stand there, in our lab."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from labs import ROOT, labctl, left_of

from labctl.scenario.yamltext import CoreLoader

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# What is shown with its mistakes, to show what is said of them.
WRONG = re.compile(r"<!-- begin errors.*?<!-- end errors -->", re.DOTALL)
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shown(page: Path) -> dict[str, str]:
    """The whole scenarios of a page by their names; those that need a compose file of the reader's own are not ours to run."""
    blocks = BLOCK.findall(WRONG.sub("", page.read_text(encoding="utf-8")))
    parsed = [(block, yaml.load(block, CoreLoader)) for block in blocks]
    whole = [(block, value) for block, value in parsed if isinstance(value, dict) and {"scenario", "steps"} <= value.keys()]
    return {value["scenario"]: block for block, value in whole if not value.keys() & {"lab", "include"}}


SHOWN = {f"{page.name}: {name}": block for page in PAGES for name, block in shown(page).items()}


def test_there_are_some() -> None:
    """A page that is written otherwise would leave nothing to run."""
    assert {"scenarios.md: firewall", "scenarios.md: slow-lines"} <= SHOWN.keys()


@pytest.mark.parametrize("text", SHOWN.values(), ids=SHOWN)
def test_a_scenario_that_a_document_shows_passes(text: str, tmp_path: Path) -> None:
    """Saved to a file and run, each case of it."""
    path = tmp_path / "shown.yaml"
    path.write_text(text, encoding="utf-8")
    done = labctl("run", path, "--out", tmp_path / "runs", "--json")
    assert done.code == 0, done.out + done.err
    results = done.json if isinstance(done.json, list) else [done.json]
    assert [left for value in results for left in left_of(value["run"])] == []
