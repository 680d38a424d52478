"""What several scenarios share, in a file they include."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.errors import ScenarioError, UsageError
from labctl.scenario.loader import load

COMMON = """\
lab: lab.yml
tags: [shared]
timeout: 7s
params: {port: 1000, word: hello}
steps:
  - {start: [echo-server, "", "${port}"], on: server, ready: {listen: "${port}"}}
"""
OWN = """\
scenario: own
include: ../shared/common.yaml
params: {port: 2000}
tags: [mine]
steps:
  - {run: [echo-client, server, "${port}", "${word}"], on: client, expect: {errno: null}}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A scenario in one folder that includes a file in another."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "own").mkdir()
    (tmp_path / "shared/common.yaml").write_text(COMMON, encoding="utf-8")
    path = tmp_path / "own/own.yaml"
    path.write_text(OWN, encoding="utf-8")
    return path


def problems(path: Path, **overrides: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        load(path, overrides)
    return [f"{Path(p.file).name}:{p.line}:{p.column}: {p.message}" for p in caught.value.problems]


def test_what_is_included_comes_below_what_is_there(own: Path) -> None:
    """Included steps come first, included keys count where the scenario has none, and its parameters win in both files."""
    scenario = load(own).scenario
    assert [getattr(step, "start", None) or step.run for step in scenario.steps] == [  # type: ignore[union-attr]
        ("echo-server", "", "2000"),
        ("echo-client", "server", "2000", "hello"),
    ]
    assert (scenario.timeout, scenario.tags) == (7.0, ("mine",))
    assert scenario.params == {"port": 2000, "word": "hello"}
    assert (own.parent / str(scenario.lab)).resolve() == own.parent.parent / "shared/lab.yml"


def test_set_reaches_the_parameters_of_both_files(own: Path) -> None:
    """--set changes a parameter wherever it stands, and knows no others."""
    scenario = load(own, {"port": "3000", "word": "bye"}).scenario
    assert scenario.steps[0].start[2] == "3000"  # type: ignore[union-attr]
    assert scenario.steps[1].run[3] == "bye"  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="did you mean --set word=x"):
        load(own, {"wrod": "x"})


def test_a_problem_is_told_of_the_file_it_is_in(own: Path) -> None:
    """An unknown key of the included file points into that file; one of the scenario into the scenario."""
    common = own.parent.parent / "shared/common.yaml"
    common.write_text(COMMON.replace("ready:", "redy:"), encoding="utf-8")
    own.write_text(OWN.replace("expect:", "expct:"), encoding="utf-8")
    found = problems(own)
    assert any(f.startswith("common.yaml:6:") and "did you mean ready?" in f for f in found)
    assert any(f.startswith("own.yaml:6:") and "did you mean expect?" in f for f in found)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("scenario: no", "unknown key 'scenario'"),
        ("include: more.yaml", "unknown key 'include'"),
        ("steps: {}", "steps"),
        ("- a list", "mapping"),
    ],
)
def test_an_included_file_is_no_scenario_of_its_own(own: Path, line: str, said: str) -> None:
    """What cannot be included is refused with its place in the included file."""
    (own.parent.parent / "shared/common.yaml").write_text(line + "\n", encoding="utf-8")
    assert any(f.startswith("common.yaml:1:") and said in f for f in problems(own))


def test_a_file_that_is_not_there_is_told_where_it_is_asked_for(own: Path) -> None:
    """A wrong path points at the include line."""
    own.write_text(OWN.replace("common.yaml", "comon.yaml"), encoding="utf-8")
    (found,) = problems(own)
    assert found.startswith("own.yaml:2:10: include: ")
    assert "comon.yaml" in found


@pytest.mark.parametrize("value", ["[a, b]", "{a: b}", '""', ""])
def test_include_names_one_file(own: Path, value: str) -> None:
    """A list, a mapping or nothing is refused at the include line."""
    own.write_text(OWN.replace("../shared/common.yaml", value), encoding="utf-8")
    assert any(f.startswith("own.yaml:2:") for f in problems(own))


def test_positions_count_the_steps_that_were_included(own: Path) -> None:
    """A problem found later, with the lab, points at the line of the step it is about."""
    loaded = load(own)
    assert str(loaded.problem(("steps", 1, "on"), "x")).endswith("own.yaml:6:60: x")
    assert str(loaded.problem(("steps", 0, "on"), "x")).endswith("own.yaml:2:1: x")


def test_a_run_keeps_what_was_included(own: Path, tmp_path: Path) -> None:
    """The text of the included file is a part of what was loaded, and loads again without the file."""
    loaded = load(own)
    assert loaded.included == COMMON
    alone = tmp_path / "alone.yaml"
    alone.write_text(loaded.text, encoding="utf-8")
    again = load(alone, included=loaded.included).scenario
    assert again.model_copy(update={"lab": None}) == loaded.scenario.model_copy(update={"lab": None})
