"""The worked examples pass on real Docker, with images built from Debian's packages alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from labs import ROOT, labctl, left_of

FOLDERS = sorted(p.parent for p in ROOT.glob("examples/*/compose.yml"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_every_scenario_of_an_example_passes(folder: Path, tmp_path: Path) -> None:
    """Every scenario of the folder passes, every fault in it touched packets, and nothing is left behind."""
    done = labctl("run", folder, "--json", "--out", tmp_path, timeout_s=900)
    assert done.code == 0, done.out + done.err
    scenarios = {p.stem for p in folder.glob("*.yaml")}
    assert {value["scenario"] for value in done.json} == {f"{folder.name}-{name}" for name in scenarios}
    assert all(fault["fired"] for value in done.json for fault in value["faults"])
    assert [left for value in done.json for left in left_of(value["run"])] == []
