"""docs/python.md on real Docker: its code runs as it stands there; and the pytest plugin with several processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from labs import ROOT, left_of

from labctl import api

BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "docs/python.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.fixture
def namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A folder with the scenarios in it, as a user's would have them, and the names of a fresh program."""
    (tmp_path / "scenarios").symlink_to(ROOT / "scenarios")
    monkeypatch.chdir(tmp_path)
    return {}


def test_scenarios_are_loaded_planned_run_and_judged(namespace: dict[str, Any]) -> None:
    """The first block of the page runs a scenario, whose run passes and is judged the same again."""
    exec(compile(BLOCKS[0], "docs/python.md", "exec"), namespace)
    assert namespace["run"].verdict == "pass"
    assert left_of(namespace["run"].result["run"]) == []


def test_a_lab_is_told_step_by_step_and_its_evidence_answers(namespace: dict[str, Any]) -> None:
    """The page's lab is judged; its packets, also by a filter nobody had asked, prove the fault; its scenario runs again."""
    for block in BLOCKS[1:3]:
        exec(compile(block, "docs/python.md", "exec"), namespace)
    run: api.Run = namespace["run"]
    assert run.verdict == "pass"
    assert [s["kind"] for s in run.steps] == ["start", "run", "fault", "run", "heal", "stop"]
    assert "the fault wall on router dropped" in run.steps[3]["reason"]
    assert left_of(run.result["run"]) == []
    with pytest.raises(api.UsageError, match="Wireshark refuses"):
        run.packets("client", "tcp.nothing == 1")
    again = api.run(run.path / "scenario.yaml")
    assert (again.verdict, len(again.steps)) == ("pass", 6)


def test_a_link_fault_that_comes_late_delays_and_a_dead_block_leaves_nothing(
    namespace: dict[str, Any],
) -> None:
    """A link fault of which nothing was known when the lab came up works; an exception in the block undoes and takes down."""
    del namespace
    with pytest.raises(ValueError, match="mine") as raised, api.lab(hosts=["client", "server"]) as lab:  # noqa: PT012
        lab.host("server").start(["echo-server", "", 65432, "--connections=0"], ready={"listen": 65432})
        with lab.fault("slow", at="router", link={"delay": "100ms"}) as slow:
            outcome = lab.host("client").run(["echo-client", "server", 65432])
        assert outcome.elapsed > 0.2
        assert slow.packets > 4
        raise ValueError("mine")
    assert "report.html" in raised.value.__notes__[0]
    assert lab.end().verdict == "error"
    assert left_of(lab.end().result["run"]) == []


def test_pytest_runs_scenarios_and_tests_in_python_side_by_side(tmp_path: Path) -> None:
    """Two processes run the page's own test, a scenario that passes and one that fails, whose evidence is in the JUnit file."""
    folder = shutil.copytree(ROOT / "examples/nginx", tmp_path / "nginx")
    (folder / "test_page.py").write_text(BLOCKS[3], encoding="utf-8")
    wrong = (
        (folder / "timeout.yaml")
        .read_text("utf-8")
        .replace("exit: 28", "exit: 7")
        .replace("nginx-timeout", "wrong")
    )
    (folder / "wrong.yaml").write_text(wrong, encoding="utf-8")
    words = [
        "test_page.py",
        "timeout.yaml",
        "wrong.yaml",
        "-n",
        "2",
        "--junitxml=out.xml",
        "--labctl-out=evidence",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=300,
        env=os.environ | {"PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 2 passed" in done.stdout
    assert "exit: expected 7, got 28" in done.stdout
    cases = {c.get("name"): c for c in ElementTree.parse(folder / "out.xml").getroot().iter("testcase")}
    found = {p.get("name"): Path(p.get("value") or "") for p in cases["wrong"].iter("property")}
    assert found["labctl_page"].exists()
    assert found["labctl_pcap"].exists()
    assert left_of(found["labctl_run"].name) == []
