"""A YAML file → Scenario, or every problem in it with file:line:column and what would be right.

`load` is a line of stages: bytes → text → nodes (yamltext) → values with marks and parameters (grow) → steps,
each held against the one model its keys name → Scenario. Problems of a stage are collected; all are shown
together.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import cast

from pydantic import ValidationError

from labctl.errors import Problem, ScenarioError
from labctl.faults import FAULTS
from labctl.scenario.files import cased, cases_of
from labctl.scenario.grow import grow
from labctl.scenario.include import included_by, put_below
from labctl.scenario.messages import empties, explain
from labctl.scenario.model import STEPS, Expectation, FaultStep, Included, RunStep, Scenario, Step
from labctl.scenario.tree import Loc, Mark, Tree
from labctl.scenario.which import which_step
from labctl.scenario.yamltext import Source, compose, read

SHOWN = 20


@dataclass(frozen=True)
class Loaded:
    """A scenario with its file: `text` as it was read, `marks` the position of every value in it.

    `included` is the text of the file it includes, if it does; `case` which of the file's cases it is, if there are any.
    """

    path: Path
    text: str
    scenario: Scenario
    marks: Mapping[Loc, Mark] = field(repr=False)
    file: str = ""
    included: str | None = field(default=None, repr=False)
    case: str | None = None

    @property
    def name(self) -> str:
        """What it is called, with its case in brackets."""
        return self.scenario.scenario

    def problem(self, loc: Loc, message: str) -> Problem:
        """A problem at a location of the model, like ("steps", 3, "drop", "to").

        It points at the value when that is a scalar, else at its key; where the file has nothing at that
        location (a default), at the nearest value around it.
        """
        return Problem(self.file or str(self.path), *nearest_mark(self.marks, loc).place, message)


def load(
    path: str | os.PathLike[str],
    overrides: Mapping[str, str] = MappingProxyType({}),
    included: str | None = None,
    live: bool = False,
    case: str | None = None,
) -> Loaded:
    """The scenario in a file, with `overrides` (name -> YAML scalar) in the place of its params.

    `included` is the text of the file it includes, where that is known already (a run keeps it); `case` is one of those that
    the file names. Raises ScenarioError with every problem found, by line, and UsageError for an override of an unknown
    parameter, for an unknown case, and when no case is named and the file has some.
    """
    return from_source(read(path), overrides, included, live, case)


def load_cases(
    path: str | os.PathLike[str], overrides: Mapping[str, str] = MappingProxyType({})
) -> list[Loaded]:
    """A file's scenario in each of its cases; by itself where it has none. Raises as `load`, for all cases together."""
    source = read(path)
    found = []
    told: dict[str | None, list[Problem]] = {}
    for case in cases_of(Path(path)):
        try:
            found.append(from_source(source, overrides, case=case))
        except ScenarioError as error:
            told[case] = error.problems
    if told:
        raise collected(merged(told, len(found) + len(told)))
    return found


def merged(told: Mapping[str | None, Sequence[Problem]], cases: int) -> list[Problem]:
    """The problems of a file's cases; one that not all of its `cases` have says whose it is."""
    times = Counter(problem for problems in told.values() for problem in set(problems))
    return [
        problem if times[problem] == cases else replace(problem, message=f"in the case {case}: {problem.message}")
        for case, problems in told.items()
        for problem in problems
    ]


def from_source(
    source: Source,
    overrides: Mapping[str, str] = MappingProxyType({}),
    included: str | None = None,
    live: bool = False,
    case: str | None = None,
) -> Loaded:
    """As `load`, from text that has been read already. A live one grows while it runs, and need not expect anything yet."""
    root = compose(source)
    lower = included_by(source, root, included)
    tree = grow(source, root, overrides, (lower, compose(lower)) if lower else None, case)
    scenario = _validate(tree, live)
    problems = [*tree.problems, *(tree.below.problems if tree.below else ())]
    if problems or scenario is None:
        raise collected(problems)
    scenario = scenario.model_copy(update={"scenario": cased(scenario.scenario, case)})
    text = lower.text if lower else None
    return Loaded(Path(source.file), source.text, scenario, MappingProxyType(tree.marks), source.file, text, case)


def nearest_mark(marks: Mapping[Loc, Mark], loc: Loc) -> Mark:
    """The mark of a location, or of the nearest one around it that the file has."""
    while loc not in marks and loc:
        loc = loc[:-1]
    return marks.get(loc) or Mark(1, 1, None, "mapping")


def collected(problems: list[Problem]) -> ScenarioError:
    """The error that carries these problems in the order of their lines; the first `SHOWN`, and how many
    more.
    """
    ordered = sorted(dict.fromkeys(problems), key=lambda p: (p.file, p.line, p.column))
    if len(ordered) > SHOWN:
        rest = ordered[SHOWN:]
        more = Problem(
            rest[0].file, rest[0].line, rest[0].column, f"and {len(rest)} more problems from here on"
        )
        ordered = [*ordered[:SHOWN], more]
    return ScenarioError(ordered)


# Stands in for the steps when those have problems of their own, so that the rest of the file is looked at
# too.
_STAND_IN = RunStep(run=("true",), on="x", expect=Expectation(errno=None))


def _validate(tree: Tree, live: bool) -> Scenario | None:
    values = dict(tree.value)
    raw = values.get("steps")
    steps: tuple[Step, ...] | None = ()
    if isinstance(raw, list) and raw:
        steps = _steps(tree, raw)
        values["steps"] = steps or (_STAND_IN,)
    # The steps have been looked at; a parameter may be null.
    elsewhere = {k: v for k, v in values.items() if v is None or k not in ("steps", "params", "cases")}
    tree.problems += empties(tree, Scenario, elsewhere, (), ())
    if tree.below is not None and not put_below(tree, values, _below(tree.below)):
        return None
    try:
        scenario = Scenario.model_validate(values, context={"live": live})
    except ValidationError as error:
        tree.problems += explain(tree, Scenario, error, ())
        return None
    return scenario if steps is not None else None


def _below(tree: Tree) -> dict[str, object] | None:
    """What an included file gives, checked by itself; None when it has problems."""
    values = dict(tree.value)
    raw = values.get("steps")
    if isinstance(raw, list) and raw:
        values["steps"] = _steps(tree, raw)
    try:
        Included.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        tree.problems += explain(tree, Included, error, ())
    return None if tree.problems else values


def _steps(tree: Tree, raw: list[object]) -> tuple[Step, ...] | None:
    """Every step held against the model its keys name; None when one of them has problems."""
    steps: list[Step] = []
    for index, value in enumerate(raw):
        loc: Loc = ("steps", index)
        kind = which_step(tree, value, loc)
        if kind is None:
            continue
        tree.problems += empties(tree, STEPS[kind], value, loc, loc)
        try:
            steps.append(STEPS[kind].model_validate(_meant(value) if kind == FaultStep.kind else value))
        except ValidationError as error:
            tree.problems += explain(tree, STEPS[kind], error, loc)
    return tuple(steps) if len(steps) == len(raw) else None


def _meant(step: object) -> dict[str, object]:
    """A fault step in which `drop:` with nothing behind it, which is reported, still says what was meant."""
    keys = cast(dict[str, object], step)
    return {key: {} if value is None and key in FAULTS else value for key, value in keys.items()}
