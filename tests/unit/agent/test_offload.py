"""Segmentation offloads of one interface that several want off: on again, as they were, when the last of them has ended."""

from __future__ import annotations

import secrets

import pytest

from labctl.agent.claims import Claims
from labctl.agent.command import Ran
from labctl.agent.offload import Before, Offloads

ON, OFF = Before((0x4B, 0, 0x1), 65535), Before((0x40, 0, 0x1), 1)


class Device:
    """What is asked of an interface."""

    def __init__(self) -> None:
        self.now = ON


class Wanting(Offloads):
    """Wants them off on that device, on behalf of an agent of its own."""

    def __init__(self, device: Device, space: str) -> None:
        super().__init__("eth0", Claims(space))
        self._there = device

    def before(self) -> Before:
        return self._there.now

    def switch_off(self, before: Before) -> list[Ran]:
        assert before == ON
        self._there.now = OFF
        return []

    def put_back(self, before: Before) -> list[Ran]:
        self._there.now = before
        return []


@pytest.fixture
def space() -> str:
    """A set of names that no other test on this machine has."""
    return f"test-{secrets.token_hex(6)}"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_whoever_ends_last_puts_them_back(space: str, order: tuple[int, ...]) -> None:
    """In whichever order: the second has found them off, and yet knows what they were."""
    device = Device()
    wanting = [Wanting(device, space) for _ in range(3)]
    for one in wanting:
        one.off()
    *first, last = order
    for number in first:
        wanting[number].restore()
        assert device.now == OFF
    wanting[last].restore()
    assert device.now == ON
    wanting[last].restore()
    assert device.now == ON


def test_one_that_is_killed_takes_nothing_with_it(space: str) -> None:
    """The name it told goes with it, and who is left has been told as well."""
    device = Device()
    first, second = Wanting(device, space), Wanting(device, space)
    first.off()
    second.off()
    assert first._telling is not None
    first._telling.close()
    second.restore()
    assert device.now == ON


def test_a_device_that_could_not_be_asked_is_left_as_it_is(space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before or after: there is nothing to compare, and an agent that ends must not stumble over it."""
    offloads = Offloads("nowhere", Claims(space))
    monkeypatch.setattr(offloads, "_requested", lambda: [1, 2])
    assert offloads.put_back(Before((), 0)) == []
    monkeypatch.setattr(offloads, "_requested", list)
    assert offloads.put_back(Before((1, 2), 0)) == []


@pytest.mark.parametrize("before", [ON, OFF, Before((), 0), Before((0xFFFFFFFF,) * 4, 0x7FFFFFFF)])
def test_what_was_there_goes_through_a_name(before: Before) -> None:
    """As text, and within the 107 characters that a name may have."""
    assert Before.parse(str(before)) == before
    assert len(f"labctl*12345678/offloads {'x' * 15}/{before}") <= 107
