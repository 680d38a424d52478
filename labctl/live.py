"""A lab that a Python program tells what to do, step by step. It leaves the same run directory as a scenario does.

Each step is a step of the scenario language: held against the same models, planned by the same planner, taken by the same
session, recorded in the same events. The scenario that the steps amount to grows in the run directory as `scenario.yaml`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from labctl.amounts import Amounts, plain
from labctl.engines.base import Engine
from labctl.errors import LabctlError, LabError, ScenarioError, UsageError
from labctl.evidence.rundir import Observer, RunDirectory, new_run_name
from labctl.faults import FAULTS
from labctl.finished import Run, findings
from labctl.interrupts import uninterrupted
from labctl.outcome import Outcome
from labctl.plan import PlannedStep
from labctl.runner import Request, Session, begin, note, planned_of, session_of
from labctl.runs import conclude
from labctl.scenario.check import check
from labctl.scenario.loader import Loaded, from_source
from labctl.scenario.model import PROGRAMS
from labctl.scenario.words import did_you_mean, listing
from labctl.scenario.yamltext import Source

Words = Sequence[object] | str
# What stands in the scenario for an expectation while a program runs of which nothing was expected.
_NOT_YET = {"exit": 0}


class ExpectationFailed(AssertionError):
    """Something that was expected of a lab did not hold; `run` has the evidence."""

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run


class FaultTouchedNothing(LabError):
    """A fault was put in place and taken away, and no packet met it: nothing is proved."""


class Lab:
    """A lab as a context manager: up inside the block; taken down, judged and its page written at its end.

    Made by `labctl.api.lab`. What is expected with `expect=` is judged when the block ends, and raises ExpectationFailed.
    """

    def __init__(
        self,
        request: Request,
        header: Mapping[str, Any],
        engine: Callable[[str], Engine],
        out: Path,
        observe: Observer = lambda _: None,
    ) -> None:
        self._request, self._engine, self._out, self._observer = request, engine, out, observe
        self._amounts = Amounts(header)
        self._ended: dict[str, dict[str, Any]] = {}
        self._started: dict[str, dict[str, Any]] = {}
        self._touched: dict[str, int | None] = {}
        self._last: str | None = None
        self._session: Session | None = None
        self._finished: Run | None = None

    # -- the block ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        scenario = self._request.loaded.scenario.scenario
        name = new_run_name(scenario)
        engine = self._engine(name)
        self._record = record = RunDirectory.create(self._out, name, self._observe)
        self._stack = ExitStack()
        request = replace(self._request, loaded=replace(self._request.loaded, text=self._amounts.text()))
        begin(request, engine, record, name)
        self._context = session_of(request, engine, record, name, self._stack)
        try:
            self._session = self._context.__enter__()
        except BaseException as error:
            note(record, error)
            self._stack.close()
            self._conclude()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        else:
            run = self.end(error)
            error.add_note(f"labctl: {run.page}")

    def finish(self) -> Run:
        """Take the lab down, judge what was seen and write the page; the run. The end of the block does it as well.

        Raises ExpectationFailed when something expected did not hold, and LabError when the lab broke.
        """
        run = self.end()
        if run.verdict == "fail":
            raise ExpectationFailed("\n".join([*findings(run.result), f"see {run.page}"]), run)
        if run.verdict != "pass":
            raise LabError(f"{run.reason}; see {run.page}")
        return run

    def end(self, error: BaseException | None = None) -> Run:
        """As `finish`, after `error` has ended the block; raises nothing for what did not hold."""
        if self._finished is not None:
            return self._finished
        session, self._session = self._session, None
        if session is None:
            raise UsageError("this lab is not up; it is inside its `with` block")
        if isinstance(error, KeyboardInterrupt):
            note(self._record, error)
        else:
            first = str(error).strip().partition("\n")[0]
            said = f"{type(error).__name__}: {first}" if error is not None else None
            self._record.event("python-end", exception=said, assertion=_is_assertion(error))
        try:
            self._context.__exit__(None, None, None)
        except (KeyboardInterrupt, Exception) as broke:
            note(self._record, broke)
            self._stack.close()
        return self._conclude()

    def _conclude(self) -> Run:
        self._record.event("run-end")
        try:
            with uninterrupted():
                self._finished = Run(self._record.path, conclude(self._record))
        finally:
            self._record.close()
        return self._finished

    # -- what can be done in it --------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether it can take steps."""
        return self._session is not None

    @property
    def path(self) -> Path:
        """The run directory."""
        return self._record.path

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of the hosts that are up."""
        return self._up().plan.hosts

    def host(self, name: str) -> Host:
        """A host of the lab, by the name of its service. Raises UsageError."""
        if name not in self.hosts:
            known = f"up are {listing(self.hosts, 'and')}"
            raise UsageError(f"the lab has no host {name!r}{did_you_mean(name, self.hosts, known)}")
        return Host(self, name)

    @contextlib.contextmanager
    def fault(
        self, name: str, *, at: str | Sequence[str], title: str | None = None, **words: Any
    ) -> Iterator[Fault]:
        """Something broken while the block runs: `with lab.fault("wall", at="router", drop={"to": "server"}):`.

        Arguments: its name, the host or hosts, and the keys of a fault step as a scenario has them (`for_` is `for`).
        Raises FaultTouchedNothing at the end of the block when no packet met it; what the block raises goes first.
        """
        words = {key.rstrip("_"): value for key, value in words.items()}
        self._touched[name] = 0
        self.take({"fault": name, "at": at, **_named(title), **words})
        fault = Fault(self, name)
        try:
            yield fault
        except BaseException:
            # What the block raised is told; a healing that fails as well is in the record.
            if self._session is not None:
                with contextlib.suppress(LabctlError):
                    fault.heal()
            raise
        if self._session is not None:  # else it was taken away with the lab
            fault.heal()
        if fault.packets == 0 and self._kind_of(name) != "down":  # what `down` kept away is counted in the captures
            raise FaultTouchedNothing(
                f"the fault {name} at {at} touched no packet, so nothing is proved; is it where the packets pass?"
            )

    def wait(self, duration: str) -> None:
        """Let time pass, like `500ms`."""
        self.take({"wait": duration})

    # -- how it is done ----------------------------------------------------------------------------------------------

    def take(self, words: Mapping[str, Any]) -> Outcome | None:
        """Take one step, written as a scenario has it; what the program it was about ended in, if it ended.

        Raises ScenarioError for a step that cannot be, LabError for one that could not be done.
        """
        session = self._up()
        try:
            raw = plain({key: value for key, value in words.items() if value is not None})
        except TypeError as error:
            raise UsageError(str(error)) from None
        step, expects = self._planned(session, raw)
        session.take(step, expects)
        ended = self._ended.get(self._last or "")
        if ended is None:
            return None
        outcome = Outcome.read(self._record.path, step.index, self._started[ended["id"]], ended)
        if not expects and "expect" in raw:
            raw["expect"] = (
                outcome.as_expected() if self._word(raw) in PROGRAMS else {"exit": outcome.exit or 0}
            )
            self._record.write("scenario.yaml", self._amounts.text())
        return outcome

    def _planned(self, session: Session, raw: dict[str, Any]) -> tuple[PlannedStep, bool]:
        """The step at the end of a plan for all steps so far, and whether it expects something."""
        expects = "expect" in raw or not ({"run", "finish"} & raw.keys())
        if not expects:
            raw["expect"] = dict(_NOT_YET)
        self._amounts.steps.append(raw)
        try:
            loaded = self._loaded(session)
        except LabctlError:
            self._amounts.steps.pop()
            raise
        self._record.write("scenario.yaml", loaded.text)
        session.follow(planned_of(replace(self._request, loaded=loaded), session.plan.lab, self._record))
        return session.plan.steps[-1], expects

    def _loaded(self, session: Session) -> Loaded:
        text = self._amounts.text()
        try:
            loaded = from_source(Source(str(self._record.path / "scenario.yaml"), text), live=True)
            if problems := check(loaded, session.plan.lab):
                raise ScenarioError(problems)
        except ScenarioError as error:
            raise UsageError("\n".join(problem.message for problem in error.problems)) from None
        return loaded

    def _word(self, raw: Mapping[str, Any]) -> str:
        """The program that a step is about, as it was called when it was started."""
        if "run" in raw:
            return str(raw["run"][0])
        return next(str(s["start"][0]) for s in reversed(self._amounts.steps) if s.get("as") == raw["finish"])

    def label(self, program: str) -> str:
        """A name for a program that is started, which none has had."""
        base = re.sub(r"[^a-z0-9]+", "-", Path(program).name.lower()).strip("-")
        base = (base if base[:1].isalpha() else f"p{base}")[:16].strip("-")
        taken = {program["handle"] for program in self._started.values()}
        return next(name for n in range(1, 10**6) if (name := base if n == 1 else f"{base}-{n}") not in taken)

    def touched(self, name: str) -> int | None:
        """How many packets a fault has touched, as counted when it was last taken away; None when nobody could."""
        return self._touched[name]

    def _kind_of(self, name: str) -> str:
        return next(str(kind) for s in reversed(self._amounts.steps) if s.get("fault") == name for kind in FAULTS if kind in s)

    def is_broken(self, name: str) -> bool:
        """Whether a fault is in place, or on its timeline."""
        return bool(self._up().faults.named([name]))

    def _up(self) -> Session:
        if self._session is None:
            raise UsageError("this lab is not up; it is inside its `with` block")
        return self._session

    def _observe(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "program-start":
            self._started[event["id"]] = event
        elif kind == "program-end":
            self._ended[event["id"]] = event
        elif kind == "step-end":
            self._last = event["program"]
        elif kind == "fault-removed":
            before, now = self._touched.get(event["name"], 0), event["packets"]
            self._touched[event["name"]] = None if before is None or now is None else before + now
        self._observer(event)


class Host:
    """One host of a lab."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab, self.name = lab, name

    def run(
        self,
        command: Words,
        *,
        expect: Mapping[str, Any] | None = None,
        name: str | None = None,
        timeout: str | None = None,
        env: Mapping[str, object] | None = None,
    ) -> Outcome:
        """Run a program to its end; what it saw.

        Arguments: a bundled program or any command the host has, with its arguments; what must be seen, in the words of
        a scenario's `expect:`; a sentence for the report; when it is killed (`5s`); environment variables.
        Raises LabError when it is killed.
        """
        words = {"run": _argv(command), "on": self.name, "timeout": timeout, "env": env, "expect": expect}
        outcome = self._lab.take({**words, **_named(name)})
        assert outcome is not None
        return outcome

    def start(
        self,
        command: Words,
        *,
        ready: Mapping[str, Any] | None = None,
        name: str | None = None,
        label: str | None = None,
        env: Mapping[str, object] | None = None,
    ) -> Program:
        """Start a program and go on; it runs until it is stopped or the lab ends.

        Arguments as for `run`; `ready` is the fact to wait for, like {"listen": 80}. Raises LabError when it does not come.
        """
        argv = _argv(command)
        label = label or self._lab.label(str(argv[0]) if argv else "")
        self._lab.take(
            {"start": argv, "on": self.name, "as": label, "ready": ready, "env": env, **_named(name)}
        )
        return Program(self._lab, label)


    def until(self, *, listen: int | None = None, bound: int | None = None, timeout: str | None = None) -> None:
        """Wait until a service that the host itself started is there: a TCP port listened on, or a UDP port bound.

        Raises LabError when it does not come within `timeout` (`10s` when not given).
        """
        facts = {"listen": listen, "bound": bound, "timeout": timeout}
        self._lab.take({"until": {k: v for k, v in facts.items() if v is not None}, "on": self.name})


class Program:
    """A program that was started on a host."""

    def __init__(self, lab: Lab, label: str) -> None:
        self._lab, self.label = lab, label

    def finish(
        self, *, timeout: str | None = None, expect: Mapping[str, Any] | None = None, name: str | None = None
    ) -> Outcome:
        """Wait until it ends by itself; what it saw. Raises LabError when it does not."""
        return self._end({"finish": self.label, "timeout": timeout, "expect": expect, **_named(name)})

    def stop(
        self, signal: str = "TERM", *, expect: Mapping[str, Any] | None = None, name: str | None = None
    ) -> Outcome:
        """End it with a signal; what it saw until then."""
        return self._end({"stop": self.label, "signal": signal, "expect": expect, **_named(name)})

    def _end(self, words: Mapping[str, Any]) -> Outcome:
        outcome = self._lab.take(words)
        assert outcome is not None
        return outcome


class Fault:
    """A fault while its block runs."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab, self.name = lab, name

    @property
    def packets(self) -> int | None:
        """How many packets it touched, counted when it is taken away; None when nobody could count them."""
        return self._lab.touched(self.name)

    def heal(self) -> None:
        """Take it away before its block ends."""
        if self._lab.is_broken(self.name):
            self._lab.take({"heal": self.name})


def _named(name: str | None) -> dict[str, str]:
    return {} if name is None else {"name": name}


def _argv(command: Words) -> list[object]:
    if isinstance(command, str):
        return [command]
    return [word if isinstance(word, int) else str(word) for word in command]


def _is_assertion(error: BaseException | None) -> bool:
    """Whether an exception says that something did not hold: an assert, or pytest.fail()."""
    failed = any(c.__name__ == "Failed" and c.__module__.startswith("_pytest.") for c in type(error).__mro__)
    return failed or isinstance(error, AssertionError)
