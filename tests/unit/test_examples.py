"""The worked examples: they check and explain without Docker, are short, and their pages name them all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labctl import api
from labctl.report.explain import explain
from labctl.scenario.model import PROGRAMS, FaultStep, RunStep

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCENARIOS = sorted(EXAMPLES.glob("*/*.yaml"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_an_example_is_short_begins_without_a_fault_and_uses_nothing_of_ours(path: Path) -> None:
    """Each has at most 45 lines, is called as its folder and file, and holds something against the path before it breaks it."""
    checked = api.load(path)
    assert checked.scenario.scenario == f"{path.parent.name}-{path.stem}"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 45
    kinds = [step.kind for step in checked.scenario.steps]
    assert "run" in kinds[: kinds.index("fault")]
    words = {step.run[0] for step in checked.scenario.steps if isinstance(step, RunStep)}
    assert not words & PROGRAMS.keys()
    assert any(isinstance(step, FaultStep) for step in checked.scenario.steps)
    assert all(f"{step.index}. " in explain(api.plan(checked)) for step in api.plan(checked).steps)


@pytest.mark.parametrize("folder", sorted({p.parent for p in SCENARIOS}), ids=lambda p: p.name)
def test_the_page_of_an_example_names_its_scenarios_and_no_others(folder: Path) -> None:
    """README.md of each example links every scenario beside it, fits one screen, and examples/README.md links the page."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(([\w-]+\.yaml)\)", text)) == {p.name for p in folder.glob("*.yaml")}
    assert 2 <= len(list(folder.glob("*.yaml"))) <= 4
    assert len(text.splitlines()) <= 40
    assert f"({folder.name}/README.md)" in (EXAMPLES / "README.md").read_text(encoding="utf-8")
