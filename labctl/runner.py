"""One run, from a plan to a record. `execute` reads like the list it is."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

from labctl import __version__
from labctl.engines.agents import AgentClient, AgentRefused
from labctl.engines.base import AddressesTaken, Engine, Process, Say
from labctl.engines.hostaction import HostFaults
from labctl.errors import LabctlError, LabError, MissingError, ScenarioError
from labctl.evidence.packets import dissect_argv, refused_filter
from labctl.evidence.record import VERSION
from labctl.evidence.rundir import RunDirectory
from labctl.evidence.shapes import is_outcome
from labctl.faults.base import FaultPlan
from labctl.interrupts import uninterrupted
from labctl.lab import Lab, from_compose
from labctl.plan import Plan, PlannedStep, plan
from labctl.scenario.check import check
from labctl.scenario.loader import Loaded
from labctl.scenario.model import Ready, Scenario, StartStep, StopStep, WaitStep

WATCH_S = 0.05
STOP_GRACE_S = 3.0
CAPTURE_TIMEOUT_S = 60.0
POOL_ATTEMPTS = 5
_DEVICE = re.compile(r"\{dev:([^}]+)\}")


@dataclass(frozen=True)
class Request:
    """What to run. `lab` is where its hosts come from, `standing` whether they are up already and stay up."""

    loaded: Loaded
    lab_path: Path
    seed: int
    link_backend: str = "auto"
    overrides: Mapping[str, str] = field(default_factory=dict)
    standing: bool = False
    keep: bool = False


def execute(request: Request, engine: Engine, record: RunDirectory, run: str) -> None:
    """Run a scenario and leave its record in `record`. Never raises for what happens to the run; it is in the record.

     1. save the scenario, and the plan before anything is touched
     2. bring the lab up
     3. open an agent on every host, set the routes
     4. start the captures and wait until each is proven to record; sample sockets
     5. take the steps in order: programs, faults, waits
     6. stop programs, read the counters, undo every fault
     7. end the captures; take the hosts away while they are fetched and read
     8. take down what is left
    Whatever fails, what follows it in this list still happens for what had been done before.
    """
    scenario = request.loaded.scenario
    lab_stack = ExitStack()
    try:
        with uninterrupted():
            record.event(
                "run-start", t=0.0, version=VERSION, run=run, scenario=scenario.scenario, engine=engine.name, seed=request.seed,
                started=datetime.fromtimestamp(record.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), epoch=record.epoch,
                overrides=dict(request.overrides), steps=len(scenario.steps), labctl=__version__,
            )  # fmt: skip
            record.write("scenario.yaml", request.loaded.text)
        try:
            session = _bring_up(request, engine, record, run, lab_stack)
            with session.captures(), session.programs_and_faults():
                for step in session.plan.steps:
                    session.take(step)
        finally:
            with uninterrupted():
                lab_stack.close()
    except KeyboardInterrupt as interrupt:
        record.event("interrupted")
        if isinstance(interrupt.__context__, LabctlError):
            record.event("error", message=str(interrupt.__context__))
        lab_stack.close()  # does nothing, unless the interrupt came right before it was to be done above
    except MissingError as error:
        record.event("error", message=str(error), missing=True)
    except LabctlError as error:
        record.event("error", message=str(error))
    except Exception as error:
        record.event(
            "error",
            message=f"a bug in labctl: {type(error).__name__}: {error}",
            traceback=traceback.format_exc(),
        )
    record.event("run-end")


def _bring_up(request: Request, engine: Engine, record: RunDirectory, run: str, stack: ExitStack) -> Session:
    """Steps 1 to 3. What is made here is taken away by `stack`."""

    def say(message: str) -> None:
        record.event("progress", message=message)

    scenario = request.loaded.scenario
    stack.callback(_down, request, engine, record)
    if request.standing:
        lab = engine.attach()
        if problems := check(request.loaded, lab):  # it was checked against its own lab, and this may be another
            raise ScenarioError(problems)
        planned = _planned(scenario, lab, record)
    else:
        config = engine.prepare(request.lab_path, say)
        lab = from_compose(config, request.lab_path)
        planned = _up(config, lab, scenario, engine, record, say)
    stays = request.standing or request.keep
    session = Session(planned, engine, record, run, request.seed, request.link_backend)
    if not stays:
        session.release = engine.release
    session.open_agents(stack, set_routes=True)
    record.event(
        "environment", environment={**engine.environment(), **session.environment, "labctl": __version__}
    )
    return session


def _up(
    config: Mapping[str, Any], lab: Lab, scenario: Scenario, engine: Engine, record: RunDirectory, say: Say
) -> Plan:
    for attempt in range(POOL_ATTEMPTS):
        planned = _planned(scenario, engine.reserve(lab), record)
        try:
            engine.up(config, planned.lab, planned.hosts, record.path / "compose.yaml", say)
            break
        except AddressesTaken:
            if attempt == POOL_ATTEMPTS - 1:
                raise
    return planned


def _planned(scenario: Scenario, lab: Lab, record: RunDirectory) -> Plan:
    planned = plan(scenario, lab)
    record.write_json("plan.json", planned.as_json())
    return planned


def _down(request: Request, engine: Engine, record: RunDirectory) -> None:
    if request.keep and not request.standing:
        record.event("progress", message="the lab stays up; `labctl gc` removes it")
        return
    try:
        engine.down()
        record.event("lab-down")
    except LabctlError as error:
        record.event("error", message=str(error), undoing=True)


@dataclass
class Running:
    """A program on a host, and what the record calls it."""

    id: str
    handle: str
    host: str
    step: int
    process: Process
    file: str
    finished: bool = False


@dataclass
class Session:
    """A lab that is up, while a scenario runs in it."""

    plan: Plan
    engine: Engine
    record: RunDirectory
    run: str
    seed: int = 0
    link_backend: str = "auto"
    agents: dict[str, AgentClient] = field(default_factory=dict)
    programs: dict[str, Running] = field(default_factory=dict)
    applied: dict[tuple[str, str], FaultPlan] = field(default_factory=dict)
    host_faults: dict[str, HostFaults] = field(default_factory=dict)
    fault_steps: dict[tuple[str, str], int] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    release: Callable[[], None] = lambda: None

    # -- step 3 -----------------------------------------------------------------------------------------------------

    def open_agents(self, stack: ExitStack, set_routes: bool) -> None:
        """An agent on every host, all at once; closed (and with it everything it did undone) by `stack`."""

        def open_one(host: str) -> None:
            self.agents[host] = AgentClient(host, self.engine.open_agent(host), self._on_agent_event)

        stack.callback(lambda: self._everywhere(lambda client: client.close(), list(self.agents.values())))
        self._everywhere(open_one, self.plan.hosts)
        hellos = self._everywhere(self._greet, self.plan.hosts)
        if set_routes:
            self._everywhere(self._set_routes, self.plan.hosts)
        self._prepare_links()
        self.environment["agent_rss_kib"] = max(hello["rss_kib"] for hello in hellos)
        self.record.event(
            "lab-up",
            hosts=[
                {
                    "name": host,
                    "addresses": list(self.plan.lab.hosts[host].all_addresses),
                    "devices": self.agents[host].devices,
                    "clock_offset_s": self.agents[host].clock_offset_s,
                }
                for host in self.plan.hosts
            ],
        )

    def _prepare_links(self) -> None:
        """Find out which backend link faults will have, before there is any, and make the hosts ready for it.

        Raises MissingError when the scenario has link faults and neither backend can make them here.
        """
        faults = [fault for step in self.plan.steps for fault in step.faults]
        sites = list(dict.fromkeys(fault.host for fault in faults if fault.request()["type"] == "link"))
        if not sites:
            self.environment["netem"] = self.agents[self.plan.hosts[0]].call("netem")
            return
        found = self._everywhere(lambda host: self.agents[host].call("capabilities"), sites)
        self.environment["netem"] = all(can["netem"] for can in found)
        wanted = ("netem", "nfqueue") if self.link_backend == "auto" else (self.link_backend,)
        for host, can in zip(sites, found, strict=True):
            if not any(can[backend] for backend in wanted):
                why = "; ".join(can["reasons"].get(backend, f"no {backend}") for backend in wanted)
                raise MissingError(f"link faults at {host} need {' or '.join(wanted)}: {why}")
        if self.environment["netem"] and self.link_backend != "nfqueue":
            self._everywhere(lambda host: self.agents[host].call("offloads", devices=self._devices(host)), self.plan.hosts)

    def _devices(self, host: str) -> list[str]:
        return list(self.agents[host].devices.values())

    def _greet(self, host: str) -> dict[str, Any]:
        return self.agents[host].greet(dict(self.plan.lab.hosts[host].addresses or {}))

    def _set_routes(self, host: str) -> None:
        self.agents[host].call(
            "routes", routes=[[r.to, r.via] for r in self.plan.routes[host]], gateways=self._gateways(host)
        )

    def _gateways(self, host: str) -> list[str]:
        subnets = [self.plan.lab.networks[n] for n in self.plan.lab.hosts[host].networks]
        return [g for s in subnets for g in (s.gateway, s.gateway6) if g]

    # -- steps 4 and 7 ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def captures(self) -> Iterator[None]:
        """Capture and sample on every host while the block runs; fetch and dissect at its end, however it ends."""
        started: list[str] = []
        try:
            if self.plan.scenario.capture.enabled:
                self._everywhere(lambda host: self._start_capture(host, started), self.plan.hosts)
            self._everywhere(
                lambda host: self.agents[host].call("sample", interval_s=self.plan.scenario.sample),
                self.plan.hosts,
            )
            yield
        finally:
            with uninterrupted():
                self._end_captures(started)

    def _end_captures(self, started: Sequence[str]) -> None:
        """End, fetch and dissect them. What fails at one host is recorded and keeps no other from being saved."""
        self._everywhere(
            self._recorded(lambda host: self.agents[host].call("sample", interval_s=0)), self.plan.hosts
        )
        missing = dict(
            zip(started, self._everywhere(self._recorded(self._finish_capture), started), strict=True)
        )
        self._recorded(lambda _: self._check_hosts())(None)
        # From here on nothing of the hosts is needed: they go while their captures are read.
        ending = [
            partial(self._end_capture, host, lacks) for host, lacks in missing.items() if lacks is not None
        ]
        self._everywhere(self._recorded(lambda job: job()), [self.release, *ending])
        if fetched := [host for host in started if (self.record.path / f"pcap/{host}.pcapng").exists()]:
            self._recorded(self._merge)(fetched)

    def _start_capture(self, host: str, started: list[str]) -> None:
        capture = self.plan.scenario.capture
        comment = f"labctl run {self.run}, scenario {self.plan.scenario.scenario}, host {host}"
        try:
            answer = self.agents[host].call(
                "capture_start", path=f"/tmp/labctl/{host}.pcapng", token=secrets.token_hex(4), comment=comment,
                snaplen=capture.snaplen, max_bytes=capture.max,
            )  # fmt: skip
        except AgentRefused as error:
            raise LabError(f"the capture of {host} did not start: {error}") from None
        started.append(host)
        self.agents[host].call("dissect_start", argv=dissect_argv(self.plan.filters[host]))
        self.record.event("capture-start", host=host, **answer)

    def _finish_capture(self, host: str) -> Any:
        return self.agents[host].call("capture_finish")

    def _end_capture(self, host: str, missing: list[str]) -> None:
        agent = self.agents[host]
        asked = list(self.plan.filters[host])
        refused: list[str] = []
        stopping = agent.ask("capture_stop", missing=missing)  # takes dumpcap a while, in which tshark reads
        while True:
            done = agent.call("dissect", timeout_s=CAPTURE_TIMEOUT_S)
            bad = refused_filter(done["err"], asked) if done["exit"] else None
            if bad is None:
                break
            refused.append(bad)
            asked.remove(bad)
            agent.call("dissect_start", argv=dissect_argv(asked))
        answer = agent.result(stopping, "capture_stop", CAPTURE_TIMEOUT_S)
        file = f"pcap/{host}.pcapng"
        agent.channel.fetch(answer["file"], self.record.path / file)
        if done["exit"]:
            raise LabError(f"tshark could not read the capture of {host}: {done['err'].strip()[-300:]}")
        agent.channel.fetch(done["file"], self.record.path / f"pcap/{host}.tsv")
        self.record.event(
            "capture-end", host=host, file=file, packets=done["packets"], dropped=answer["dropped"],
            complete=answer["complete"], reason=answer["reason"], filters=asked, refused=refused, argv=done["argv"],
        )  # fmt: skip

    def _merge(self, hosts: Sequence[str]) -> None:
        from labctl.evidence.pcapng import merge

        merge(
            {host: self.record.path / f"pcap/{host}.pcapng" for host in hosts},
            self.record.path / "pcap/merged.pcapng",
            f"labctl run {self.run}, scenario {self.plan.scenario.scenario}, all hosts",
        )

    # -- steps 5 and 6 ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def programs_and_faults(self) -> Iterator[None]:
        """While the block runs programs may be started and faults applied; at its end, however it ends, none are left."""
        try:
            yield
        finally:
            with uninterrupted():
                left = [r for r in self.programs.values() if not r.finished]
                self._everywhere(self._recorded(self._stop_program), left)
                self._recorded(self.heal)(list(reversed(self.applied)))

    def take(self, step: PlannedStep) -> None:
        """Take one step. What it could not do is in the record; only a lab that broke raises."""
        self.record.event("step-start", index=step.index, kind=step.kind, title=step.title, host=step.host)
        error, program = None, None
        try:
            program = _TAKE[step.kind](self, step)
        except StepFailed as failure:
            error = str(failure)
            program = failure.program
        self.record.event("step-end", index=step.index, error=error, program=program)
        self._check_hosts()
        if error:
            raise LabError(f"step {step.index} ({step.title}): {error}")

    def start(self, step: PlannedStep) -> Running:
        """Start the step's program and, where it says so, wait for the fact that it is ready."""
        assert step.host is not None
        handle = step.handles[0] if step.handles else step.argv[0]
        running_id = f"{step.index}"
        process = self.engine.start(step.host, step.argv, dict(step.env))
        running = Running(running_id, handle, step.host, step.index, process, f"{step.index:02d}-{step.host}")
        self.programs[running_id] = running
        self.record.event(
            "program-start",
            id=running_id,
            handle=handle,
            host=step.host,
            argv=list(step.argv),
            step=step.index,
        )
        return running

    def take_start(self, step: PlannedStep) -> str:
        running = self.start(step)
        if isinstance(step.step, StartStep) and step.step.ready is not None:
            self._wait_ready(running, step.step.ready)
        return running.id

    def _wait_ready(self, running: Running, ready: Ready) -> None:
        deadline = time.monotonic() + ready.timeout
        port = ready.listen or ready.bound
        protocol = "tcp" if ready.listen else "udp"
        future = (
            self.agents[running.host].ask("wait_bound", port=port, protocol=protocol, timeout_s=ready.timeout)
            if port
            else None
        )
        while True:
            if future is not None and future.done():
                try:
                    future.result()
                except AgentRefused as error:
                    raise StepFailed(
                        f"{running.handle} is not ready: {error}{self._said(running)}", running.id
                    ) from None
                return
            if ready.output and re.search(ready.output, self._text(running), re.MULTILINE):
                return
            if running.process.wait(WATCH_S / 10):
                self._ended(running)
                raise StepFailed(
                    f"{running.handle} ended before it was ready{self._said(running)}", running.id
                )
            if time.monotonic() > deadline and future is None:
                raise StepFailed(
                    f"{running.handle} did not write {ready.output!r} within {ready.timeout:g}s{self._said(running)}",
                    running.id,
                )
            self._check_hosts()

    def take_run(self, step: PlannedStep) -> str:
        running = self.start(step)
        self._wait_end(running, step.timeout_s)
        return running.id

    def take_finish(self, step: PlannedStep) -> str:
        running = self._named(step.handles[0])
        self._wait_end(running, step.timeout_s)
        return running.id

    def take_stop(self, step: PlannedStep) -> str:
        running = self._named(step.handles[0])
        assert isinstance(step.step, StopStep)
        running.process.signal(step.step.signal)
        self._wait_end(running, step.timeout_s)
        return running.id

    def take_wait(self, step: PlannedStep) -> None:
        assert isinstance(step.step, WaitStep)
        deadline = time.monotonic() + step.step.wait
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, WATCH_S))
            self._check_hosts()

    def take_fault(self, step: PlannedStep) -> None:
        self._everywhere(lambda fault: self._apply(fault, step), step.faults)

    def take_heal(self, step: PlannedStep) -> None:
        self.heal([key for key in reversed(self.applied) if key[0] in step.handles])

    def _apply(self, fault: FaultPlan, step: PlannedStep) -> None:
        agent = self.agents[fault.host]
        request = bind(fault.request(), agent.devices)
        if request["type"] == "link":
            request["backend"] = self.link_backend
            request["seed"] = crc32(f"{self.seed}/{fault.host}/{fault.name}".encode())
        maker = self._maker(fault)
        asked = self.record.now()
        self.fault_steps[fault.name, fault.host] = step.index
        self.applied[fault.name, fault.host] = (
            fault  # the moment before, so that whatever happens it is undone
        )
        try:
            if step.timeline is None:
                answer = maker.call("apply", name=fault.name, action=request)
                self._fault_applied(
                    fault, {"asked": self.record.epoch + asked + agent.clock_offset_s, **answer}
                )
            else:
                maker.call("schedule", name=fault.name, action=request, timeline=dict(step.timeline))
        except AgentRefused as error:
            del self.applied[fault.name, fault.host]
            raise StepFailed(f"the fault {fault.name} could not be applied: {error}") from None

    def heal(self, keys: Sequence[tuple[str, str]]) -> None:
        """Take faults back, each after what it touched was counted. Raises the first error after trying all."""
        errors: list[LabctlError] = []
        for key in keys:
            fault = self.applied.pop(key)
            try:
                answer = self._maker(fault).call("undo", name=fault.name)
                if answer["packets"] is not None or answer["ran"]:
                    self._fault_removed(fault, answer)
            except LabctlError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _maker(self, fault: FaultPlan) -> AgentClient | HostFaults:
        """Who makes a fault and takes it back: the host's agent, or the engine for what only an engine can do."""
        if fault.engine is None:
            return self.agents[fault.host]
        if fault.host not in self.host_faults:
            self.host_faults[fault.host] = HostFaults(self.engine, self.agents[fault.host], self._on_agent_event)
        return self.host_faults[fault.host]

    def _fault_applied(self, fault: FaultPlan, message: Mapping[str, Any]) -> None:
        offset_s = self.agents[fault.host].clock_offset_s
        self.record.event(
            "fault-applied", step=self.fault_steps[fault.name, fault.host],
            t=self.record.at(message["time"] - offset_s), name=fault.name, kind=fault.kind, host=fault.host,
            interface=message.get("interface", fault.interface), backend=message.get("backend", fault.backend),
            asked=self.record.at(message["asked"] - offset_s),
            ran=message["ran"], commands=[r["argv"] for r in message["ran"]],
        )  # fmt: skip

    def _fault_removed(self, fault: FaultPlan, message: Mapping[str, Any]) -> None:
        offset_s = self.agents[fault.host].clock_offset_s
        self.record.event(
            "fault-removed", t=self.record.at(message["time"] - offset_s), name=fault.name, host=fault.host,
            packets=message["packets"], ran=message["ran"],
        )  # fmt: skip

    # -- programs ---------------------------------------------------------------------------------------------------

    def _named(self, handle: str) -> Running:
        return next(r for r in reversed(self.programs.values()) if r.handle == handle and not r.finished)

    def _wait_end(self, running: Running, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not running.process.wait(min(WATCH_S, max(0.0, deadline - time.monotonic()))):
            self._check_hosts()
            if time.monotonic() >= deadline:
                running.process.signal("KILL")
                running.process.wait(STOP_GRACE_S)
                self._ended(running)
                raise StepFailed(
                    f"{running.handle} did not end within {timeout_s:g}s and was killed{self._said(running)}",
                    running.id,
                )
        self._ended(running)

    def _stop_program(self, running: Running) -> None:
        with contextlib.suppress(LabError):  # a program that cannot be signalled ends with its host
            running.process.signal("TERM")
            if not running.process.wait(STOP_GRACE_S):
                running.process.signal("KILL")
                running.process.wait(STOP_GRACE_S)
        self._ended(running)

    def _ended(self, running: Running) -> None:
        """Save what a program said and how it ended."""
        if running.finished:
            return
        running.finished = True
        out, err = running.process.output()
        text, outcome = split_outcome(out)
        self.record.write(f"programs/{running.file}.out", text)
        self.record.write(f"programs/{running.file}.err", err)
        if outcome is not None:
            self.record.write_json(f"programs/{running.file}.json", outcome)
        self.record.event(
            "program-end", id=running.id, handle=running.handle, host=running.host, step=running.step,
            exit=running.process.exit_status(), outcome=outcome, file=running.file,
        )  # fmt: skip

    def _text(self, running: Running) -> str:
        out, err = running.process.output()
        return (out + b"\n" + err).decode(errors="replace")

    def _said(self, running: Running) -> str:
        said = self._text(running).strip()
        return f"; it said:\n{said[-1500:]}" if said else "; it said nothing"

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _check_hosts(self) -> None:
        dead = self.engine.dead()
        if dead is not None:
            raise LabError(dead)
        for agent in self.agents.values():
            agent.check()

    def _on_agent_event(self, host: str, message: dict[str, Any]) -> None:
        if message["event"] == "sockets":
            offset_s = self.agents[host].clock_offset_s if host in self.agents else 0.0
            self.record.sample(host, self.record.at(message["time"] - offset_s), message["sockets"])
        elif message["event"] == "fault-applied":
            self._fault_applied(self.applied[message["name"], host], message)
        elif message["event"] == "fault-removed":
            self._fault_removed(self.applied[message["name"], host], message)
        else:
            self.record.event(message.pop("event"), host=host, **message)

    def _everywhere(self, action: Callable[[Any], Any], things: Sequence[Any]) -> list[Any]:
        """Do one thing for each, at once; raises the first error after all are done."""
        if len(things) == 1:
            return [action(things[0])]
        with ThreadPoolExecutor(max_workers=max(1, len(things))) as pool:
            with uninterrupted():  # or a thread may have begun that the pool does not know of
                futures = [pool.submit(action, thing) for thing in things]
            # Waited for here, as an interrupt would end the pool's own waiting and leave its threads at work.
            wait(futures)
        return [future.result() for future in futures]

    def _recorded(self, action: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The action as a part of clean-up: when it fails that is recorded, and does not hide what made it necessary."""

        def recorded(thing: Any) -> Any:
            try:
                return action(thing)
            except LabctlError as error:
                self.record.event("error", message=str(error), undoing=True)
                return None

        return recorded


def bind(value: Any, devices: Mapping[str, str]) -> Any:
    """A fault's request with the host's real interface names in the place of `{dev:NETWORK}`."""
    if isinstance(value, str):
        return _DEVICE.sub(lambda match: devices[match[1]], value)
    if isinstance(value, Mapping):
        return {key: bind(item, devices) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [bind(item, devices) for item in value]
    return value


class StepFailed(Exception):
    """A step could not be done: its own message, for the step; `program` is the id of the program it was about."""

    def __init__(self, message: str, program: str | None = None) -> None:
        super().__init__(message)
        self.program = program


_TAKE: dict[str, Callable[[Session, PlannedStep], str | None]] = {
    "start": Session.take_start,
    "run": Session.take_run,
    "finish": Session.take_finish,
    "stop": Session.take_stop,
    "wait": Session.take_wait,
    "fault": Session.take_fault,
    "heal": Session.take_heal,
}


def split_outcome(out: bytes) -> tuple[bytes, dict[str, Any] | None]:
    """A program's stdout without its outcome line, and the outcome: a last line that is a JSON object with `op` and `errno`."""
    head, _, last = out.rstrip(b"\n").rpartition(b"\n")
    try:
        outcome = json.loads(last)
    except (ValueError, RecursionError):
        return out, None
    if not is_outcome(outcome):
        return out, None
    return (head + b"\n" if head else b""), outcome
