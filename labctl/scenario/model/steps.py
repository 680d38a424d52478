"""The steps: one model for each kind, told apart by the key that comes first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, create_model, model_validator

from labctl.faults import FAULTS
from labctl.faults.base import Fault
from labctl.scenario.model.expectation import Expectation
from labctl.scenario.model.parts import Argv, Env, HostName, HostNames, Label, Port, Regex, Signal, Strict
from labctl.units import Duration

# The programs that come with labctl (images/programs), by the word a scenario calls them.
PROGRAMS: dict[str, str] = {
    f"{name}-{role}": f"{name}_{role}.py"
    for name in ("echo", "multiconn", "app", "noread")
    for role in ("server", "client")
} | {"probe": "probe.py"}


class Ready(Strict):
    """What to wait for before the next step: a fact, never a time."""

    listen: Port | None = Field(default=None, description="A TCP socket listens on this port.")
    bound: Port | None = Field(default=None, description="A UDP socket is bound to this port.")
    output: Regex | None = Field(
        default=None, description="A regular expression seen in the program's output."
    )
    timeout: Duration = Field(
        default=10.0, gt=0, le=600, description="When waiting ends and the step is an error."
    )

    @model_validator(mode="after")
    def _waits_for_one_fact(self) -> Ready:
        if sum(x is not None for x in (self.listen, self.bound, self.output)) != 1:
            raise ValueError("ready: waits for exactly one of listen, bound, output")
        return self

    @property
    def fact(self) -> str:
        """What is waited for, in words."""
        if self.output is not None:
            return f"output matches /{self.output}/"
        return f"TCP port {self.listen} listens" if self.listen else f"UDP port {self.bound} is bound"


class Until(Ready):
    """What to wait for at a host: nothing there is started, so no program's output."""

    @model_validator(mode="after")
    def _waits_for_one_fact(self) -> Until:
        if self.output is not None:
            raise ValueError("until: waits for a socket, and no program speaks here; write listen: PORT or bound: PORT")
        if (self.listen is None) == (self.bound is None):
            raise ValueError("until: waits for exactly one of listen, bound")
        return self


class Step(Strict):
    """Base of the steps. The first key of a step says its kind."""

    kind: ClassVar[str]

    name: str | None = Field(
        default=None, description="A sentence for the report: what this step shows.", max_length=200
    )


class StartStep(Step):
    """Start a program and go on; it runs until a stop step or the end of the run."""

    kind: ClassVar[str] = "start"

    start: Argv = Field(
        description="A bundled program (app-server, probe, …) or any command the host's image has."
    )
    on: HostName
    label: Label | None = Field(
        default=None,
        alias="as",
        description="What stop and finish call it; the program's word when not given.",
    )
    ready: Ready | None = Field(default=None, description="What to wait for before the next step.")
    env: Env = Field(default={})

    @property
    def handle(self) -> str:
        return self.label or self.start[0]


class RunStep(Step):
    """Run a program to its end and hold what it saw against the expectation."""

    kind: ClassVar[str] = "run"

    run: Argv = Field(
        description="A bundled program (app-client, probe, …) or any command the host's image has."
    )
    on: HostName
    timeout: Duration | None = Field(
        default=None, gt=0, le=3600, description="When the program is killed and the step is an error."
    )
    env: Env = Field(default={})
    expect: Expectation = Field(description="What must be seen; everything that is given must hold.")


class FinishStep(Step):
    """Wait for a started program to end by itself and hold what it saw against the expectation.

    Packets are those since its start.
    """

    kind: ClassVar[str] = "finish"

    finish: Label = Field(description="What the start step called it.")
    timeout: Duration | None = Field(
        default=None, gt=0, le=3600, description="When waiting ends and the step is an error."
    )
    expect: Expectation = Field(description="What must be seen; everything that is given must hold.")


class StopStep(Step):
    """End a started program with a signal and wait until it is gone. Packets are those since its start."""

    kind: ClassVar[str] = "stop"

    stop: Label = Field(description="What the start step called it.")
    signal: Signal = Field(
        default="TERM", description="The signal, as kill(1) names it."
    )
    expect: Expectation | None = Field(default=None, description="What must be seen of it, if anything.")


class HealStep(Step):
    """Remove faults by name; `all` removes every one."""

    kind: ClassVar[str] = "heal"

    heal: Annotated[HostNames, Field(description="The names of faults in place, or all.")]


class WaitStep(Step):
    """Let time pass: the only bare sleep there is, and it is the scenario's own."""

    kind: ClassVar[str] = "wait"

    wait: Duration = Field(gt=0, le=3600, description="How long.")


class UntilStep(Step):
    """Wait until a host's own service is there: a socket that listens or is bound, whoever opened it."""

    kind: ClassVar[str] = "until"

    until: Until = Field(description="What to wait for: listen or bound.")
    on: HostName


class _FaultStep(Step):
    """Put one named fault at one or more hosts; it stays until a heal step or the end of the run."""

    kind: ClassVar[str] = "fault"

    fault: Label = Field(description="A name of your choice, for heal and for the report.")
    at: Annotated[HostNames, Field(description="The host or hosts at which it is put.")]
    after: Duration | None = Field(
        default=None, gt=0, le=3600, description="It begins this long after the step; the scenario goes on meanwhile."
    )
    for_: Duration | None = Field(
        default=None, alias="for", gt=0, le=3600, description="It ends by itself this long after it began."
    )
    every: Duration | None = Field(
        default=None, gt=0, le=3600, description="It begins anew this long after it began; needs for:."
    )
    times: int | None = Field(default=None, ge=2, le=10000, description="How often it begins; needs every:.")

    @model_validator(mode="after")
    def _is_exactly_one_kind(self) -> _FaultStep:
        given = [kind for kind in FAULTS if getattr(self, kind) is not None]
        if len(given) != 1:
            had = f"this one has {' and '.join(given)}" if given else "this step has none of them"
            raise ValueError(f"a fault is exactly one of {', '.join(FAULTS)}; {had}")
        return self

    @model_validator(mode="after")
    def _has_a_timeline_that_can_be(self) -> _FaultStep:
        if self.every is not None and (self.for_ is None or self.for_ >= self.every):
            raise ValueError("every: needs a shorter for:, so that the fault is away between two times; write for: as well")
        if self.times is not None and self.every is None:
            raise ValueError("times: says how often, but not how far apart; write every: as well")
        return self

    @property
    def timeline(self) -> dict[str, float | int] | None:
        """When it is in place, as the agent's timeline has it; None for a fault that simply begins now."""
        if self.after is None and self.for_ is None:
            return {} if getattr(self.spec, "ramp", None) is not None else None
        given = {"after_s": self.after, "for_s": self.for_, "every_s": self.every, "times": self.times}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def spec(self) -> Fault:
        """The fault itself."""
        return next(spec for kind in FAULTS if (spec := getattr(self, kind)) is not None)  # type: ignore[no-any-return]


if TYPE_CHECKING:

    class FaultStep(_FaultStep):
        """What type checkers see of it; its keys for the faults come from the registry."""

else:
    FaultStep = create_model(
        "FaultStep",
        __base__=_FaultStep,
        __doc__=_FaultStep.__doc__,
        **{
            kind: (model | None, Field(default=None, description=model.summary))
            for kind, model in FAULTS.items()
        },
    )


STEPS: dict[str, type[Step]] = {
    step.kind: step for step in (StartStep, RunStep, FinishStep, StopStep, FaultStep, HealStep, WaitStep, UntilStep)
}
AnyStep = StartStep | RunStep | FinishStep | StopStep | FaultStep | HealStep | WaitStep | UntilStep
