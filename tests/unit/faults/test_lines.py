"""What is planned for link faults that meet is what the agent does: the same commands, whatever comes and goes."""

from __future__ import annotations

import random
import types
from typing import Any

import pytest

from labctl.agent import link, linknetem
from labctl.agent.command import Ran
from labctl.agent.linkclass import LinkFault
from labctl.agent.linkport import Where
from labctl.faults.base import FaultPlan, Site
from labctl.faults.lines import Lines
from labctl.faults.link import Link

ADDRESSES = {"server": ("198.18.0.4",), "client": ("198.18.0.7",)}
SITE = Site("client", False, ("net",), ADDRESSES)
DEVICE = "lo"
SPECS: tuple[dict[str, object], ...] = (
    {"delay": "40ms"}, {"delay": "60ms", "jitter": "5ms"}, {"loss": "5%"}, {"corrupt": "1%"}, {"duplicate": "2%"},
    {"limit": 9, "rate": "1mbit"}, {"delay": "10ms", "to": "server"},
    {"loss": "10%", "to": "server", "protocol": "tcp", "dport": "80"}, {"delay": "1ms", "protocol": "icmp"},
)  # fmt: skip
CHANGE = f"tc qdisc change dev {DEVICE} parent 1ab:10 handle 1b0: netem limit 1000"


def lines() -> Lines:
    return Lines(lambda _host, _peer: "net")


def planned(number: int) -> FaultPlan:
    return Link.model_validate(SPECS[number]).plan(SITE, f"f{number}")


def typed(plans: list[FaultPlan]) -> list[str]:
    return [" ".join(change.do).replace("{dev:net}", DEVICE) for plan in plans for change in plan.changes]


def ordered(plans: list[FaultPlan]) -> list[str]:
    return [" ".join(argv) for plan in plans for argv in plan.alternatives["nfqueue"]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tc commands of an agent whose kernel takes all of them and shows an interface without anything of ours."""
    found: list[str] = []

    def take(commands: list[tuple[str, ...]]) -> list[Ran]:
        found.extend(map(" ".join, commands))
        return [Ran(command, 0, "", "", 0.0) for command in commands]

    monkeypatch.setattr(linknetem.batch, "tc", take)
    monkeypatch.setattr(linknetem.NetemPort, "_verify", lambda *_: None)
    monkeypatch.setattr(linknetem.NetemPort, "_qdiscs", lambda *_: [{"root": True, "kind": "noqueue", "handle": "0:"}])
    monkeypatch.setattr(linknetem.NetemPort, "effects", lambda _: {})
    monkeypatch.setattr(linknetem, "Offloads", lambda *_: types.SimpleNamespace(off=list, restore=list))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_the_commands_of_a_plan_are_those_that_the_agent_gives(said: list[str], seed: int) -> None:
    """Faults come and go in any order, for all traffic and for a part of it; tc is told the same, word for word."""
    chance = random.Random(seed)
    agent, plan = link.Links(probe=lambda: "plain"), lines()
    there: list[int] = []
    for _ in range(30):
        number = chance.randrange(len(SPECS))
        said.clear()
        if number not in there:
            there.append(number)
            asked = planned(number)
            assert asked.action is not None
            fault = LinkFault.from_json(asked.name, asked.action["parts"][0])
            agent.put(number, {Where(DEVICE, "egress"): fault}, "netem", 0, (4,))
            assert typed([plan.put(asked)]) == said
        elif len(there) > 1:
            there.remove(number)
            agent.take(number)
            assert typed(list(plan.take(f"f{number}"))) == said
    assert there


def test_one_more_changes_what_is_there_and_one_fewer_changes_it_back() -> None:
    """Delays add up in one netem, and one emulator is told anew; its rules stay as they are."""
    plan = lines()
    first, second = plan.put(planned(0)), plan.put(planned(2))
    assert first.changes == planned(0).changes
    assert ordered([first])[-1] == "(the emulator of queue 17000 does: limit 1000 delay 40ms)"
    assert typed([second]) == [f"{CHANGE} delay 40ms loss random 5%"]
    assert ordered([second]) == ["(the emulator of queue 17000 does: limit 1000 delay 40ms loss random 5%)"]
    assert typed(list(plan.take("f0"))) == [f"{CHANGE} loss random 5%"]
    assert list(plan.take("f2")) == []
    assert list(plan.take("f2")) == []


def test_a_part_of_the_traffic_gets_a_queue_of_its_own() -> None:
    """The rules of an emulator's chain are given anew when there is a class more, the most specific first."""
    plan = lines()
    plan.put(planned(0))
    told = ordered([plan.put(planned(6))])
    assert told[0] == "iptables -w 5 -t mangle -F LABCTL-E-{dev:net}"
    assert told[2].endswith(" -d 198.18.0.4 -j NFQUEUE --queue-num 17001 --queue-bypass")
    assert told[3].endswith("} -j NFQUEUE --queue-num 17000 --queue-bypass")
    assert told[4:] == [
        "(the emulator of queue 17001 does: limit 1000 delay 50ms)",
        "(the emulator of queue 17000 does: limit 1000 delay 40ms)",
    ]


def test_what_is_no_link_fault_stays_as_it_is() -> None:
    plan = FaultPlan("wall", "drop", "client", "iptables", ())
    assert lines().put(plan) is plan


def test_lines_are_apart() -> None:
    """The same fault at two hosts, or in two directions, meets nothing."""
    plan = lines()
    for keys in ({"delay": "1ms"}, {"delay": "1ms", "direction": "ingress"}):
        asked = Link.model_validate(keys).plan(SITE, f"x{len(keys)}")
        assert plan.put(asked).changes == asked.changes


def test_a_line_that_is_empty_again_begins_anew() -> None:
    plan = lines()
    for _ in range(2):
        assert plan.put(planned(6)).changes == planned(6).changes
        assert list(plan.take("f6")) == []


def test_which_way_a_peer_is_says_the_lab() -> None:
    """toward: a host and network: the one that leads to it are the same line."""
    router = Site("router", True, ("net", "far"), {**ADDRESSES, "router": ("198.18.0.2", "198.18.0.66")})
    plan = lines()
    plan.put(Link.model_validate({"delay": "1ms", "toward": "client"}).plan(router, "a"))
    second: Any = plan.put(Link.model_validate({"delay": "2ms", "network": "net"}).plan(router, "b"))
    assert [change.do[2] for change in second.changes] == ["change"]
