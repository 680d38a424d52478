"""The pytest plugin on hosts in memory: what is collected, what becomes of each verdict, and what is attached."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fake_engine import COMPOSE, SCENARIO, FakeEngine, Fuse, World, in_memory

import labctl.runs
from labctl.engines.base import Engine
from labctl.errors import LabError, MissingError

pytest_plugins = ["pytester"]
ROOT = Path(__file__).resolve().parents[2]

Engines = list[Callable[[], Engine]]
WRONG = SCENARIO.replace("errno: null", "errno: ECONNREFUSED").replace("scenario: fake", "scenario: wrong")


@pytest.fixture
def engines(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engines]:
    """A folder `lab` with one scenario, and what provides the hosts of runs: the last one of this list."""
    folder = pytester.mkdir("lab")
    (folder / "compose.yml").write_text(COMPOSE, encoding="utf-8")
    (folder / "fake.yaml").write_text(SCENARIO, encoding="utf-8")
    made: Engines = [lambda: FakeEngine(World(Fuse(), pytester.path))]
    monkeypatch.setattr(labctl.runs, "_docker", lambda *_: made[-1]())
    with in_memory(monkeypatch):
        yield made


def add(pytester: pytest.Pytester, name: str, text: str) -> None:
    (pytester.path / "lab" / name).write_text(text, encoding="utf-8")


def inside(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """pytest in this process, without the plugins of others, which would be imported anew each time."""
    others = (
        "-p",
        "no:hypothesispytest",
        "-p",
        "no:xdist",
        "-p",
        "no:xdist.looponfail",
        "-p",
        "no:cacheprovider",
    )
    return pytester.runpytest_inprocess(*others, *arguments)


def collected(pytester: pytest.Pytester, *arguments: str) -> list[str]:
    result = inside(pytester, "--collect-only", "-q", *arguments)
    return [line for line in result.outlines if "::" in line]


@pytest.mark.usefixtures("engines")
def test_scenarios_are_collected_where_they_were_asked_for_and_nowhere_else(
    pytester: pytest.Pytester,
) -> None:
    """A named file, a named folder of scenarios and the ini option collect them; a folder further up and a run do not."""
    wanted = ["lab/fake.yaml::fake"]
    run = pytester.mkdir("lab/run")
    (run / "scenario.yaml").write_text(SCENARIO, encoding="utf-8")
    (run / "events.jsonl").write_text("", encoding="utf-8")
    add(pytester, "molecule.yml", "scenario:\n  name: default\n")
    assert collected(pytester, "lab") == wanted
    assert collected(pytester, "lab/fake.yaml") == wanted
    assert collected(pytester, "lab/fake.yaml::fake") == wanted
    assert collected(pytester) == []
    assert collected(pytester, str(pytester.path)) == []
    assert collected(pytester, "lab", "-m", "not labctl") == []
    pytester.makeini("[pytest]\nlabctl_scenarios = lab\n")
    assert collected(pytester) == wanted


@pytest.mark.usefixtures("engines")
def test_each_combination_of_parameters_is_a_case(pytester: pytest.Pytester) -> None:
    """--labctl-set with several values makes a case of each, for scenarios that have the parameter."""
    text = SCENARIO.replace("steps:", "params: {port: 80, at: server}\nsteps:", 1)
    add(pytester, "some.yaml", text.replace("server, 80", "server, '${port}'").replace("at: server, drop", "at: '${at}', drop")
        .replace("scenario: fake", "scenario: some"))  # fmt: skip
    sets = ["--labctl-set", "port=80", "--labctl-set", "port=81", "--labctl-set", "at=client"]
    names = ["some.yaml::some[port=80,at=client]", "some.yaml::some[port=81,at=client]"]
    assert collected(pytester, "lab", *sets) == ["lab/fake.yaml::fake", *(f"lab/{name}" for name in names)]
    result = inside(pytester, "lab/some.yaml", *sets)
    result.assert_outcomes(passed=2)
    assert collected(pytester, "lab", "--labctl-set", "nothing") == []


@pytest.mark.usefixtures("engines")
def test_each_case_of_a_scenario_is_a_test(pytester: pytest.Pytester) -> None:
    """A file's cases are collected each under its own name, which chooses it, times what --labctl-set makes of each."""
    text = SCENARIO.replace("steps:", "cases: {web: {port: 80}, other: {port: 81}}\nparams: {at: server}\nsteps:", 1)
    add(pytester, "some.yaml", text.replace("server, 80", "server, '${port}'").replace("at: server, drop", "at: '${at}', drop")
        .replace("scenario: fake", "scenario: some"))  # fmt: skip
    assert collected(pytester, "lab/some.yaml") == [f"lab/some.yaml::some[{case}]" for case in ("web", "other")]
    assert collected(pytester, "lab/some.yaml::some[other]") == ["lab/some.yaml::some[other]"]
    assert collected(pytester, "lab", "-k", "web") == ["lab/some.yaml::some[web]"]
    sets = ["--labctl-set", "at=server", "--labctl-set", "at=client"]
    assert collected(pytester, "lab/some.yaml", *sets) == [
        f"lab/some.yaml::some[{case},at={at}]" for at in ("server", "client") for case in ("web", "other")
    ]
    result = inside(pytester, "lab/some.yaml", "--junitxml", "out.xml")
    result.assert_outcomes(passed=2)
    cases = ElementTree.parse(pytester.path / "out.xml").getroot().iter("testcase")
    assert [case.get("name") for case in cases] == ["some[web]", "some[other]"]


@pytest.mark.usefixtures("engines")
def test_a_scenario_with_a_mistake_is_an_error_with_its_place(pytester: pytest.Pytester) -> None:
    """Collection says file:line:column and the nearest right word, without a traceback."""
    add(pytester, "typo.yaml", SCENARIO.replace("expect:", "expcet:"))
    result = inside(pytester, "lab")
    result.assert_outcomes(errors=1)
    result.stdout.re_match_lines([r".*typo\.yaml:\d+:\d+: .*did you mean expect.*"])
    assert "Traceback" not in result.stdout.str()


def test_verdicts_become_outcomes_with_their_reasons(pytester: pytest.Pytester, engines: Engines) -> None:
    """fail is a failure with the finding, a broken run an error, a missing Docker a skip, each with labctl's own words."""
    add(pytester, "wrong.yaml", WRONG)
    result = inside(pytester, "lab", "-rs")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*errno: expected ECONNREFUSED, got success*", "page *report.html"])
    assert "labctl/pytest_plugin.py" not in result.stdout.str().replace("\\", "/")

    def untouched() -> Engine:
        return FakeEngine(World(Fuse(), pytester.path, packets=0))

    engines.append(untouched)
    result = inside(pytester, "lab/fake.yaml")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*touched no packet*", "page *report.html"])

    for error, outcome in (
        (MissingError("no Docker daemon answers"), "skipped"),
        (LabError("it is full"), "errors"),
    ):

        def refuse(error: Exception = error) -> Engine:
            raise error

        engines.append(refuse)
        result = inside(pytester, "lab/fake.yaml", "-rs")
        result.assert_outcomes(**{outcome: 1})
        result.stdout.fnmatch_lines([f"*{error}*"])


@pytest.mark.usefixtures("engines")
def test_junit_names_the_evidence_of_what_failed(pytester: pytest.Pytester) -> None:
    """Each case has its run as a property; one that failed has its page and captures as well, and they exist."""
    add(pytester, "wrong.yaml", WRONG)
    inside(pytester, "lab", "--junitxml", "out.xml", "--labctl-out", "evidence", "--labctl-seed", "7")
    found = {}
    for case in ElementTree.parse(pytester.path / "out.xml").getroot().iter("testcase"):
        found[case.get("name")] = [(p.get("name"), p.get("value") or "") for p in case.iter("property")]
    assert [name for name, _ in found["fake"]] == ["labctl_run", "labctl_verdict"]
    assert {name for name, _ in found["wrong"]} >= {"labctl_run", "labctl_page", "labctl_pcap"}
    paths = [Path(value) for _, value in found["wrong"] if "/" in value]
    assert all(path.exists() and path.is_relative_to(pytester.path / "evidence") for path in paths)
    assert '"seed": 7' in (paths[0] / "result.json").read_text(encoding="utf-8")


PYTHON = """
import pytest
pytestmark = pytest.mark.lab("lab/compose.yml")

def ask(lab, **expect):
    return lab.host("client").run(["probe", "connect", "server", 80], **expect)

def test_holds(lab):
    assert ask(lab).errno is None

def test_does_not_hold(lab):
    ask(lab, expect={"errno": "ECONNREFUSED"})

def test_asserts(lab):
    assert ask(lab).errno == "ECONNRESET"

def test_skips(lab):
    pytest.skip("not today")

def test_finishes_and_looks_at_the_evidence(lab):
    outcome = ask(lab)
    assert [sample.sockets for sample in lab.finish().sockets("client", during=outcome)] == [()]

@pytest.fixture
def broken(lab):
    raise ValueError("mine")

def test_is_not_reached(lab, broken):
    pass

@pytest.mark.lab("lab/compose.yml", hosts=["clinet"])
def test_has_a_wrong_marker(lab):
    pass

@pytest.fixture(name="lab")
def mine():
    return "another lab"

class TestOther:
    def test_of_a_fixture_of_the_same_name(self, lab):
        assert lab == "another lab"
"""


def test_a_test_in_python_has_a_lab(pytester: pytest.Pytester, engines: Engines) -> None:
    """The fixture's lab is up in the test, judged with it, and attached when it failed; the test alone is what fails."""
    start, _, end = PYTHON.partition('@pytest.fixture(name="lab")')
    pytester.makepyfile(test_python=start)
    pytester.makepyfile(test_mine="import pytest\n" + '@pytest.fixture(name="lab")' + end)
    result = inside(pytester, "test_python.py", "test_mine.py", "-rs")
    result.assert_outcomes(passed=3, failed=2, skipped=1, errors=2)
    result.stdout.fnmatch_lines_random(
        ["*errno: expected ECONNREFUSED, got success*", "*ask(lab).errno == \"ECONNRESET\"*", "*not today*",
         "*did you mean client*", "*ValueError: mine*", "page *report.html"]
    )  # fmt: skip

    def refuse() -> Engine:
        raise MissingError("no Docker daemon answers")

    engines.append(refuse)
    result = inside(pytester, "test_python.py", "-k", "test_holds", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*no Docker daemon answers*"])


@pytest.mark.usefixtures("engines")
def test_markers_and_options_are_told(pytester: pytest.Pytester) -> None:
    """`pytest --markers` and `--help` explain them, and --strict-markers accepts them."""
    assert "lab(compose=None" in inside(pytester, "--markers").stdout.str()
    assert "--labctl-set" in inside(pytester, "--help").stdout.str()
    assert collected(pytester, "lab", "--strict-markers") == ["lab/fake.yaml::fake"]


def test_the_plugin_costs_others_nothing() -> None:
    """Loading it imports pytest and the empty package, and nothing else of labctl."""
    code = "import sys, labctl.pytest_plugin; print(sorted(m for m in sys.modules if m[:6] in ('labctl', 'pydant')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "['labctl', 'labctl.pytest_plugin']"
