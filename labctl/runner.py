"""One run, from a plan to a record. `execute` reads like the list it is."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labctl import __version__
from labctl.engines.agents import AgentRefused
from labctl.engines.base import Engine, NoSuchLab, Say, on_free_addresses
from labctl.errors import LabctlError, LabError, MissingError, ScenarioError
from labctl.evidence.record import VERSION, Before
from labctl.evidence.rundir import RunDirectory
from labctl.interrupts import uninterrupted
from labctl.lab import Lab, from_compose
from labctl.plan import Plan, PlannedStep, plan
from labctl.scenario.check import check
from labctl.scenario.loader import Loaded
from labctl.scenario.model import StartStep, StopStep, UntilStep, WaitStep
from labctl.session.captures import CaptureFilterRefused, Captures
from labctl.session.faults import Faults
from labctl.session.hosts import Hosts
from labctl.session.programs import WATCH_S, Programs, StepFailed
from labctl.session.together import everywhere, recorded


@dataclass(frozen=True)
class Request:
    """What to run. `lab_path` is where its hosts come from, `standing` whether they are up already and stay up.

    `hosts` are those to bring up for steps that are told one by one; None where the scenario has its steps and names them.
    """

    loaded: Loaded
    lab_path: Path
    seed: int
    link_backend: str = "auto"
    overrides: Mapping[str, str] = field(default_factory=dict)
    standing: bool = False
    keep: bool = False
    hosts: tuple[str, ...] | None = None


def execute(request: Request, engine: Engine, record: RunDirectory, run: str) -> None:
    """Run a scenario and leave its record in `record`. Never raises for what happens to the run; it is in the record.

    Raises ScenarioError where the lab is found to be none, or not to be one for this scenario, before anything was made; and
    for a capture filter that is none, when all that was made is gone.

     1. save the scenario, and the plan before anything is touched
     2. bring the lab up; on every host that runs open an agent and set the routes
     3. wait until every host is healthy
     4. start the captures and wait until each is proven to record; sample sockets
     5. take the steps in order: programs, faults, waits
     6. stop programs, read the counters, undo every fault
     7. end the captures; take the hosts away while they are fetched and read
     8. take down what is left
    Whatever fails, what follows it in this list still happens for what had been done before.
    """
    lab_stack = ExitStack()
    try:
        begin(request, engine, record, run)
        with session_of(request, engine, record, run, lab_stack) as session:
            for step in session.plan.steps:
                session.take(step)
    except (ScenarioError, NoSuchLab):
        raise  # a file or a command line to be mended, and no run that broke
    except (KeyboardInterrupt, Exception) as error:
        note(record, error)
        lab_stack.close()  # does nothing, unless an interrupt came right before it was to be done
    record.event("run-end")


def begin(request: Request, engine: Engine, record: RunDirectory, run: str) -> None:
    """Save what was asked, before anything is touched."""
    scenario = request.loaded.scenario
    with uninterrupted():
        record.event(
            "run-start", t=0.0, version=VERSION, run=run, scenario=scenario.scenario, engine=engine.name, seed=request.seed,
            started=datetime.fromtimestamp(record.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), epoch=record.epoch,
            overrides=dict(request.overrides), steps=len(scenario.steps), labctl=__version__, live=request.hosts is not None,
            case=request.loaded.case,
        )  # fmt: skip
        record.write("scenario.yaml", request.loaded.text)
        if request.loaded.included is not None:
            record.write("include.yaml", request.loaded.included)


@contextlib.contextmanager
def session_of(
    request: Request, engine: Engine, record: RunDirectory, run: str, stack: ExitStack
) -> Iterator[Session]:
    """A lab that is up and recorded while the block runs; at its end, however it ends, all is undone and saved.

    `stack` takes the lab down; it is closed here, and may be closed again.
    """
    try:
        try:
            session = _bring_up(request, engine, record, run, stack)
            with session.captures.running(), session.programs_and_faults():
                yield session
        finally:
            with uninterrupted():
                stack.close()
    except CaptureFilterRefused as error:
        raise ScenarioError([request.loaded.problem(("capture", "filter"), str(error))]) from None
    except LabError as error:  # asked last, as an engine that is being ended takes its hosts away before it goes itself
        if (lost := engine.lost()) is not None:
            raise LabError(lost) from error
        raise


def note(record: RunDirectory, error: BaseException) -> None:
    """Put into the record what ended a run before its time."""
    if isinstance(error, KeyboardInterrupt):
        record.event("interrupted")
        if isinstance(error.__context__, LabctlError):
            record.event("error", message=str(error.__context__))
    elif isinstance(error, MissingError):
        record.event("error", message=str(error), missing=True)
    elif isinstance(error, LabctlError):
        record.event("error", message=str(error))
    else:
        record.event(
            "error",
            message=f"a bug in labctl: {type(error).__name__}: {error}",
            traceback="".join(traceback.format_exception(error)),
        )


def _bring_up(request: Request, engine: Engine, record: RunDirectory, run: str, stack: ExitStack) -> Session:
    """Steps 1 to 3. What is made here is taken away by `stack`."""

    def say(message: str) -> None:
        record.event("progress", message=message)

    stack.callback(_down, engine, record)
    if request.standing:
        lab = engine.attach()
        if problems := check(
            request.loaded, lab
        ):  # it was checked against its own lab, and this may be another
            raise ScenarioError(problems)
        planned = planned_of(request, lab, record)
        if (rendered := engine.rendered()) is not None:
            record.write("compose.yaml", rendered)
        if why := next(filter(None, everywhere(engine.why_down, planned.hosts)), None):
            raise LabError(why)
        hosts = _hosts(planned, request, engine, record, stack)
        hosts.before += [Before(d.fault, d.what, d.host, d.by) for d in engine.disturbed() if d.host in planned.hosts]
        everywhere(hosts.open, planned.hosts)
    else:
        config = engine.prepare(request.lab_path, say)
        lab = from_compose(config, request.lab_path)
        hosts = _up(config, lab, request, engine, record, stack, say)
    stays = request.standing or request.keep
    captures = Captures(hosts, run, engine.tidy if stays else engine.release)
    programs = Programs(hosts)
    session = Session(hosts, captures, programs, Faults(hosts, captures, programs, request.seed), stays)
    hosts.begin()
    if request.keep and not request.standing:
        stack.callback(_keep, engine, record, captures)
    record.event(
        "environment", environment={**engine.environment(), **hosts.environment, "labctl": __version__}
    )
    if request.standing:
        session.faults.check_free()
    return session


def _up(
    config: Mapping[str, Any], lab: Lab, request: Request, engine: Engine, record: RunDirectory, stack: ExitStack, say: Say
) -> Hosts:
    def up(found: Lab) -> Hosts:
        planned = planned_of(request, found, record)
        hosts = _hosts(planned, request, engine, record, stack)
        engine.up(config, planned.lab, planned.hosts, record.path / "compose.yaml", say, hosts.open)
        return hosts

    return on_free_addresses(engine, lab, up)


def _hosts(planned: Plan, request: Request, engine: Engine, record: RunDirectory, stack: ExitStack) -> Hosts:
    """The hosts of a plan, to be opened; closed by `stack`."""
    hosts = Hosts(planned, engine, record, request.link_backend)
    stack.callback(hosts.close)
    return hosts


def planned_of(request: Request, lab: Lab, record: RunDirectory) -> Plan:
    """The plan for a lab whose addresses are known; it is saved."""
    planned = plan(request.loaded.scenario, lab, request.hosts or (), request.standing, request.seed)
    record.write_json("plan.json", planned.as_json())
    return planned


def _keep(engine: Engine, record: RunDirectory, captures: Captures) -> None:
    if captures.is_refused:
        return  # a mistake in the scenario, which leaves nothing
    try:
        name = engine.keep()
    except LabctlError as error:
        record.event("error", message=str(error), undoing=True)
    else:
        ways = f"`labctl exec --lab {name} HOST -- …`, `labctl run --lab {name}`, `labctl down {name}`"
        record.event("progress", message=f"the lab stays up, as {name}: {ways}")


def _down(engine: Engine, record: RunDirectory) -> None:
    try:
        engine.down()
        record.event("lab-down")
    except LabctlError as error:
        lost = engine.lost()  # no failure to tidy up, but what ended the run
        record.event("error", message=lost or str(error), undoing=lost is None)


@dataclass
class Session:
    """A lab that is up, while a scenario runs in it."""

    hosts: Hosts
    captures: Captures
    programs: Programs
    faults: Faults
    stays: bool = False

    @property
    def plan(self) -> Plan:
        return self.hosts.plan

    @contextlib.contextmanager
    def programs_and_faults(self) -> Iterator[None]:
        """While the block runs programs may be started and faults applied; at its end, however it ends, none are left."""
        try:
            yield
            self.faults.tally(len(self.plan.steps) + 1)
        finally:
            with uninterrupted():
                self.faults.lives.leaves = not self.stays
                self.programs.stop_all()
                recorded(self.hosts.record, self.faults.heal)(list(reversed(self.faults.applied)))

    def follow(self, plan: Plan) -> None:
        """Go on by a plan that has more steps than the one before, on the same hosts."""
        self.hosts.plan = self.captures.plan = plan
        self.hosts.prepare_links()

    def take(self, step: PlannedStep, expects: bool = True) -> None:
        """Take one step. What it could not do is in the record; only a lab that broke raises.

        `expects` is false when nobody said what must be seen of it: then nothing is judged.
        """
        record = self.hosts.record
        self.faults.tally(step.index)
        record.event(
            "step-start", index=step.index, kind=step.kind, title=step.title, host=step.host, expects=expects
        )
        error, program = None, None
        try:
            program = _TAKE[step.kind](self, step)
        except StepFailed as failure:
            error = str(failure)
            program = failure.program
        record.event("step-end", index=step.index, error=error, program=program)
        self.hosts.check()
        if error:
            raise LabError(f"step {step.index} ({step.title}): {error}")

    def take_start(self, step: PlannedStep) -> str:
        running = self.programs.start(step)
        if isinstance(step.step, StartStep) and step.step.ready is not None:
            self.programs.wait_ready(running, step.step.ready)
        return running.id

    def take_run(self, step: PlannedStep) -> str:
        running = self.programs.start(step)
        self.programs.wait_end(running, step.timeout_s)
        return running.id

    def take_finish(self, step: PlannedStep) -> str:
        running = self.programs.named(step.handles[0])
        self.programs.wait_end(running, step.timeout_s)
        return running.id

    def take_stop(self, step: PlannedStep) -> str:
        running = self.programs.named(step.handles[0])
        assert isinstance(step.step, StopStep)
        running.signal(step.step.signal)
        self.programs.wait_end(running, step.timeout_s)
        return running.id

    def take_wait(self, step: PlannedStep) -> None:
        assert isinstance(step.step, WaitStep)
        deadline = time.monotonic() + step.step.wait
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, WATCH_S))
            self.hosts.check()

    def take_until(self, step: PlannedStep) -> None:
        assert isinstance(step.step, UntilStep)
        bound = self.programs.bound(step.step.on, step.step.until)
        while not bound.done():
            self.hosts.check()
            time.sleep(WATCH_S / 10)
        try:
            bound.result()
        except AgentRefused as error:
            raise StepFailed(str(error)) from None

    def take_fault(self, step: PlannedStep) -> None:
        self.faults.apply(step)

    def take_heal(self, step: PlannedStep) -> None:
        self.faults.heal(self.faults.named(step.handles))


_TAKE: dict[str, Callable[[Session, PlannedStep], str | None]] = {
    "start": Session.take_start,
    "run": Session.take_run,
    "finish": Session.take_finish,
    "stop": Session.take_stop,
    "wait": Session.take_wait,
    "until": Session.take_until,
    "fault": Session.take_fault,
    "heal": Session.take_heal,
}
