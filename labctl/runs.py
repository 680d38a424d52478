"""Runs from the outside: a scenario file in, a judged run directory out. What the command line and Python callers use."""

from __future__ import annotations

import contextlib
import json
import random
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.composefile import resolved
from labctl.errors import (
    EvidenceError,
    Interrupted,
    LabctlError,
    LabError,
    MissingError,
    Problem,
    ScenarioError,
    UsageError,
)
from labctl.evidence.record import VERSION, Evidence
from labctl.evidence.record import load as load_evidence
from labctl.evidence.rundir import Observer, RunDirectory, new_run_name
from labctl.finished import Run
from labctl.interrupts import uninterrupted
from labctl.lab import Lab, read_lab
from labctl.plan import default_title
from labctl.scenario.check import check
from labctl.scenario.files import cases_of, is_folder, names_of, yaml_files
from labctl.scenario.loader import Loaded, load, merged
from labctl.scenario.model import Scenario
from labctl.scenario.recognise import is_of_a_run, is_scenario
from labctl.scenario.words import did_you_mean, listing

if TYPE_CHECKING:
    from labctl.engines.base import Engine
    from labctl.verdict.judge import RunVerdict

OWN_LAB = Path(__file__).resolve().parent.parent / "docker-compose.yml"


class Checked(NamedTuple):
    """A scenario and its lab, each checked against the other."""

    loaded: Loaded
    lab: Lab

    @property
    def scenario(self) -> Scenario:
        """The scenario as a value."""
        return self.loaded.scenario


@dataclass(frozen=True)
class Options:
    """How to run. `lab` names a standing lab to use instead of a fresh one; `overrides` are the --set values.

    `tshark` is the folder of one that waits to be forked for many runs (`sharing`).
    """

    out: Path = Path("runs")
    overrides: Mapping[str, str] = field(default_factory=dict)
    lab: str | None = None
    keep: bool = False
    seed: int | None = None
    link_backend: str = "auto"
    tshark: Path | None = None


@contextlib.contextmanager
def sharing(options: Options) -> Iterator[Options]:
    """The same options for many runs while the block goes on, which have in common what can be; without it all goes as well."""
    with _shared_tshark() as folder:
        yield replace(options, tshark=folder)


def left_out(paths: Sequence[Path], checked: Sequence[Checked]) -> list[Path]:
    """The YAML files in the folders among `paths` that are neither scenarios nor what one of these is made from."""
    inside = {p for path in paths if is_folder(path) for p in yaml_files(path) if p.is_file()}
    used = {one.loaded.path for one in checked} | {lab_path(one.loaded) for one in checked}
    used |= {one.loaded.path.parent / one.scenario.include for one in checked if one.scenario.include}
    names = {path.resolve() for path in used}
    return sorted(p for p in inside if p.resolve() not in names and not is_of_a_run(p) and not is_scenario(p))


def choose(files: Sequence[Path], words: Sequence[str], tags: Sequence[str]) -> list[Path]:
    """The scenarios with one of the words in their name and one of the tags; all of them where none is asked for.

    Raises UsageError when none is left, ScenarioError for a file whose tags cannot be read.
    """
    from labctl.catalogue import catalogue

    chosen = [path for path in files if any(_has(words, names_of(path, case)) for case in cases_of(path))]
    if tags:
        chosen = [p for p, entry in zip(chosen, catalogue(chosen), strict=True) if {*tags} & {*entry.tags}]
    if not chosen:
        asked = " and ".join(f"{what} {' or '.join(which)}" for what, which in (("-k", words), ("--tag", tags)) if which)
        raise UsageError(f"none of {len(files)} scenarios is like {asked}; `labctl list` shows them")
    return chosen


def _has(words: Sequence[str], names: Sequence[str]) -> bool:
    return not words or any(word in name for word in words for name in names)


def lab_path(loaded: Loaded) -> Path:
    """The compose file a scenario runs in. Raises ScenarioError for a name that no file can have."""
    own = loaded.scenario.lab
    if own is None:
        return OWN_LAB
    if not own:
        what = "lab: is empty; name a compose file, or leave lab: out for our own"
        raise ScenarioError([loaded.problem(("lab",), what)])
    try:
        return resolved(loaded.path.parent / own)
    except ScenarioError as error:
        raise ScenarioError([loaded.problem(("lab",), error.problems[0].message)]) from None


def prepare(
    path: Path, overrides: Mapping[str, str], labs: dict[Path, Lab] | None = None, case: str | None = None
) -> Checked:
    """Load a scenario and its lab and check one against the other. Raises ScenarioError with every problem."""
    loaded = load(path, overrides, case=case)
    where = lab_path(loaded)
    labs = {} if labs is None else labs
    if where not in labs:
        try:
            labs[where] = read_lab(where)
        except ScenarioError as error:
            first = error.problems[0]
            there = f" ({first.file}:{first.line}:{first.column})" * ((first.line, first.column) != (1, 1))
            mine = loaded.problem(("lab",), first.message + there) if loaded.scenario.lab else first
            raise ScenarioError([mine]) from None
    problems = check(loaded, labs[where])
    if problems:
        raise ScenarioError(problems)
    return Checked(loaded, labs[where])


def prepare_all(
    paths: Sequence[Path], overrides: Mapping[str, str], words: Sequence[str] = (), cases: Sequence[str] = ()
) -> list[Checked]:
    """As `prepare`, for each case of many files; each lab is read once.

    Of the cases only those with one of the words in their name and those named, where any are. Raises ScenarioError with the
    problems of all of them, UsageError when none is left.
    """
    problems: list[Problem] = []
    found: list[Checked] = []
    labs: dict[Path, Lab] = {}
    known = {path: cases_of(path) for path in paths}
    for path, all_of_it in known.items():
        chosen = [c for c in all_of_it if (not cases or c in cases) and _has(words, names_of(path, c))]
        told: dict[str | None, list[Problem]] = {}
        for case in chosen:
            try:
                found.append(prepare(path, overrides, labs, case))
            except ScenarioError as error:
                told[case] = error.problems
        problems += merged(told, len(chosen))
    if problems:
        raise ScenarioError(problems)
    if not found:
        there = [case for all_of_it in known.values() for case in all_of_it if case]
        near = did_you_mean(cases[0] if cases else "", there, f"there are {listing(there, 'and')}") if there else ""
        raise UsageError(f"there is no case {listing(cases or words)}{near}")
    return found


def run_scenario(
    scenario: Path | Loaded,
    options: Options,
    observe: Observer,
    engine: Engine | None = None,
    case: str | None = None,
) -> Run:
    """Run one scenario and judge it.

    A scenario that is loaded has been checked (`prepare`). Raises ScenarioError, MissingError or LabError for what stops
    a run before it begins; whatever happens to the run itself is in the result.
    """
    loaded = scenario if isinstance(scenario, Loaded) else prepare(scenario, options.overrides, case=case)[0]
    run = new_run_name(loaded.scenario.scenario)
    engine = engine or engine_for(run, _lab_of(options, run), options.tshark)
    from labctl.engines.base import NoSuchLab
    from labctl.runner import Request, execute

    record = RunDirectory.create(options.out, run, _reading_ahead(observe))
    request = Request(
        loaded, lab_path(loaded), seed_of(options.seed), options.link_backend, dict(options.overrides),
        options.lab is not None, options.keep,
    )  # fmt: skip
    try:
        execute(request, engine, record, run)
        with uninterrupted():
            return Run(record.path, conclude(record))
    except (ScenarioError, NoSuchLab):
        record.remove()
        raise
    except (EvidenceError, UsageError):
        if record.lost is None:
            raise
        raise LabError(record.lost) from None  # it was not written: that is why it cannot be read
    finally:
        record.close()


def _lab_of(options: Options, run: str) -> str | None:
    """The standing lab that is used, or will stand afterwards. Raises UsageError for what can be no name of one."""
    from labctl.engines.labels import lab_name

    if options.lab is not None:
        return lab_name(options.lab)
    return kept_name(run) if options.keep else None


def not_run(loaded: Loaded, error: LabctlError) -> dict[str, Any]:
    """What stands in the place of a result for a scenario that could not be begun, in the words of result.json."""
    missing = error.exit_code == MissingError.exit_code  # an error from another process has its message and its code alone
    return {
        "version": VERSION, "scenario": loaded.scenario.scenario, "case": loaded.case, "run": None, "engine": None,
        "verdict": "skip" if missing else "error", "reason": str(error), "started": None, "seconds": None, "seed": None,
        "interrupted": error.exit_code == Interrupted.exit_code, "steps": [], "faults": [], "captures": [], "environment": {},
    }  # fmt: skip


def kept_name(run: str) -> str:
    """What the lab of a run is called that stays when it has ended: `<scenario>-<4 hex>`, at most 31 characters."""
    _, _, name = run.partition("-")
    scenario, _, number = name.rpartition("-")
    plain = re.sub(r"[^a-z0-9]+", "-", scenario.lower())[:26].strip("-") or "lab"
    return f"{plain}-{number}"


def seed_of(given: int | None) -> int:
    """The seed of a run: the one given, or any."""
    return given if given is not None else random.SystemRandom().randrange(2**31)


def _reading_ahead(observe: Observer) -> Observer:
    """The same observer; once programs run, and all else waits for them, what the reports need is imported."""
    has_begun = False

    def observed(event: dict[str, Any]) -> None:
        nonlocal has_begun
        if event["event"] == "program-start" and not has_begun:
            has_begun = True
            threading.Thread(target=_read_ahead, daemon=True).start()
        observe(event)

    return observed


def _read_ahead() -> None:
    import labctl.report.junit
    import labctl.verdict.judge  # noqa: F401
    from labctl.report.html import make_ready

    make_ready()


def engine_for(run: str, standing: str | None = None, tshark: Path | None = None) -> Engine:
    """What provides the hosts of a run, or of a standing lab. Raises MissingError."""
    return _docker(run, standing, tshark)


def _docker(run: str, standing: str | None, tshark: Path | None) -> Engine:
    from labctl.engines.daemon import connect
    from labctl.engines.docker import DockerEngine

    return DockerEngine(connect(), run, standing, tshark)


def _shared_tshark() -> contextlib.AbstractContextManager[Path | None]:
    from labctl.engines.forks import shared

    return shared()


def conclude(record: RunDirectory) -> dict[str, Any]:
    """Judge what a run directory holds and write result.json, report.html and junit.xml into it."""
    from labctl.verdict.judge import result

    verdict = judge_run(record.path)
    value = result(verdict)
    record.write_json("result.json", value)
    write_reports(record, verdict, value)
    return value


def judge_run(path: Path) -> RunVerdict:
    """The verdict on a run, from its directory alone. Raises EvidenceError when it cannot be believed."""
    from labctl.verdict.judge import judge

    evidence = load_evidence(path)
    loaded = _scenario_of(path, evidence)
    titles = {index: step.name or default_title(step) for index, step in enumerate(loaded.scenario.steps, 1)}
    return judge(loaded.scenario, titles, evidence)


def _scenario_of(path: Path, evidence: Evidence) -> Loaded:
    try:
        if evidence.live and not evidence.steps:  # a language in which there must be steps has no word for this
            scenario = Scenario.model_construct(scenario=evidence.scenario, steps=())
            return Loaded(path / "scenario.yaml", "", scenario, {})
        included = path / "include.yaml"
        text = included.read_text(encoding="utf-8") if included.exists() else None
        return load(path / "scenario.yaml", evidence.overrides, text, evidence.live, evidence.case)
    except (LabctlError, OSError, UnicodeDecodeError) as error:
        raise EvidenceError(f"the run's own scenario cannot be read: {error}") from None


def write_reports(record: RunDirectory, verdict: RunVerdict, value: dict[str, Any]) -> None:
    """The page and the JUnit file of one run. A report that cannot be made is an error of ours, and says so."""
    from labctl.report.html import render
    from labctl.report.junit import junit

    record.write(
        "report.html",
        render(verdict, read_plan(record.path), (record.path / "scenario.yaml").read_text(encoding="utf-8")),
    )
    record.write("junit.xml", junit([value]))


def read_plan(path: Path) -> dict[str, Any]:
    """plan.json of a run; empty when the run broke before it had one. Raises EvidenceError."""
    try:
        found: object = json.loads((path / "plan.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise EvidenceError(f"{path / 'plan.json'} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise EvidenceError(f"{path / 'plan.json'} cannot be read: it is no mapping")
    return found


def exit_code(results: Sequence[Mapping[str, Any]]) -> int:
    """The command's exit status for these results (DESIGN: contract)."""
    if any(r.get("interrupted") for r in results):
        return 130
    verdicts = {r["verdict"] for r in results}
    if "error" in verdicts:
        return 4
    if "fail" in verdicts:
        return 1
    return 3 if verdicts == {"skip"} else 0
