"""What must be seen in the kernel: the states of TCP sockets and what their queues hold."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from labctl.scenario.model.parts import HostName, Port, Strict
from labctl.scenario.model.ranges import SizeRange
from labctl.units import Bytes

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
