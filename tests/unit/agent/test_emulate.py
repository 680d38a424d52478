"""The emulator's process: what its orders change in the classes it has already."""

from __future__ import annotations

import errno
import json
import socket
import struct
import time
from typing import Any

import pytest

from labctl.agent import inject
from labctl.agent.emulate import Process
from labctl.agent.emulator import ETHERNET_BYTES, NS
from labctl.agent.inject import Injector
from labctl.agent.linkspec import Spec
from labctl.agent.nfqueue import DROP, Packet


class Queues:
    """NFQUEUE that takes every order."""

    def bind(self, queue: int) -> None: ...

    def unbind(self, queue: int) -> None: ...

    def ask_for(self, queue: int, size_bytes: int, whole: bool) -> None: ...

    def verdict(self, *about: Any) -> bytes:
        return b"drop" if about[2] == DROP else b"accept"

    def send(self, verdicts: list[bytes]) -> None: ...


class Wire:
    """An interface that takes frames up to its MTU, which may change."""

    mtu = 1500

    def __init__(self) -> None:
        self.sent: list[int] = []

    def outward(self, *_: Any) -> bytes:
        return bytes(14)

    def send(self, _: bytes, packet: bytes) -> None:
        if len(packet) > self.mtu:
            raise OSError(errno.EMSGSIZE, "Message too long")
        self.sent.append(len(packet))


@pytest.fixture
def process() -> Process:
    made = Process()
    made.queues = Queues()  # type: ignore[assignment]
    made.injector = Wire()  # type: ignore[assignment]
    return made


def order(process: Process, *classes: dict[str, Any]) -> None:
    """Tell it to serve these classes, as an agent does. Each has a queue, a spec, and whether it shares the link's rate."""
    asked = [{"seed": "run/egress/0", "shares_rate": False, **c, "spec": c["spec"].as_json()} for c in classes]
    said = {"op": "set", "device": "eth0", "direction": "egress", "through": None, "classes": asked}
    assert process.order(json.dumps(said).encode())["ok"]


def packet(length: int = 100) -> Packet:
    header = b"\x45".ljust(9, b"\0") + bytes([socket.IPPROTO_UDP])
    return Packet(1, 1, socket.AF_INET, length, header.ljust(length, b"\0"), False, b"")


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


def test_an_mtu_that_shrinks_leaves_what_is_longer_to_the_kernel(process: Process) -> None:
    """It is not taken out to be sent as a frame, so the kernel cuts it; what is shorter still is."""
    order(process, {"queue": 1, "spec": Spec(delay_s=0.005)})
    taken: list[bytes] = []
    process.take(packet(1000), taken)
    assert taken == []  # the first of its flow
    process.take(packet(1000), taken)
    assert taken == [b"drop"]
    process.injector.mtu = 600  # type: ignore[union-attr, misc]
    process.take(packet(1000), taken)
    assert taken == [b"drop"]
    process.take(packet(500), taken)
    assert taken == [b"drop", b"drop"]


def test_the_mtu_is_that_which_the_interface_has_now(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter((1500, 600))
    monkeypatch.setattr(inject, "_ifreq", lambda *_: bytes(16) + struct.pack("=i", next(sizes)))
    injector = Injector.__new__(Injector)
    injector._probe = injector.device = None  # type: ignore[assignment]
    assert (injector.mtu, injector.mtu) == (1500, 600)


def test_a_frame_that_the_interface_takes_no_more_is_counted(process: Process) -> None:
    order(process, {"queue": 1, "spec": Spec(delay_s=0.005)})
    for length in (1000, 1000, 500):
        process.take(packet(length), [])
    process.injector.mtu = 600  # type: ignore[union-attr, misc]
    for one, flip in process.classes[1].due(time.monotonic_ns() + NS):
        process.release(one, flip, [])
    assert process.injector.sent == [500]  # type: ignore[union-attr]
    answer = process.order(b'{"op": "stats"}')
    assert (answer["classes"]["1"]["released"], answer["classes"]["1"]["unsent"]) == (3, 1)
