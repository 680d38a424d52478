"""A scenario as a value: what to start, what to break, what must be seen. Pure; knows no lab and no Docker.

The models are the language: their field names are the keys of the YAML, their docstrings and descriptions
become the JSON Schema (hover text in editors) and the reference page. `labctl.scenario.loader` makes them
from YAML.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationInfo,
    WithJsonSchema,
    create_model,
    field_validator,
    model_validator,
)

from labctl.faults import FAULTS, icmp
from labctl.faults.base import Fault
from labctl.units import Bytes, Duration, Rate, Size

NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")
SYMBOL = re.compile(r"E[A-Z0-9]+(_[A-Z]+)?")

# The programs that come with labctl (images/programs), by the word a scenario calls them.
PROGRAMS: dict[str, str] = {
    f"{name}-{role}": f"{name}_{role}.py"
    for name in ("echo", "multiconn", "app", "noread")
    for role in ("server", "client")
} | {"probe": "probe.py"}


# What only a program that reports an outcome can be asked.
OUTCOME_KEYS = frozenset({"errno", "sent", "received", "throughput", "outcome", "timed_out", "queues"})


class Strict(BaseModel):
    """Base of every part of a scenario: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)


def _argv(value: object) -> object:
    if isinstance(value, str):
        if len(words := value.split()) > 1:
            raise ValueError(
                f"a command is a list, so that every argument is seen; write [{', '.join(words)}]"
            )
        return (value,)
    if isinstance(value, list):
        if not value:
            raise ValueError("a command needs at least a program, like [probe, connect, server, 65432]")
        is_number = [isinstance(part, int | float) and not isinstance(part, bool) for part in value]
        return tuple(str(part) if number else part for part, number in zip(value, is_number, strict=True))
    return value


def _names(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _one_or_more(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,)


def _is_a_regular_expression(value: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{value[:40]!r} is no regular expression: {error}") from None
    return value


Regex = Annotated[str, AfterValidator(_is_a_regular_expression), Field(min_length=1)]
Argv = Annotated[
    tuple[str, ...],
    BeforeValidator(_argv),
    WithJsonSchema(
        {
            "type": ["array", "string"],
            "items": {"type": ["string", "number", "boolean"]},
            "minItems": 1,
            "pattern": r"^\S+$",
            "examples": [["probe", "connect", "server", 65432]],
        }
    ),
]
Env = Annotated[
    dict[str, str],
    Field(description="Environment variables of the program, each its text as written."),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}),
]
HostName = Annotated[str, Field(description="A host of the lab: one service of its compose file.")]
HostNames = Annotated[
    tuple[str, ...],
    BeforeValidator(_names),
    Field(min_length=1, json_schema_extra={"type": ["array", "string"], "items": {"type": "string"}}),
]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]
Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,19}$")]


class Range(Strict):
    """Base of the ranges: at least one end is given, and they are in order."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        low, high = getattr(self, "min", None), getattr(self, "max", None)
        if low is None and high is None:
            raise ValueError("a range needs min: or max:, or both")
        if low is not None and high is not None and low > high:
            raise ValueError("min: is more than max:, so nothing could ever lie between them; swap them")
        return self


class DurationRange(Range):
    """A time that must lie between min and max, both included."""

    min: Duration | None = Field(default=None, description="At least this long.")
    max: Duration | None = Field(default=None, description="At most this long.")


class SizeRange(Range):
    """A number of bytes that must lie between min and max, both included."""

    min: Bytes | None = Field(default=None, description="At least so many bytes.")
    max: Bytes | None = Field(default=None, description="At most so many bytes.")


class CountRange(Range):
    """A count that must lie between min and max, both included."""

    min: Annotated[StrictInt, Field(ge=0)] | None = Field(default=None, description="At least so many.")
    max: Annotated[StrictInt, Field(ge=0)] | None = Field(default=None, description="At most so many.")


class TextMatch(Strict):
    """What a text must be: all that are given must hold."""

    exact: str | None = Field(default=None, description="The whole text, but for white space at its end.")
    contains: str | None = Field(default=None, description="Somewhere in the text.")
    matches: Regex | None = Field(
        default=None, description="A Python regular expression, searched for, multi-line."
    )
    lacks: str | None = Field(default=None, description="Nowhere in the text.")

    @model_validator(mode="after")
    def _asks_for_something(self) -> TextMatch:
        if not self.model_fields_set:
            raise ValueError("write at least one of exact, contains, matches, lacks")
        return self


class RateRange(Range):
    """Bits per second that must lie between min and max, both included."""

    min: Rate | None = Field(default=None, description="At least so much in a second.")
    max: Rate | None = Field(default=None, description="At most so much in a second.")


def _one_line(value: str) -> str:
    text = value.strip()
    if any(ord(char) < 32 for char in text):
        raise ValueError("a filter is one line without tabs; join its lines with && or ||")
    return text


Filter = Annotated[str, AfterValidator(_one_line)]
Count = Annotated[StrictInt, Field(ge=0)]


class PacketExpectation(Strict):
    """Packets captured at one host during this step that a Wireshark display filter selects."""

    at: HostName
    filter: Filter = Field(description="A Wireshark display filter, like tcp.flags.reset == 1.")
    count: Count | CountRange = Field(
        default=CountRange(min=1), description="How many there must be; at least one when not given."
    )
    after: Filter | None = Field(
        default=None, description="The first of them comes after the first packet that this other filter selects."
    )
    delay: DurationRange | None = Field(default=None, description="How long after it; needs after:.")
    apart: DurationRange | None = Field(default=None, description="The time from each of them to the next.")

    @model_validator(mode="after")
    def _can_be_told(self) -> Self:
        if self.delay is not None and self.after is None:
            raise ValueError("delay: is the time since another packet; write after: with a filter for that one as well")
        most = self.count if isinstance(self.count, int) else self.count.max
        if most is not None and most < 1 + (self.apart is not None) and (self.after or self.apart):
            raise ValueError("after: and apart: speak of packets that count: does not allow; change the one or the other")
        return self


def _icmp_type(value: object) -> object:
    word = str(value)
    try:
        icmp.number(word, "icmp")
    except ValueError as error:
        if word not in icmp.V6:
            raise ValueError(str(error)) from None
    return word


class IcmpExpectation(Strict):
    """ICMP or ICMPv6 messages captured at one host during this step, by name as iptables(8) has them."""

    at: HostName
    type: Annotated[str, BeforeValidator(_icmp_type), WithJsonSchema({"type": ["string", "integer"]})] = Field(
        description="A name like host-unreachable, or type/code like 3/1 (of IPv4)."
    )
    source: HostName | None = Field(default=None, alias="from", description="Only messages that this host sent.")
    count: Count | CountRange = Field(
        default=CountRange(min=1), description="How many there must be; at least one when not given."
    )


class RetransmissionExpectation(Strict):
    """TCP segments that were sent again, as tshark finds them in the capture of one host during this step."""

    at: HostName
    port: Port | None = Field(default=None, description="Only on connections with this port at either end.")
    count: Count | CountRange = Field(description="How many there must be.")


class SameExpectation(Strict):
    """What was captured at one host was captured at another as well: sent here, arrived there, nothing lost or added.

    Packets are told apart by ports, IP identification and sequence number, so that routers and NAT do not matter;
    bytes are those of the TCP streams, however they were cut into segments.
    """

    at: Annotated[tuple[HostName, HostName], Field(description="The two hosts: where they are sent, where they arrive.")]
    filter: Filter = Field(description="A Wireshark display filter for the packets at both hosts.")
    of: Literal["packets", "bytes"] = Field(
        default="packets", description="What is compared: packets, or bytes of TCP streams."
    )
    lost: Count | CountRange = Field(default=0, description="How many of the first's may be missing at the second.")
    added: Count | CountRange = Field(default=0, description="How many of the second's may be missing at the first.")

    @model_validator(mode="after")
    def _compares_two(self) -> Self:
        if self.at[0] == self.at[1]:
            raise ValueError(f"{self.at[0]} stands here twice, and a capture is always the same as itself; name two hosts")
        return self


# The states of a TCP socket as ss(8) prints them (misc/ss.c, sstate_name).
State = Literal[
    "ESTAB",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "UNCONN",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
]


class _Socket(Strict):
    """Base of what names one socket at one host: `port` is its own port, `peer` the other side's."""

    at: HostName
    port: Port | None = Field(default=None, description="The socket's own port.")
    peer: Port | None = Field(default=None, description="The other side's port.")

    @model_validator(mode="after")
    def _names_a_socket(self) -> Self:
        if self.port is None and self.peer is None:
            raise ValueError("which socket? write port: (its own) or peer: (the other side's)")
        return self


class SocketExpectation(_Socket):
    """A TCP socket at one host, as sampled by the agent during this step.

    `port` is the socket's own port, `peer` the other side's. The last sample in which it exists counts.
    """

    state: State | None = Field(default=None, description="Its state, as ss(8) names it.")
    never: State | None = Field(default=None, description="A state that it is in in no sample of the step.")
    recv_q: Bytes | SizeRange | None = Field(
        default=None, description="Bytes received and not yet read by the program."
    )
    send_q: Bytes | SizeRange | None = Field(
        default=None, description="Bytes sent and not yet acknowledged by the peer."
    )


class QueueOf(_Socket):
    """One queue of one socket, for a sum."""

    queue: Literal["recv_q", "send_q"] = Field(description="Which of the socket's two queues.")


class QueueSum(Strict):
    """Queues that together must hold what the program sent: each byte not read yet sits somewhere."""

    of: tuple[QueueOf, ...] = Field(min_length=1, description="The queues that are added up.")
    equals: Literal["sent", "received"] = Field(
        default="sent", description="The program's number the sum must be."
    )
    tolerance: Bytes = Field(default=0, description="By how many bytes the sum may differ.")


Signal = Literal["TERM", "INT", "KILL", "HUP", "QUIT", "USR1", "USR2"]
_SYMBOL_SCHEMA = {"type": ["string", "null"], "pattern": f"^{SYMBOL.pattern}$"}
_ERRNO_SCHEMA = WithJsonSchema(
    {
        "anyOf": [_SYMBOL_SCHEMA, {"type": "array", "items": _SYMBOL_SCHEMA, "minItems": 1}],
        "examples": ["ECONNREFUSED", None, ["ETIMEDOUT", "EHOSTUNREACH"]],
    }
)


class Expectation(Strict):
    """What must be seen of one step. Everything that is given must hold."""

    errno: Annotated[tuple[str | None, ...], BeforeValidator(_one_or_more), _ERRNO_SCHEMA] | None = Field(
        default=None,
        description="The symbol the program's last call ended in (ECONNREFUSED), or null for success; "
        "a list allows several.",
    )
    exit: Annotated[StrictInt, Field(ge=0, le=255)] | None = Field(
        default=None, description="The program's exit status."
    )
    signal: Signal | None = Field(
        default=None, description="The signal that ended the program; one that handles it ends with an exit status."
    )
    timed_out: StrictBool | None = Field(
        default=None, description="Whether the program's own time limit ended the call: no error, no answer."
    )
    elapsed: DurationRange | None = Field(default=None, description="How long the program's last call took.")
    within: Duration | None = Field(default=None, description="The program ended within this time.")
    stdout: str | TextMatch | None = Field(default=None, description="Text: it must be contained.")
    stderr: str | TextMatch | None = Field(default=None, description="Text: it must be contained.")
    sent: Bytes | SizeRange | None = Field(default=None, description="Bytes the program sent.")
    received: Bytes | SizeRange | None = Field(default=None, description="Bytes the program received.")
    throughput: RateRange | None = Field(
        default=None, description="What the program sent and received, in bits per second of the time it took in all."
    )
    outcome: dict[str, Any] | None = Field(
        default=None, min_length=1, description="Other fields of the program's outcome, by name."
    )
    packets: tuple[PacketExpectation, ...] = Field(
        default=(), min_length=1, description="Packets captured during the step, by Wireshark display filter."
    )
    icmp: tuple[IcmpExpectation, ...] = Field(
        default=(), min_length=1, description="ICMP messages captured during the step, by name."
    )
    retransmissions: tuple[RetransmissionExpectation, ...] = Field(
        default=(), min_length=1, description="TCP segments sent again during the step."
    )
    same: tuple[SameExpectation, ...] = Field(
        default=(), min_length=1, description="What was captured at one host was captured at another as well."
    )
    sockets: tuple[SocketExpectation, ...] = Field(
        default=(), min_length=1, description="TCP sockets as sampled during the step: state and queues."
    )
    queues: QueueSum | None = Field(
        default=None, description="Socket queues that together hold what the program sent or received."
    )

    @field_validator("errno")
    @classmethod
    def _are_symbols(cls, value: tuple[str | None, ...] | None) -> tuple[str | None, ...] | None:
        if value == ():
            raise ValueError("errno: lists nothing, so it could never hold; write null for success")
        for symbol in value or ():
            if symbol is not None and not SYMBOL.fullmatch(symbol):
                raise ValueError(
                    f"{symbol!r} is no errno symbol; write one like ECONNREFUSED, or null for success"
                )
        return value

    @model_validator(mode="after")
    def _asks_for_something(self) -> Expectation:
        if not self.model_fields_set:
            raise ValueError("expect: says nothing, so it could never fail; write at least errno: null")
        return self

    def hosts(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Every host it names, and where."""
        for key in ("packets", "icmp", "retransmissions", "sockets"):
            for index, entry in enumerate(getattr(self, key)):
                yield (key, index, "at"), entry.at
        for index, message in enumerate(self.icmp):
            if message.source is not None:
                yield ("icmp", index, "from"), message.source
        for index, pair in enumerate(self.same):
            yield from ((("same", index, "at", position), host) for position, host in enumerate(pair.at))
        for index, queue in enumerate(self.queues.of if self.queues else ()):
            yield ("queues", "of", index, "at"), queue.at

    def filters(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        """Every Wireshark filter in it: where it stands, the host at whose capture it is tried, and itself."""
        for index, packet in enumerate(self.packets):
            yield ("packets", index, "filter"), packet.at, packet.filter
            if packet.after is not None:
                yield ("packets", index, "after"), packet.at, packet.after
        for index, pair in enumerate(self.same):
            yield from ((("same", index, "filter"), host, pair.filter) for host in pair.at)

    @property
    def looks_at_packets(self) -> tuple[str, ...]:
        """Which of its keys need a capture."""
        return tuple(key for key in ("packets", "icmp", "retransmissions", "same") if getattr(self, key))

    @property
    def needs_outcome(self) -> bool:
        """Whether only a program that reports an outcome can be held against this."""
        return bool(self.model_fields_set & OUTCOME_KEYS)


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
    env: Env = {}

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
    env: Env = {}
    expect: Expectation = Field(description="What must be seen; everything that is given must hold.")


class FinishStep(Step):
    """Wait for a started program to end by itself and hold what it saw against the expectation."""

    kind: ClassVar[str] = "finish"

    finish: Label = Field(description="What the start step called it.")
    timeout: Duration | None = Field(
        default=None, gt=0, le=3600, description="When waiting ends and the step is an error."
    )
    expect: Expectation = Field(description="What must be seen; everything that is given must hold.")


class StopStep(Step):
    """End a started program with a signal and wait until it is gone."""

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

    until: Ready = Field(description="What to wait for: listen or bound.")
    on: HostName

    @field_validator("until")
    @classmethod
    def _is_about_a_socket(cls, value: Ready) -> Ready:
        if value.output is not None:
            raise ValueError("until: waits for a socket, and no program speaks here; write listen: PORT or bound: PORT")
        return value


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


class Capture(Strict):
    """How packets are recorded."""

    enabled: StrictBool = Field(default=True, description="Whether packets are recorded at all.")
    max: Size = Field(
        default=100 * 2**20,
        ge=2**16,
        description="A capture that grows beyond this ends, and the run says so.",
    )
    snaplen: Size = Field(default=2**18, ge=64, le=2**18, description="Bytes kept of each packet.")
    filter: str | None = Field(
        default=None, min_length=1, description="Only such packets are kept: a filter of pcap-filter(7), like tcp port 80."
    )


def _capture(value: object) -> object:
    if value in ("on", "off"):
        return {"enabled": value == "on"}
    if not isinstance(value, bool | dict | Capture):
        raise ValueError("capture: is on or off, or a mapping (enabled, max, snaplen, filter)")
    return {"enabled": value} if isinstance(value, bool) else value


class Scenario(Strict):
    """One YAML file: what to start, what to break, what must be seen."""

    scenario: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,39}$", description="Its name: lower case, digits and dashes."
    )
    include: str | None = Field(
        default=None,
        min_length=1,
        description="A file, relative to this one, with what several scenarios share: any of these keys but scenario and "
        "include. What is given here wins; its steps come before the steps here.",
    )
    lab: str | None = Field(
        default=None, description="A compose file, relative to this file; labctl's own lab when not given."
    )
    tags: tuple[str, ...] = Field(default=(), description="Words to find it by.")
    params: dict[str, str | StrictBool | StrictInt | StrictFloat] = Field(
        default={}, description="Values that ${name} stands for in the rest of the file; --set changes them."
    )
    timeout: Duration = Field(default=30.0, gt=0, le=3600, description="For steps that say none.")
    capture: Annotated[Capture, BeforeValidator(_capture)] = Field(
        default=Capture(), description="How packets are recorded; off for not at all."
    )
    sample: Duration = Field(default=0.1, ge=0.01, le=60, description="How often sockets are sampled.")
    steps: tuple[AnyStep, ...] = Field(min_length=1, description="What happens, in this order.")

    @model_validator(mode="after")
    def _expects_something(self, info: ValidationInfo) -> Scenario:
        live = bool(info.context and info.context.get("live"))
        if not live and not any(getattr(step, "expect", None) for step in self.steps):
            raise ValueError(
                "no step expects anything, so this scenario could never fail; give a run step an expect"
            )
        return self


# A file that scenarios include: the same keys, and none of them has to be there.
Included: type[Strict] = create_model(
    "Included",
    __base__=Strict,
    steps=(tuple[AnyStep, ...], Field(default=())),
    **{
        name: (field.annotation, field)
        for name, field in Scenario.model_fields.items()
        if name not in ("scenario", "include", "steps")
    },
)  # type: ignore[call-overload]
