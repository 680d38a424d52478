"""Which files of a folder are scenarios: no slip of the pen turns a test off without a word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from labctl.cli import main
from labctl.scenario.files import find_scenarios
from labctl.scenario.recognise import has_steps, is_scenario, top_level_keys

STEPS = "steps:\n  - {run: [true], on: client, expect: {exit: 0}}\n"
GOOD = f"# What happens.\nscenario: good\n{STEPS}"


@pytest.mark.parametrize(
    ("data", "keys", "is_one"),
    [
        (GOOD.encode(), {"scenario", "steps"}, True),
        (b"\xef\xbb\xbf" + f"scenario: good\n{STEPS}".encode(), {"scenario", "steps"}, True),
        (GOOD.replace("\n", "\r\n").encode(), {"scenario", "steps"}, True),
        (GOOD.encode("utf-16"), {"scenario", "steps"}, True),
        (GOOD.replace("scenario:", '"scenario":').replace("steps:", "'steps' :").encode(), {"scenario", "steps"}, True),
        (b"# flow\n---\n{scenario: e, steps: [{wait: 1s}]}\n", {"scenario", "steps", "wait"}, True),
        (GOOD.replace("scenario:", "scenaro:").encode(), {"scenaro", "steps"}, True),
        (GOOD.replace("scenario:", "Scenario:").encode(), {"Scenario", "steps"}, True),
        (b"scenario: nothing else\n", {"scenario"}, True),
        (f"lab: compose.yml\n{STEPS}".encode(), {"lab", "steps"}, False),  # what scenarios include
        (b"services:\n  web:\n    image: scenario\n    steps: 3\n", {"services"}, False),
        (b"", set(), False),
    ],
)  # fmt: skip
def test_a_scenario_is_told_by_its_keys(tmp_path: Path, data: bytes, keys: set[str], is_one: bool) -> None:
    """However its keys are spelled, and where the one that says so is misspelt, a file of steps is taken for a scenario."""
    path = tmp_path / "x.yaml"
    path.write_bytes(data)
    assert top_level_keys(path) == keys
    assert is_scenario(path) is is_one
    assert has_steps(path) is (is_one and "steps" in keys)


def test_what_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    """A pipe or a link that leads nowhere among the scenarios of a folder is told, and nobody waits at it for ever."""
    (tmp_path / "good.yaml").write_text(GOOD, encoding="utf-8")
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "gone.yml").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop.yml").symlink_to(tmp_path / "loop.yml")
    (tmp_path / "folder.yaml").mkdir()
    assert [p.name for p in find_scenarios([tmp_path])] == ["gone.yml", "good.yaml", "loop.yml", "pipe.yaml"]
    said = CliRunner().invoke(main, ["check", str(tmp_path)])
    assert said.exit_code == 2
    lines = said.output.splitlines()
    assert [line.split(": ", 1)[1] for line in lines] == [
        "is a symbolic link that leads nowhere", "is a symbolic link that leads nowhere", "is not a regular file",
    ], said.output  # fmt: skip


def test_check_names_the_files_it_did_not_look_at(tmp_path: Path) -> None:
    """A YAML file in a folder that is no scenario is named by `labctl check`, so that nobody believes that it was checked."""
    (tmp_path / "good.yaml").write_text(GOOD, encoding="utf-8")
    compose = "services:\n  client: {image: x, command: [sleep, infinity]}\n"
    for number in range(7):
        (tmp_path / f"compose{number}.yml").write_text(compose, encoding="utf-8")
    (tmp_path / "good.yaml").write_text(GOOD.replace("steps:", "lab: compose0.yml\nsteps:"), encoding="utf-8")
    said = CliRunner().invoke(main, ["check", str(tmp_path)])
    assert said.exit_code == 0, said.output
    first, second = said.output.splitlines()
    assert first == "1 scenario checked, no problem"
    assert second.startswith("no scenarios, so not looked at: ")
    assert "compose0.yml" not in second  # the scenario's own lab
    assert second.endswith("compose5.yml and 1 more")
    assert CliRunner().invoke(main, ["check", str(tmp_path), "-k", "good"]).output == first + "\n"
