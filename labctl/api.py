"""labctl from Python: load, plan, run, judge, and a lab to write tests against. The command line uses the same functions.

    from labctl import api

    checked = api.load("scenarios/firewall.yaml")        # raises ScenarioError with file:line:column
    print(api.plan(checked).hosts)                       # nothing is touched
    run = api.run("scenarios/firewall.yaml")             # a judged run directory
    print(run.verdict, run.reason, run.page)
    print(api.judge(run.path).verdict)                   # again, from the evidence alone

    with api.lab(hosts=["client", "server"]) as lab:
        outcome = lab.host("client").run(["probe", "connect", "server", 80])
        assert outcome.errno == "ECONNREFUSED"

docs/python.md has it in full. Everything raises `labctl.errors.LabctlError` for what it explains to its user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.errors import (
    EvidenceError,
    LabctlError,
    LabError,
    MissingError,
    ScenarioError,
    UsageError,
)
from labctl.evidence.rundir import Observer
from labctl.finished import Run, findings
from labctl.live.amounts import Amounts, plain
from labctl.live.failures import ExpectationFailed, FaultTouchedNothing
from labctl.live.outcome import Outcome
from labctl.plan import Plan
from labctl.plan import plan as plan_of
from labctl.runs import (
    OWN_LAB,
    Checked,
    Options,
    choose,
    engine_for,
    exit_code,
    judge_run,
    left_out,
    not_run,
    prepare,
    prepare_all,
    seed_of,
)
from labctl.runs import run_scenario as run_with
from labctl.scenario.files import find_scenarios
from labctl.scenario.loader import from_source
from labctl.scenario.yamltext import Source

if TYPE_CHECKING:
    from labctl.engines.base import Engine
    from labctl.lab import Lab as LabModel
    from labctl.live.lab import Lab

PathLike = str | Path


def find(paths: Sequence[PathLike], words: Sequence[str] = (), tags: Sequence[str] = ()) -> list[Path]:
    """The scenario files named, and those in the folders named, sorted.

    Arguments: of them only those with one of the words in their name (a file with cases: in that of one of them, which is
    `file[case]`) and one of the tags, where any is given. Raises UsageError when there are none.
    """
    return choose(find_scenarios([Path(path) for path in paths]), words, tags)


def load(
    path: PathLike,
    sets: Mapping[str, object] | None = None,
    labs: dict[Path, LabModel] | None = None,
    *,
    case: str | None = None,
) -> Checked:
    """A scenario and its lab, each checked against the other. Needs no Docker.

    Arguments: its file; values for its parameters, as `--set` takes them; labs that were read already, by compose file, where
    many scenarios are loaded; one of its cases, where it has some. Raises ScenarioError with every problem, UsageError for a
    parameter or a case that it has not.
    """
    return prepare(Path(path), _texts(sets), labs, case)


def load_all(
    paths: Sequence[PathLike],
    sets: Mapping[str, object] | None = None,
    words: Sequence[str] = (),
    cases: Sequence[str] = (),
) -> list[Checked]:
    """As `load`, for many scenarios and each of their cases; each lab is read once.

    Arguments: of the cases only those with one of the words in their name, which is `file[case]`, and those named, where any
    are. Raises ScenarioError with the problems of all of them, UsageError when none is left.
    """
    return prepare_all([Path(path) for path in paths], _texts(sets), words, cases)


def plan(
    scenario: Checked | PathLike, sets: Mapping[str, object] | None = None, *, case: str | None = None, seed: int = 0
) -> Plan:
    """Every host, step and exact command of a run with this seed; addresses are examples. Needs no Docker. Raises as `load`."""
    checked = scenario if isinstance(scenario, Checked) else load(scenario, sets, case=case)
    return plan_of(checked.loaded.scenario, checked.lab, seed=seed)


def run(
    scenario: Checked | PathLike,
    sets: Mapping[str, object] | None = None,
    *,
    case: str | None = None,
    out: PathLike = "runs",
    lab: str | None = None,
    keep: bool = False,
    seed: int | None = None,
    link_backend: str = "auto",
    observe: Observer = lambda _: None,
    engine: Engine | None = None,
) -> Run:
    """Run a scenario and judge it.

    Arguments: its file and one of its cases where it has some, or what `load` made of it (with the same `sets`); the folder
    for the run directory; a standing lab to use; whether the lab stays up; the seed of everything random; `netem` or
    `nfqueue` for link faults; who is told of every event as it happens. Raises ScenarioError, UsageError, MissingError or
    LabError for what stops a run before it begins; whatever happens to the run itself is in its verdict.
    """
    options = Options(Path(out), _texts(sets), lab, keep, seed, link_backend)
    return run_with(
        scenario.loaded if isinstance(scenario, Checked) else Path(scenario), options, observe, engine, case
    )


def judge(path: PathLike) -> Run:
    """A run judged again, from its directory alone. Raises EvidenceError when it cannot be believed."""
    from labctl.verdict.judge import result

    return Run(Path(path), result(judge_run(Path(path))))


def lab(
    compose: PathLike | None = None,
    *,
    hosts: Sequence[str] | None = None,
    name: str = "python",
    out: PathLike = "runs",
    timeout: str = "30s",
    capture: bool | Mapping[str, Any] = True,
    sample: str = "100ms",
    standing: str | None = None,
    keep: bool = False,
    seed: int | None = None,
    link_backend: str = "auto",
    observe: Observer = lambda _: None,
    engine: Engine | None = None,
) -> Lab:
    """A lab to be told what to do, step by step: `with api.lab("compose.yml") as lab:`. It leaves a run directory as well.

    Arguments: a compose file (labctl's own lab when not given); the hosts to bring up, with the routers between them (all when
    not given); what the run is called; `timeout`, `capture` and `sample` as a scenario has them; the others as for `run`.
    Raises ScenarioError or UsageError for what cannot be; entering the block raises MissingError and LabError.
    """
    from labctl.composefile import resolved
    from labctl.lab import read_lab
    from labctl.live.lab import Lab
    from labctl.runner import Request
    from labctl.scenario.check import unknown_host

    path = OWN_LAB if compose is None else resolved(Path(compose))
    model = read_lab(path)
    for host in hosts or ():
        if (wrong := unknown_host(model, host)) is not None:
            raise UsageError(wrong)
    header = {"scenario": name, "timeout": timeout, "capture": plain(capture), "sample": sample}
    if compose is not None:
        header["lab"] = str(path)
    # The settings are held against the model with a step in the place of those to come.
    step = {"run": ["true"], "on": "x", "expect": {"exit": 0}}
    try:
        loaded = from_source(Source("lab", Amounts(header, [step]).text()))
    except ScenarioError as error:
        raise UsageError("; ".join(problem.message for problem in error.problems)) from None
    empty = loaded.scenario.model_copy(update={"steps": ()})
    request = Request(
        replace(loaded, scenario=empty), path, seed_of(seed), link_backend, {}, standing is not None, keep,
        tuple(hosts or model.hosts),
    )  # fmt: skip
    make = partial(engine_for, standing=standing) if engine is None else lambda _: engine
    return Lab(request, header, make, Path(out), observe)


def _texts(sets: Mapping[str, object] | None) -> dict[str, str]:
    """Values of parameters as text that reads as one YAML scalar."""
    return {name: _text(value) for name, value in (sets or {}).items()}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


__all__ = [
    "Checked", "EvidenceError", "ExpectationFailed", "FaultTouchedNothing", "LabError", "LabctlError", "MissingError",
    "Options", "Outcome", "Plan", "Run", "ScenarioError", "UsageError", "exit_code", "find", "findings", "judge", "lab",
    "left_out", "load", "load_all", "not_run", "plan", "run", "run_with",
]  # fmt: skip
