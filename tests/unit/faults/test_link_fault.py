"""A link fault in a scenario: what may be written, what is refused and how, and what is planned."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from labctl.agent.linkclass import Match
from labctl.agent.linkspec import Slot, Spec
from labctl.faults.base import FaultPlan, Impossible, Site
from labctl.faults.link import Link

ADDRESSES = {
    "server": ("198.18.0.3", "fd6c::3"),
    "client": ("198.18.0.67", "fd6c::67"),
    "router": ("198.18.0.2", "fd6c::2", "198.18.0.66", "fd6c::66"),
}
CLIENT = Site("client", False, ("client-net",), ADDRESSES)
ROUTER = Site("router", True, ("server-net", "client-net"), ADDRESSES)
BOTH = Site("client", False, ("client-net",), ADDRESSES, (4, 6))


def link(**keys: Any) -> Link:
    return Link.model_validate(keys)


def planned(site: Site = CLIENT, **keys: Any) -> FaultPlan:
    return link(**keys).plan(site, "slow")


def parts(site: Site = CLIENT, **keys: Any) -> list[dict[str, Any]]:
    action = planned(site, **keys).action
    assert action is not None
    found: list[dict[str, Any]] = action["parts"]
    return found


SPECS = [
    ({"delay": "100ms"}, Spec(delay_s=0.1)),
    (
        {"delay": "100ms", "jitter": "10ms", "delay_correlation": "25%", "distribution": "normal"},
        Spec(delay_s=0.1, jitter_s=0.01, delay_correlation=25, distribution="normal"),
    ),
    ({"loss": "5%", "loss_correlation": "10%", "seed": 7}, Spec(loss=5, loss_correlation=10, seed=7)),
    ({"loss_gemodel": {"p": "1%", "r": "10%"}}, Spec(loss_gemodel=(1, 10, 100, 0))),
    ({"loss_gemodel": {"p": "1%", "r": "10%", "1-h": "70%", "1-k": "0.1%"}}, Spec(loss_gemodel=(1, 10, 70, 0.1))),
    ({"loss_state": {"p13": "1%", "p31": "10%"}}, Spec(loss_state=(1, 10, 0, 100, 0))),
    ({"duplicate": "1%", "duplicate_correlation": "5%"}, Spec(duplicate=1, duplicate_correlation=5)),
    ({"corrupt": "0.1%"}, Spec(corrupt=0.1)),
    ({"delay": "10ms", "reorder": "25%", "gap": 5}, Spec(delay_s=0.01, reorder=25, gap=5)),
    ({"rate": "10mbit", "burst": "32KiB", "overhead": "14B"}, Spec(rate_bps=10**7, burst_bytes=32768, overhead_bytes=14)),
    ({"rate": "1mbit", "cell": "48B", "cell_overhead": "5B"}, Spec(rate_bps=10**6, cell_bytes=48, cell_overhead_bytes=5)),
    ({"delay": "1s", "limit": 10}, Spec(delay_s=1, limit=10)),
    ({"slot": {"min": "10ms", "max": "20ms", "packets": 5}}, Spec(slot=Slot(0.01, 0.02, packets=5))),
    ({"slot": {"min": "10ms", "bytes": "64KiB"}}, Spec(slot=Slot(0.01, 0.01, size_bytes=65536))),
    (
        {"slot": {"distribution": "pareto", "delay": "10ms", "jitter": "1ms"}},
        Spec(slot=Slot(distribution="pareto", delay_s=0.01, jitter_s=0.001)),
    ),
]


@pytest.mark.parametrize(("keys", "spec"), SPECS)
def test_each_key_becomes_what_it_says(keys: dict[str, Any], spec: Spec) -> None:
    assert link(**keys).spec() == spec


REACHED = [
    {"delay": "10ms", "seed": 7, "ramp": {"over": "5s", "loss": "10%"}},
    {"jitter": "5ms", "distribution": "normal", "ramp": {"over": "5s", "delay": "10ms"}},
    {"delay": "5ms", "delay_correlation": "5%", "ramp": {"over": "5s", "jitter": "1ms"}},
    {"loss_correlation": "5%", "limit": 50, "ramp": {"over": "5s", "loss": "10%", "delay": "10ms"}},
]


@pytest.mark.parametrize("keys", REACHED)
def test_what_a_key_needs_may_be_what_a_ramp_reaches(keys: dict[str, Any]) -> None:
    assert link(**keys).ramp is not None


REFUSED = [
    ({}, "this link does nothing to a packet; write delay:, loss:, rate: or another"),
    ({"loss": "0%"}, "does nothing"),
    ({"loss": "0%", "loss_correlation": "25%"}, "does nothing"),
    ({"delay": "0ms", "jitter": "0ms", "distribution": "normal"}, "does nothing"),
    ({"delay": "0ms", "reorder": "5%", "gap": 5}, "does nothing"),
    ({"loss": "0%", "ramp": {"over": "1s", "loss": "0%"}}, "does nothing"),
    ({"loss_gemodel": {"p": "0%", "r": "0%"}}, "does nothing"),
    ({"loss_gemodel": {"p": "5%", "r": "5%", "1-h": "0%"}}, "does nothing"),
    ({"loss_state": {"p13": "0%", "p31": "10%"}}, "does nothing"),
    ({"slot": {"min": "0ms", "packets": 5}}, "does nothing"),
    ({"jitter": "10ms"}, "jitter: varies a delay; write delay: as well"),
    ({"delay": "1ms", "distribution": "normal"}, "write jitter: as well"),
    ({"reorder": "5%"}, "write delay: as well"),
    ({"delay": "1ms", "gap": 5}, "write reorder: as well"),
    ({"loss": "5%", "loss_gemodel": {"p": "1%", "r": "10%"}}, "loss and loss_gemodel are different models of loss; keep one"),
    ({"loss_correlation": "5%"}, "loss_correlation: needs loss:"),
    ({"delay": "1ms", "burst": "2KiB"}, "write rate: as well"),
    ({"rate": "1mbit", "cell_overhead": "5B"}, "write cell: as well"),
    ({"rate": "1mbit", "burst": "1513B"}, "greater than or equal to 1514"),
    ({"rate": "1mbit", "burst": "2KiB", "cell": "48B"}, "burst: and cell: exclude each other"),
    ({"loss": "1%", "limit": 5}, "limit: bounds what waits, and nothing does"),
    ({"delay": "1ms", "seed": 5}, "seed: repeats what is left to chance, and nothing is"),
    ({"loss": "101%"}, "101% is not between 0% and 100%"),
    ({"loss": 5}, "5 has no unit"),
    ({"delay": "300s"}, "less than or equal to 240"),
    ({"delay": "1ms", "limit": 0}, "greater than or equal to 1"),
    ({"loss_state": {"p13": "60%", "p31": "10%", "p14": "50%"}}, "p13 and p14 lead out of the same state"),
    ({"slot": {"min": "20ms", "max": "10ms"}}, "min: is more than its max:; swap them"),
    ({"slot": {"packets": 5}}, "a slot has min: (and max:), or distribution:"),
    ({"slot": {"min": "1ms", "distribution": "normal", "delay": "1ms", "jitter": "1ms"}}, "neither min: nor max:"),
    ({"delay": "1ms", "dport": 80}, "protocol all has no ports; write protocol: tcp or protocol: udp"),
    ({"delay": "1ms", "network": "x", "toward": "server"}, "both say which interface; keep one"),
    ({"delay": "1ms", "ramp": {"over": "1s"}}, "a ramp needs a value to go to, like rate: 100kbit"),
    ({"delay": "1ms", "ramp": {"over": "1s", "rate": "1mbit"}}, "ramp: reaches a rate from one; write rate: as well"),
    ({"delay": "1ms", "dely": "2ms"}, "Extra inputs"),
]


@pytest.mark.parametrize(("keys", "message"), REFUSED)
def test_what_cannot_be_is_refused_and_says_what_would_be_right(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        link(**keys)
    assert message in str(refused.value)


PLACES = [
    (CLIENT, {}, [("{dev:client-net}", "egress", "")]),
    (CLIENT, {"to": "server"}, [("{dev:client-net}", "egress", "-d 198.18.0.3")]),
    (CLIENT, {"from": "server"}, [("{dev:client-net}", "ingress", "-s 198.18.0.3")]),
    (CLIENT, {"direction": "ingress"}, [("{dev:client-net}", "ingress", "")]),
    (
        CLIENT,
        {"to": "server", "protocol": "tcp", "dport": 80, "direction": "both"},
        [
            ("{dev:client-net}", "egress", "-d 198.18.0.3 -p tcp --dport 80"),
            ("{dev:client-net}", "ingress", "-s 198.18.0.3 -p tcp --sport 80"),
        ],
    ),
    (ROUTER, {}, [("{dev:server-net}", "egress", ""), ("{dev:client-net}", "egress", "")]),
    (ROUTER, {"network": "server-net"}, [("{dev:server-net}", "egress", "")]),
    (ROUTER, {"toward": "server"}, [("toward server", "egress", "")]),
    (ROUTER, {"to": "server", "from": "client"}, [("toward server", "egress", "-s 198.18.0.67 -d 198.18.0.3")]),
    (ROUTER, {"from": "client"}, [("toward client", "ingress", "-s 198.18.0.67")]),
]


@pytest.mark.parametrize(("site", "keys", "expected"), PLACES)
def test_where_it_stands_and_which_packets_it_meets(site: Site, keys: dict[str, Any], expected: list[Any]) -> None:
    found = [
        (
            part["device"] or f"toward {part['peer']}",
            part["direction"],
            " ".join(word for match in part["target"] for word in Match(**match).iptables()),
        )
        for part in parts(site, delay="10ms", **keys)
    ]
    assert found == expected


def test_a_target_in_a_lab_with_ipv6_has_both_families() -> None:
    assert [m["destination"] for m in parts(BOTH, delay="1ms", to="server")[0]["target"]] == ["198.18.0.3", "fd6c::3"]


@pytest.mark.parametrize(
    ("site", "keys", "message"),
    [
        (CLIENT, {"network": "server-net"}, "client is on no network 'server-net'; it is on client-net"),
        (CLIENT, {"protocol": "icmpv6"}, "needs IPv6, and this lab has only IPv4"),
        (CLIENT, {"toward": "client"}, "no interface of client leads to client itself"),
    ],
)
def test_what_cannot_be_here_is_impossible(site: Site, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(Impossible, match=message):
        planned(site, delay="1ms", **keys)


def test_the_plan_shows_the_commands_of_both_backends() -> None:
    plan = planned(loss="5%", to="server")
    assert [" ".join(change.do) for change in plan.changes][3:5] == [
        "tc qdisc add dev {dev:client-net} parent 1ab:11 handle 1b1: netem limit 1000 loss random 5%",
        "tc filter add dev {dev:client-net} parent 1ab: protocol ip prio 802 u32 match ip dst 198.18.0.3/32 flowid 1ab:11",
    ]
    assert plan.changes[0].undo == ("tc", "qdisc", "del", "dev", "{dev:client-net}", "root", "handle", "1ab:")
    assert [" ".join(argv) for argv in plan.alternatives["nfqueue"]] == [
        "iptables -w 5 -t mangle -N LABCTL-E-{dev:client-net}",
        "iptables -w 5 -t mangle -A LABCTL-E-{dev:client-net} -m conntrack --ctstate RELATED ! --ctstatus CONFIRMED -j RETURN",
        "iptables -w 5 -t mangle -A LABCTL-E-{dev:client-net} -d 198.18.0.3 -j NFQUEUE --queue-num 17000 --queue-bypass",
        "iptables -w 5 -t mangle -A POSTROUTING -o {dev:client-net} -j LABCTL-E-{dev:client-net}",
    ]


def test_a_ramp_is_asked_of_the_agent() -> None:
    action = planned(rate="10mbit", ramp={"over": "5s", "rate": "100kbit"}).action
    assert action is not None
    assert action["ramp"] == {"over_s": 5.0, "spec": {"rate_bps": 100_000}}
