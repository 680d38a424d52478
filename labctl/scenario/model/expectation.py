"""`expect:`, what must be seen of one step, as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    StrictBool,
    StrictInt,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from labctl.scenario.model.captured import (
    IcmpExpectation,
    PacketExpectation,
    RetransmissionExpectation,
    SameExpectation,
)
from labctl.scenario.model.parts import SYMBOL, Signal, Strict
from labctl.scenario.model.ranges import DurationRange, RateRange, SizeRange, TextMatch
from labctl.scenario.model.sockets import QueueSum, SocketExpectation
from labctl.scenario.symbols import ERRNOS, LOOKUPS
from labctl.scenario.words import did_you_mean
from labctl.units import Bytes, Duration

# What only a program that reports an outcome can be asked.
OUTCOME_KEYS = frozenset({"errno", "sent", "received", "throughput", "outcome", "timed_out", "queues"})


def _one_or_more(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,)


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
        "a list allows several. A call that a signal ended before it returned is none of them.",
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
                near = did_you_mean(symbol.upper(), ERRNOS | LOOKUPS, "write one like ECONNREFUSED, or null for success")
                raise ValueError(f"{symbol!r} is no errno symbol{near}")
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
