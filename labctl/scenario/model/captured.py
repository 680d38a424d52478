"""What must be seen on the wire: packets, ICMP messages, segments sent again, the same at two hosts."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from labctl.faults import icmp
from labctl.scenario.model.parts import Count, Filter, HostName, Port, Strict
from labctl.scenario.model.ranges import CountRange, DurationRange


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

    @field_validator("at", mode="before")
    @classmethod
    def _are_two(cls, value: object) -> object:
        if isinstance(value, list) and len(value) != 2:
            raise ValueError(f"at: compares two hosts, and here {'is' if len(value) == 1 else 'are'} {len(value)}; "
                             "write the one that sends and the one where it arrives, like [client, server]")  # fmt: skip
        return value

    @model_validator(mode="after")
    def _compares_two(self) -> Self:
        if self.at[0] == self.at[1]:
            raise ValueError(f"{self.at[0]} stands here twice, and a capture is always the same as itself; name two hosts")
        return self
