"""Every shipped scenario, judged from recorded evidence: the verdict and what each step says, as a person has read it."""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded import FOLDER, Shipped, archive, expected, shipped, unpack, words

from labctl.runs import judge_run
from labctl.scenario.loader import load

SCENARIOS = shipped()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_recorded_evidence_is_judged_and_explained_as_reviewed(scenario: Shipped, tmp_path: Path) -> None:
    """The recorded run of a shipped scenario passes, and verdict and explanations are word for word the reviewed ones."""
    assert archive(scenario).exists(), f"there is no recorded evidence; run script/record {scenario.path.stem}"
    run = judge_run(unpack(scenario, tmp_path))
    assert run.verdict == "pass", run.reason
    assert words(run) == expected(scenario).read_text(encoding="utf-8")
    kept, include = tmp_path / "scenario.yaml", tmp_path / "include.yaml"
    # A file that is the same asks the same; one whose comments have changed may.
    if include.exists() or kept.read_bytes() != scenario.path.read_bytes():
        overrides, case = run.evidence.overrides, run.evidence.case
        included = include.read_text(encoding="utf-8") if include.exists() else None
        recorded = load(kept, overrides, included, case=case).scenario
        shown = load(scenario.path, overrides, case=scenario.case).scenario
        assert recorded == shown, f"the scenario has changed since; run script/record {scenario.path.stem}"


def test_nothing_is_recorded_that_is_not_shipped() -> None:
    """Every archive and every text belongs to a scenario."""
    known = {path.name for s in SCENARIOS for path in (archive(s), expected(s))}
    assert {path.name for path in FOLDER.iterdir()} <= known
    assert len(SCENARIOS) >= 40
