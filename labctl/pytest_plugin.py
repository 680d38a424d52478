"""The pytest plugin that comes with labctl: scenarios as tests, and a lab for tests in Python.

It is loaded in every pytest run of an environment that has labctl, so it imports nothing of labctl until a scenario is
collected or a test asks for a lab. A YAML file is looked at only where scenarios were asked for: named on the command line,
in a folder that is named and holds scenarios itself, or below a path of the ini option `labctl_scenarios`.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from labctl.finished import Run
    from labctl.live.lab import Lab

MARKER = "labctl: a scenario file (made by labctl); `-m 'not labctl'` leaves them out"
LAB_MARKER = (
    "lab(compose=None, *, hosts=None, ...): the lab that this test's `lab` fixture brings up; the compose file is relative "
    "to the test's file, and what else there is goes to labctl.api.lab"
)
_RUN = pytest.StashKey["Run"]()
_FOLDERS = pytest.StashKey[dict[Path, bool]]()
_SUFFIXES = (".yaml", ".yml")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("labctl", "labctl: scenarios and labs")
    group.addoption(
        "--labctl-set", action="append", default=[], metavar="NAME=VALUE",
        help="a parameter of scenarios that have it; given again with another value it makes another case of each",
    )  # fmt: skip
    group.addoption(
        "--labctl-out", metavar="DIR", help="where run directories go; runs/ in the root directory"
    )
    group.addoption(
        "--labctl-lab",
        metavar="NAME",
        help="use a standing lab (labctl up) instead of a fresh one for each test",
    )
    group.addoption("--labctl-seed", type=int, metavar="N", help="for everything random")
    parser.addini("labctl_scenarios", "files and folders whose scenarios are tests", type="paths", default=[])


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    config.addinivalue_line("markers", LAB_MARKER)


# -- scenarios as tests ----------------------------------------------------------------------------------------------


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ScenarioFile | None:
    if file_path.suffix not in _SUFFIXES or not _is_asked_for(file_path, parent.config):
        return None
    found: ScenarioFile = ScenarioFile.from_parent(parent, path=file_path)
    return found


def _is_asked_for(path: Path, config: pytest.Config) -> bool:
    """Whether this is a scenario that somebody named, or one below a folder of scenarios that was. What a run wrote is none."""
    from labctl.scenario.recognise import has_steps, is_of_a_run, is_scenario

    if is_of_a_run(path):
        return False
    if any(path.is_relative_to(place) for place in config.getini("labctl_scenarios")):
        return has_steps(path)
    for argument in config.args:
        named = (config.invocation_params.dir / argument.partition("::")[0]).resolve()
        if path == named:
            return is_scenario(path)
        if named in path.parents and _holds_scenarios(named, config):
            return has_steps(path)
    return False


def _holds_scenarios(folder: Path, config: pytest.Config) -> bool:
    """Whether a folder holds a scenario itself, not only in a folder below; each folder is looked at once."""
    from labctl.scenario.recognise import has_steps

    known = config.stash.setdefault(_FOLDERS, {})
    if folder not in known:
        known[folder] = any(p.suffix in _SUFFIXES and p.is_file() and has_steps(p) for p in folder.iterdir())
    return known[folder]


class ScenarioFile(pytest.File):
    """One scenario file: a test for each of its cases, and for each combination of the parameters given with --labctl-set."""

    def collect(self) -> Iterator[ScenarioItem]:
        from labctl import api

        try:
            params = api.load_all([self.path])[0].scenario.params
            for sets in _combinations(self.config.getoption("--labctl-set"), params):
                for checked in api.load_all([self.path], sets):
                    name = _test_name(checked.scenario.scenario, sets)
                    item: ScenarioItem = ScenarioItem.from_parent(
                        self, name=name, case=checked.loaded.case, sets=sets, tags=checked.scenario.tags
                    )
                    yield item
        except api.LabctlError as error:
            raise self.CollectError(str(error)) from None


def _test_name(scenario: str, sets: Mapping[str, str]) -> str:
    """`scenario[case,name=value]`: what tells apart the tests of one file."""
    name, _, case = scenario.rstrip("]").partition("[")
    words = [*([case] if case else []), *(f"{param}={value}" for param, value in sets.items())]
    return f"{name}[{','.join(words)}]" if words else name


def _combinations(given: list[str], params: Mapping[str, object]) -> list[dict[str, str]]:
    """Every combination of the values that were given for the parameters that a scenario has; one, empty, without any."""
    values: dict[str, dict[str, None]] = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise pytest.UsageError(f"--labctl-set {word}: write NAME=VALUE")
        if name in params:
            values.setdefault(name, {})[value] = None
    return [dict(zip(values, choice, strict=True)) for choice in itertools.product(*values.values())]


class ScenarioItem(pytest.Item):
    """One run of a scenario. Its set-up runs it, so that a run that broke is an error and not a failure."""

    def __init__(self, *, case: str | None, sets: dict[str, str], tags: tuple[str, ...], **rest: Any) -> None:
        super().__init__(**rest)
        self.case, self.sets = case, sets
        self.add_marker(pytest.mark.labctl)
        self.extra_keyword_matches.update(tags)

    def setup(self) -> None:
        from labctl import api

        options = _options(self.config)
        lab = options.pop("standing")
        try:
            run = api.run(self.path, self.sets, case=self.case, lab=lab, **options)
        except api.MissingError as error:
            pytest.skip(str(error))
        except api.LabctlError as error:
            pytest.fail(str(error), pytrace=False)
        _attach(self, run)
        if run.verdict == "skip":
            pytest.skip(run.reason)
        if run.verdict == "error":
            pytest.fail(_told(run), pytrace=False)

    def runtest(self) -> None:
        run = self.stash[_RUN]
        if run.verdict == "fail":
            raise ScenarioFailed(_told(run))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, ScenarioFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, self.name


class ScenarioFailed(AssertionError):
    """Something that a scenario expects did not hold."""


def _told(run: Run) -> str:
    from labctl.finished import findings

    return "\n".join(findings(run.result)) or run.reason


# -- a lab for tests in Python ---------------------------------------------------------------------------------------


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab that is up while the test runs, as `@pytest.mark.lab("compose.yml", hosts=[...])` says; labctl's own without.

    It is taken down and judged when the test function has ended: what was expected with `expect=` fails the test itself.
    """
    from labctl import api

    marker = request.node.get_closest_marker("lab")
    arguments, words = (marker.args, dict(marker.kwargs)) if marker else ((), {})
    compose = request.path.parent / arguments[0] if arguments else None
    settings = {"name": _run_name(request.node.name), **_options(request.config), **words}
    try:
        made = api.lab(compose, **settings)
        made.__enter__()
    except api.MissingError as error:
        pytest.skip(str(error))
    yield made
    if made.is_up:  # the test was not called, because something else that it needs broke
        _attach(request.node, made.end())


# The wrappers are of the old kind, which every pytest from 7.0 on has.
@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, None]:
    """End the test's lab as a part of the test, so that what did not hold fails it, and is no error of its clean-up."""
    outcome = yield
    made: Any = pyfuncitem.funcargs.get("lab")
    if type(made).__module__ != "labctl.live.lab":
        return
    error = outcome.excinfo[1] if outcome.excinfo else None
    try:
        _attach(pyfuncitem, made.end(None if isinstance(error, pytest.skip.Exception) else error))
        if error is None:
            made.finish()
    except Exception as said:
        told = pytest.fail.Exception(str(said), pytrace=False)
        outcome.force_exception(told.with_traceback(said.__traceback__))


def _run_name(test: str) -> str:
    """A test's name as the name of a run: lower case, digits and dashes."""
    words = "".join(char if char.isascii() and char.isalnum() else "-" for char in test.lower())
    return "-".join(filter(None, words.split("-")))[:40].strip("-") or "test"


# -- both ------------------------------------------------------------------------------------------------------------


def _options(config: pytest.Config) -> dict[str, Any]:
    out = config.getoption("--labctl-out")
    return {
        "out": config.invocation_params.dir / out if out else config.rootpath / "runs",
        "standing": config.getoption("--labctl-lab"),
        "seed": config.getoption("--labctl-seed"),
    }


def _attach(item: pytest.Item, run: Run) -> None:
    """Keep the run for the reports of a test; JUnit files get its places as properties."""
    item.stash[_RUN] = run
    item.user_properties.append(("labctl_run", str(run.path)))
    item.user_properties.append(("labctl_verdict", run.verdict))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Put the places of a failed test's evidence into its report."""
    report: pytest.TestReport = (yield).get_result()
    run = item.stash.get(_RUN, None)
    if run is not None and report.failed:
        lines = [f"{run.verdict}: {run.reason}", f"page     {run.page}"]
        lines += [f"packets  {path}" for path in run.captures.values()]
        report.sections.append(("labctl", "\n".join(lines)))
        # The test's own assertion may be what failed, so this does not ask for the run's verdict.
        item.user_properties.append(("labctl_page", str(run.page)))
        item.user_properties += [("labctl_pcap", str(path)) for path in run.captures.values()]
