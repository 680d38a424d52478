"""The netem port, on a kernel that remembers what tc told it and says it again."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from labctl.agent import linknetem
from labctl.agent.command import Ran
from labctl.agent.link import LinkAction, Links
from labctl.agent.linkport import LinkRefused
from labctl.agent.linktree import UNIFORM_TABLE

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class Kernel:
    """One interface's qdiscs, as far as tc changes and shows them here."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.refuses = "nothing"
        self.classes: set[str] = set()
        self.qdiscs: dict[str, dict[str, Any]] = {}

    def tc(self, commands: Sequence[tuple[str, ...]]) -> list[Ran]:
        """As `tc -batch`: it stops at the first that fails, and the process ends as that did."""
        for argv in commands:
            ran = self.one(argv)
            if not ran.ok:
                break
        return [ran, *(Ran(argv, ran.exit, "", ran.err, 0.1) for argv in commands)] if commands else []

    def one(self, argv: tuple[str, ...]) -> Ran:
        line = " ".join(argv)
        self.said.append(line)
        if self.refuses in line:
            return Ran(argv, 2, "", "Specified qdisc kind is unknown", 0.1)
        if "qdisc del" in line:
            if not self.qdiscs:
                return Ran(argv, 2, "", "Invalid handle", 0.1)
            self.qdiscs.clear()
            self.classes.clear()
        elif "qdisc" in argv:
            handle, kind = argv[argv.index("handle") + 1], argv[argv.index("handle") + 2]
            if (handle in self.qdiscs) != ("change" in argv):
                return Ran(argv, 2, "", "Exclusivity flag on, cannot modify", 0.1)
            self.qdiscs[handle] = {
                "kind": kind, "handle": handle, "root": "root" in argv, "packets": 1, "drops": 0, "options": options(line),
            }  # fmt: skip
        elif "class" in argv:
            number = argv[argv.index("classid") + 1]
            if (number in self.classes) != ("change" in argv or "del" in argv):
                return Ran(argv, 2, "", "there is one, or there is none", 0.1)
            self.classes ^= {number} if "change" not in argv else set()
            if "del" in argv:
                self.qdiscs.pop(number.replace(":", "").replace("1ab1", "1b") + ":", None)
        return Ran(argv, 0, "", "", 0.1)

    def show(self, argv: tuple[str, ...]) -> Ran:
        return Ran(argv, 0, json.dumps(list(self.qdiscs.values())), "", 0.1)

    def netems(self) -> list[str]:
        """What each netem was told, in order."""
        return [said.partition(" netem ")[2] for said in self.said if " netem " in said]


def options(line: str) -> dict[str, Any]:
    """The words of tc as `tc -j` shows them."""
    found: dict[str, Any] = {"gap": 0}
    for word in ("limit", "seed"):
        if number := re.search(rf" {word} (\d+)", line):
            found[word] = int(number[1])
    if delay := re.search(r" delay (\d+)(us|ms|s)(?: (\d+)(us|ms|s))?", line):
        jitter = int(delay[3]) * UNITS[delay[4]] if delay[3] else 0
        found["delay"] = {"delay": int(delay[1]) * UNITS[delay[2]], "jitter": jitter}
    if loss := re.search(r" loss random ([\d.]+)%", line):
        found["loss-random"] = {"loss": float(loss[1]) / 100}
    if slot := re.search(r" slot distribution \S+ (\d+)ms (\d+)ms(?: packets (\d+))?", line):
        found["slot"] = {"distribution": int(slot[1]) / 1e3, "jitter": int(slot[2]) / 1e3, "packets": int(slot[3] or 0)}
    if reorder := re.search(r" reorder ([\d.]+)%", line):
        found |= {"reorder": {"reorder": float(reorder[1]) / 100}, "gap": 1}
    return found


class NoOffloads:
    def __init__(self, *_: Any) -> None: ...

    def off(self) -> list[Ran]:
        return []

    def restore(self) -> list[Ran]:
        return []


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(linknetem.batch, "tc", made.tc)
    monkeypatch.setattr(linknetem.batch, "ip", made.tc)
    monkeypatch.setattr(linknetem, "run", made.show)
    monkeypatch.setattr(linknetem, "Offloads", NoOffloads)
    return made


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(linknetem, "UNIFORM", str(tmp_path / "uniform.dist"))
    return tmp_path / "uniform.dist"


@pytest.fixture
def links() -> Links:
    return Links(probe=lambda: "seed")


PEER = ({"family": 4, "destination": "10.0.0.1"},)


def action(
    links: Links, name: str, ramp: dict[str, Any] | None = None, target: Sequence[Any] = (), **spec: Any
) -> LinkAction:
    part = {"device": "lo", "direction": "egress", "spec": spec, "target": target}
    request = {"type": "link", "name": name, "backend": "netem", "parts": [part], "seed": 5}
    return LinkAction(links, {**request, "ramp": ramp} if ramp else request)


def seeds(kernel: Kernel) -> list[int | None]:
    return [int(found[1]) if (found := re.search(r"seed (\d+)", netem)) else None for netem in kernel.netems()]


def ramp(kernel: Kernel, **spec: Any) -> list[int | None]:
    """The seeds that a ramp of the delay tells the kernel."""
    links = Links(probe=lambda: "seed")
    kernel.said.clear()
    moving = action(links, "moving", {"over_s": 1.0, "spec": {"delay_s": 0.2}}, delay_s=0.1, **spec)
    moving.do()
    for fraction in (0.25, 0.5, 0.5, 1.0):
        moving.progress(fraction)
    moving.undo()
    return seeds(kernel)


def test_a_ramp_has_another_seed_at_each_change_and_the_same_ones_in_each_run(kernel: Kernel) -> None:
    """The kernel begins its generator anew at each change: with one seed all packets of a ramp would have one fate."""
    first, *later = ramp(kernel, loss=10, seed=7)
    assert first == 7
    *changed, healed = later
    assert len(changed) == len({7, *changed}) - 1 == 3  # the same value twice is no change
    assert healed is None
    assert ramp(kernel, loss=10, seed=7) == [first, *later]
    assert ramp(kernel, loss=10, seed=8)[1:4] != changed
    assert ramp(kernel, loss=10)[0] == 5  # the run's


def test_a_seed_that_joins_is_told_as_it_is_asked(kernel: Kernel, links: Links) -> None:
    """Behind a delay that is there already the same packets are lost as alone."""
    action(links, "slow", delay_s=0.1).do()
    action(links, "chance", loss=30, seed=957).do()
    assert seeds(kernel) == [None, 957]


def test_a_ramp_that_begins_without_a_delay_has_one_where_tc_needs_it(kernel: Kernel, links: Links) -> None:
    """tc takes no distribution and no reordering without a delay (tc/q_netem.c)."""
    goal = {"over_s": 1.0, "spec": {"delay_s": 0.1}}
    moving = action(links, "moving", goal, jitter_s=0.01, distribution="normal", reorder=5.0)
    moving.do()
    moving.progress(1.0)
    assert kernel.netems() == [
        "limit 1000 delay 1us 10ms distribution normal reorder 5%",
        "limit 1000 delay 100ms 10ms distribution normal reorder 5%",
    ]


def test_a_distribution_that_goes_leaves_a_uniform_table(kernel: Kernel, links: Links, table: Path) -> None:
    """The kernel keeps a distribution, so jitter without one is told as a table that is uniform; also when it comes later."""
    action(links, "slow", delay_s=0.05).do()
    uneven = action(links, "uneven", jitter_s=0.01)
    normal = action(links, "normal", delay_s=0.05, jitter_s=0.01, distribution="normal")
    same = action(links, "same", delay_s=0.05, jitter_s=0.01, distribution="uniform")
    uneven.do()
    for other in (normal, same):
        other.do()
        assert [ran for ran in other.undo() if not ran.ok] == []
    uneven.undo()
    uneven.do()
    even = f"distribution {UNIFORM_TABLE}"
    assert kernel.netems() == [
        "limit 1000 delay 50ms", "limit 1000 delay 50ms 10ms",
        "limit 1000 delay 100ms 20ms distribution normal", f"limit 1000 delay 50ms 10ms {even}",
        f"limit 1000 delay 100ms 20ms {even}", f"limit 1000 delay 50ms 10ms {even}",
        "limit 1000 delay 50ms", f"limit 1000 delay 50ms 10ms {even}",
    ]  # fmt: skip
    numbers = [int(line) for line in table.read_text().split()]
    assert (len(numbers), sum(numbers), min(numbers), max(numbers)) == (4096, 0, -8190, 8190)


@pytest.mark.usefixtures("table")
def test_slots_after_those_of_a_distribution_are_told_as_a_uniform_table(kernel: Kernel, links: Links) -> None:
    action(links, "slow", delay_s=0.05).do()
    spread = action(links, "spread", slot={"distribution": "pareto", "delay_s": 0.01, "jitter_s": 0.001})
    spread.do()
    spread.undo()
    action(links, "even", slot={"min_s": 0.01, "max_s": 0.03, "packets": 2}).do()
    assert [netem.partition("50ms ")[2] for netem in kernel.netems()[1:]] == [
        "slot distribution pareto 10ms 1ms", "slot 0s 0s", f"slot distribution {UNIFORM_TABLE} 20ms 10ms packets 2",
    ]  # fmt: skip


def test_the_netem_of_a_class_that_was_healed_is_changed_when_a_fault_comes_back(kernel: Kernel, links: Links) -> None:
    """It stays in the kernel as long as the interface has another fault, so it is there already."""
    slow, peer = action(links, "slow", delay_s=0.1), action(links, "peer", target=PEER, loss=5)
    peer.do()
    for _ in range(2):
        slow.do()
        assert kernel.qdiscs["1b0:"]["options"]["delay"]["delay"] == 0.1
        slow.undo()
        assert "delay" not in kernel.qdiscs["1b0:"]["options"]


@pytest.mark.parametrize("refuses", ["qdisc add dev lo root", "classid 1ab:1 ", "classid 1ab:10", "handle 1b0: netem"])
def test_a_first_fault_that_tc_refuses_leaves_nothing(kernel: Kernel, links: Links, refuses: str) -> None:
    """What was made before it is taken away at once, and the next try finds the place free."""
    kernel.refuses = refuses
    with pytest.raises(LinkRefused, match="qdisc kind is unknown"):
        action(links, "slow", delay_s=0.1).do()
    assert (kernel.qdiscs, kernel.classes) == ({}, set())
    kernel.refuses = "nothing"
    action(links, "slow", delay_s=0.1).do()
    assert "1b0:" in kernel.qdiscs


@pytest.mark.parametrize("refuses", ["classid 1ab:11", "handle 1b1: netem", "filter add"])
def test_after_a_change_that_tc_refuses_half_way_the_former_tree_is_there(
    kernel: Kernel, links: Links, refuses: str
) -> None:
    slow, peer = action(links, "slow", delay_s=0.1), action(links, "peer", target=PEER, delay_s=0.05, loss=5)
    slow.do()
    before = (kernel.qdiscs["1b0:"]["options"], set(kernel.classes), set(kernel.qdiscs))
    kernel.refuses = refuses
    with pytest.raises(LinkRefused, match="qdisc kind is unknown"):
        peer.do()
    assert (kernel.qdiscs["1b0:"]["options"], kernel.classes, set(kernel.qdiscs)) == before
    kernel.refuses = "nothing"
    peer.do()
    peer.undo()
    slow.undo()
    assert (kernel.qdiscs, kernel.classes) == ({}, set())


def test_a_target_that_comes_back_is_counted_beside_what_it_was_before(kernel: Kernel, links: Links) -> None:
    """Its new netem counts from nothing, and what the one before it had counted is not taken from that."""
    action(links, "slow", delay_s=0.1).do()
    for packets in (9, 5):
        peer = action(links, "peer", target=PEER, delay_s=0.01)
        peer.do()
        (handle,) = kernel.qdiscs.keys() - {"1ab:", "1b0:"}
        kernel.qdiscs[handle]["packets"] += packets
        assert peer.count() >= packets
        peer.undo()
