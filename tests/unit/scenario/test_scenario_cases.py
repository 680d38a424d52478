"""Cases: sets of values for parameters that a scenario names, each of which makes a scenario of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.errors import ScenarioError, UsageError
from labctl.scenario.loader import Loaded, load, load_cases
from labctl.scenario.model import Expectation, RunStep

TEXT = """\
scenario: lines
params: {port: 1000, retries: 1}
cases:
  near: {delay: 10ms, most: 200ms}
  far: {delay: 300ms, most: 2s, retries: 4}
steps:
  - {fault: slow, at: router, link: {delay: "${delay}"}}
  - name: as slow as ${delay}
    run: [probe, connect, server, "${port}", "--syn-retries=${retries}"]
    on: client
    expect: {errno: null, elapsed: {max: "${most}"}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lines.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def expected(loaded: Loaded) -> Expectation:
    """What the second step expects."""
    step = loaded.scenario.steps[1]
    assert isinstance(step, RunStep)
    return step.expect


def problems(path: Path, text: str) -> list[str]:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        load_cases(path)
    return [f"{p.line}:{p.column}: {p.message}" for p in caught.value.problems]


def test_each_case_is_a_scenario_of_its_own(file: Path) -> None:
    """A case is called scenario[case]; its values go before those of params:, which count where it has none."""
    near, far = load_cases(file)
    assert [one.scenario.scenario for one in (near, far)] == ["lines[near]", "lines[far]"]
    assert (near.name, near.case) == ("lines[near]", "near")
    assert [one.scenario.steps[1].run[3:] for one in (near, far)] == [  # type: ignore[union-attr]
        ("1000", "--syn-retries=1"),
        ("1000", "--syn-retries=4"),
    ]
    assert [one.scenario.steps[0].spec.delay for one in (near, far)] == [0.01, 0.3]  # type: ignore[union-attr]
    assert near.scenario.steps[1].name == "as slow as 10ms"
    assert load(file, case="far").scenario == far.scenario


def test_what_is_set_from_outside_goes_before_every_case(file: Path) -> None:
    """--set wins over the cases' values and over params:, in all cases; a name that neither has is unknown."""
    for one in load_cases(file, {"delay": "1s", "port": "7"}):
        assert one.scenario.steps[0].spec.delay == 1.0  # type: ignore[union-attr]
        assert one.scenario.steps[1].run[3] == "7"  # type: ignore[union-attr]
    with pytest.raises(UsageError, match=r"did you mean --set delay=1s\?"):
        load_cases(file, {"dely": "1s"})


def test_a_case_is_named_and_exists(file: Path) -> None:
    """To load one scenario of a file with cases one is named; an unknown name gets the nearest that there is."""
    with pytest.raises(UsageError, match="has the cases near and far; name one of them"):
        load(file)
    with pytest.raises(UsageError, match=r"there is no case fra in .*lines.yaml; did you mean far\? It has near and far"):
        load(file, case="fra")
    steps = "steps:\n  - {run: [probe, connect, server, 80], on: client, expect: {errno: null}}\n"
    file.write_text(f"scenario: lines\n{steps}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"there is no case near in .*; it has none"):
        load(file, case="near")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("cases:\n", "cases: 3\nlab: |\n", "3:1: cases: is a mapping of names and values for parameters, like cases: {near: "),
        ("  near: {delay: 10ms, most: 200ms}\n", "  near: far\n", "4:3: the case near is a mapping of parameters and values"),
        ("  near: {", "  Near By: {", "4:3: 'Near By' cannot be a case; a name is lower-case letters, digits and dashes"),
        ("{delay: 10ms,", "{", "4:3: the case near has no delay, and far has; write one, or a default in params:"),
        ("{delay: 10ms,", "{delay: [1, 2],", "4:10: the parameter delay needs one value: text, a number, true, false or null"),
        ("{delay: 10ms,", "{delay: ,", "4:10: the parameter delay needs one value: text, a number, true, false or null"),
        ("{delay: 10ms,", "{delay: 10ms, 1st: 3,", "4:23: '1st' cannot be a parameter; a name is letters, digits, _"),
        (
            "{delay: 300ms, most: 2s, retries: 4}", "{delay: 10ms, most: 200ms}",
            "5:3: the case far is the same as near, so it shows nothing new; change or remove it",
        ),
        ('"${delay}"', "5ms", None),
    ],
)  # fmt: skip
def test_what_no_case_can_be_is_told_where_it_stands(file: Path, before: str, after: str, said: str | None) -> None:
    """Names, shapes, values that are missing, and cases that repeat another are refused at their place."""
    text = TEXT.replace(before, after, 1)
    if said is None:
        text = text.replace(" as slow as ${delay}", " slow")
        said = "4:10: the parameter delay is used nowhere; write ${delay} where it belongs"
    found = problems(file, text)
    assert any(line.startswith(said) for line in found), found


def test_a_problem_of_one_case_says_whose_it_is(file: Path) -> None:
    """What is wrong in every case is told once; what is wrong in one with its name."""
    text = TEXT.replace("delay: 10ms", "delay: soon").replace("on: client", "on: client\n    timeot: 3s")
    found = problems(file, text)
    assert sum("timeot" in line for line in found) == 1
    (own,) = [line for line in found if "soon" in line]
    assert own.startswith("7:45: in the case near: ")
    assert "(${delay} is soon)" in own


def test_a_case_may_expect_success_where_another_expects_an_error(file: Path) -> None:
    """`null` is a value: errno: ${errno} is then success, and --set can say it; a key that knows no null is told so."""
    text = TEXT.replace("most: 200ms", "most: 200ms, errno: null").replace("most: 2s", "most: 2s, errno: ETIMEDOUT")
    file.write_text(text.replace("errno: null, elapsed", 'errno: "${errno}", elapsed'), encoding="utf-8")
    asked = [expected(one) for one in load_cases(file)]
    assert [expect.errno for expect in asked] == [None, ("ETIMEDOUT",)]
    assert all("errno" in expect.model_fields_set for expect in asked)
    assert [expected(one).errno for one in load_cases(file, {"errno": "null"})] == [None, None]
    found = problems(file, TEXT.replace("most: 2s", "most: null"))
    assert any(line.startswith("11:42: in the case far: max: is empty") for line in found), found


def test_an_included_file_may_have_the_cases(tmp_path: Path) -> None:
    """The cases of an included file are those of every scenario that includes it, unless that has its own."""
    cases = "cases:\n  a: {port: 1}\n  b: {port: 2}\n"
    common = f"{cases}steps:\n  - {{start: [echo-server, '', '${{port}}'], on: server}}\n"
    (tmp_path / "common.yaml").write_text(common, encoding="utf-8")
    path = tmp_path / "own.yaml"
    step = "{run: [probe, connect, server, '${port}'], on: client, expect: {errno: null}}"
    text = f"scenario: own\ninclude: common.yaml\nsteps:\n  - {step}\n"
    path.write_text(text, encoding="utf-8")
    assert [(one.case, one.scenario.steps[0].start[2], one.scenario.steps[1].run[3]) for one in load_cases(path)] == [  # type: ignore[union-attr]
        ("a", "1", "1"),
        ("b", "2", "2"),
    ]
    path.write_text(text.replace("steps:", "cases: {c: {port: 9}}\nsteps:"), encoding="utf-8")
    (own,) = load_cases(path)
    assert (own.scenario.scenario, own.scenario.steps[0].start[2]) == ("own[c]", "9")  # type: ignore[union-attr]
