"""The block: a lab that is up inside it, takes steps, and is judged when it ends."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from labctl.engines.base import Engine
from labctl.errors import LabctlError, LabError, ScenarioError, UsageError
from labctl.evidence.rundir import Observer, RunDirectory, new_run_name
from labctl.finished import Run, findings
from labctl.interrupts import uninterrupted
from labctl.live.amounts import Amounts, plain
from labctl.live.failures import ExpectationFailed, FaultTouchedNothing
from labctl.live.handles import Fault, Host, named
from labctl.live.outcome import Outcome
from labctl.live.seen import Seen
from labctl.plan import PlannedStep
from labctl.runner import Request, Session, begin, note, planned_of, session_of
from labctl.runs import conclude
from labctl.scenario.check import check
from labctl.scenario.loader import Loaded, from_source
from labctl.scenario.model import PROGRAMS
from labctl.scenario.words import did_you_mean, listing
from labctl.scenario.yamltext import Source

# What stands in the scenario for an expectation while a program runs of which nothing was expected.
_NOT_YET = {"exit": 0}


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
        self._seen = Seen()
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
        self._seen.expect_fault(name)
        self.take({"fault": name, "at": at, **named(title), **words})
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
        if fault.packets == 0 and self._amounts.fault_kind(name) != "down":  # what `down` kept away is counted in the captures
            raise FaultTouchedNothing(
                f"the fault {name} at {at} touched no packet, so nothing is proved; is it where the packets pass?"
            )

    def wait(self, duration: str) -> None:
        """Let time pass, like `500ms`."""
        self.take({"wait": duration})

    # -- how it is done ----------------------------------------------------------------------------------------------

    def take(self, words: Mapping[str, Any]) -> Outcome | None:
        """Take one step, written as a scenario has it; what the program it was about ended in, if it ended.

        Raises UsageError for a step that cannot be, LabError for one that could not be done.
        """
        session = self._up()
        try:
            raw = plain({key: value for key, value in words.items() if value is not None})
        except TypeError as error:
            raise UsageError(str(error)) from None
        step, expects = self._planned(session, raw)
        session.take(step, expects)
        outcome = self._seen.outcome(self._record.path, step.index)
        if outcome is not None and not expects and "expect" in raw:
            bundled = self._amounts.program(raw) in PROGRAMS
            raw["expect"] = outcome.as_expected() if bundled else {"exit": outcome.exit or 0}
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

    def label(self, program: str) -> str:
        """A name for a program that is started, which none has had."""
        base = re.sub(r"[^a-z0-9]+", "-", Path(program).name.lower()).strip("-")
        base = (base if base[:1].isalpha() else f"p{base}")[:16].strip("-")
        names = itertools.chain([base], (f"{base}-{n}" for n in itertools.count(2)))
        return next(name for name in names if name not in self._seen.handles)

    def touched(self, name: str) -> int | None:
        """How many packets a fault has touched, as counted when it was last taken away; None when nobody could."""
        return self._seen.touched(name)

    def is_broken(self, name: str) -> bool:
        """Whether a fault is in place, or on its timeline."""
        return bool(self._up().faults.named([name]))

    def _up(self) -> Session:
        if self._session is None:
            raise UsageError("this lab is not up; it is inside its `with` block")
        return self._session

    def _observe(self, event: dict[str, Any]) -> None:
        self._seen.observe(event)
        self._observer(event)


def _is_assertion(error: BaseException | None) -> bool:
    """Whether an exception says that something did not hold: an assert, or pytest.fail()."""
    failed = any(c.__name__ == "Failed" and c.__module__.startswith("_pytest.") for c in type(error).__mro__)
    return failed or isinstance(error, AssertionError)
