"""The emulator's process: what its orders change in the classes it has already."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from labctl.agent.emulate import Process
from labctl.agent.emulator import ETHERNET_BYTES, NS
from labctl.agent.linkspec import Spec
from labctl.agent.nfqueue import Packet


class Queues:
    """NFQUEUE that takes every order."""

    def bind(self, queue: int) -> None: ...

    def unbind(self, queue: int) -> None: ...

    def ask_for(self, queue: int, size_bytes: int, whole: bool) -> None: ...


@pytest.fixture
def process() -> Process:
    made = Process()
    made.queues = Queues()  # type: ignore[assignment]
    made.injector = object()  # type: ignore[assignment]
    return made


def order(process: Process, *classes: dict[str, Any]) -> None:
    """Tell it to serve these classes, as an agent does. Each has a queue, a spec, and whether it shares the link's rate."""
    asked = [{"seed": "run/egress/0", "shares_rate": False, **c, "spec": c["spec"].as_json()} for c in classes]
    said = {"op": "set", "device": "eth0", "direction": "egress", "through": None, "classes": asked}
    assert process.order(json.dumps(said).encode())["ok"]


def packet(queue: int = 1) -> Packet:
    return Packet(queue, 1, socket.AF_INET, 100, bytes(100), False, b"")


def lost(process: Process, packets: int = 200) -> list[int]:
    """Which of the next packets are lost."""
    return [n for n in range(packets) if not process.classes[1].arrive(packet(), 100, n)]


RATE = Spec(rate_bps=8 * (100 + ETHERNET_BYTES))
DELAYED = Spec(rate_bps=RATE.rate_bps, delay_s=0.001)


@pytest.mark.parametrize(
    "first",
    [
        [{"queue": 1, "spec": RATE}],  # the rate stood there first
        [{"queue": 2, "spec": Spec(delay_s=0.001)}],  # the target did
    ],
)
def test_a_rate_of_the_link_is_one_wire_whichever_class_was_there_before(
    process: Process, first: list[dict[str, Any]]
) -> None:
    """Two packets at once, one of each class, take twice as long as one; in whatever order the faults were put."""
    order(process, *first)
    order(process, {"queue": 2, "spec": DELAYED, "shares_rate": True}, {"queue": 1, "spec": RATE, "shares_rate": True})
    everything, target = process.classes[1], process.classes[2]
    everything.arrive(packet(), 100, 0)
    target.arrive(packet(), 100, 0)
    assert target.due(NS) == []  # ready, and now behind the other on the wire
    assert (everything.next_ns(), target.next_ns()) == (NS, 2 * NS)


def test_a_seed_that_joins_others_begins_every_chance_anew(process: Process) -> None:
    """The same packets are lost as when the fault with the seed is alone; going on with it, or without it, changes nothing."""
    seeded = Spec(loss=30, seed=957)
    order(process, {"queue": 1, "spec": seeded})
    alone = lost(process)
    order(process, {"queue": 1, "spec": Spec(delay_s=0.005, loss=10)})
    assert lost(process) != alone
    order(process, {"queue": 1, "spec": Spec(delay_s=0.005, loss=30, seed=957)})
    first = lost(process, 100)
    order(process, {"queue": 1, "spec": Spec(delay_s=0.006, loss=30, seed=957)})
    second = lost(process, 50)
    order(process, {"queue": 1, "spec": Spec(delay_s=0.006, loss=30)})
    third = lost(process, 50)
    assert [*first, *(100 + n for n in second), *(150 + n for n in third)] == alone
