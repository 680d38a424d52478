# ruff: noqa: E501  commands and messages stand here as they are shown, on one line
"""partition, down, mtu, blackhole and ttl: the exact commands, and what is refused with which words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from sites import NAMES, commands, planned, site

from labctl.faults.base import Impossible
from labctl.faults.partition import Partition

GROUPS = {"between": [["client"], ["server", "powerpc"]]}
TABLE: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("partition", GROUPS, "router", [
        "iptables -N LABCTL-x",
        "iptables -A LABCTL-x -s 10.0.1.3,10.0.3.3 -d 10.0.2.3 -j DROP",
        "iptables -A LABCTL-x -s 10.0.2.3 -d 10.0.1.3 -j DROP",
        "iptables -A LABCTL-x -s 10.0.2.3 -d 10.0.3.3 -j DROP",
        "iptables -I FORWARD -j LABCTL-x",
    ]),
    ("partition", GROUPS, "client", [
        "iptables -N LABCTL-x",
        "iptables -A LABCTL-x -s 10.0.1.3,10.0.3.3 -j DROP",
        "iptables -I INPUT -j LABCTL-x",
    ]),
    ("partition", {"from": "server", "to": "client"}, "router", [
        "iptables -N LABCTL-x",
        "iptables -A LABCTL-x -s 10.0.1.3 -d 10.0.2.3 -j DROP",
        "iptables -I FORWARD -j LABCTL-x",
    ]),
    ("ttl", {"set": 1, "protocol": "tcp", "dport": 80}, "client", [
        "iptables -t mangle -N LABCTL-x",
        "iptables -t mangle -A LABCTL-x -m ttl ! --ttl-eq 1 -j TTL --ttl-set 1",
        "iptables -t mangle -I OUTPUT -p tcp --dport 80 -j LABCTL-x",
    ]),
    ("ttl", {"decrement": 5, "to": "server"}, "router", [
        "iptables -t mangle -N LABCTL-x",
        "iptables -t mangle -A LABCTL-x -j TTL --ttl-dec 5",
        "iptables -t mangle -I PREROUTING -d 10.0.1.3 -j LABCTL-x",
    ]),
    ("down", {}, "client", ["ip link set dev {dev:client-net} down"]),
    ("down", {"network": "server-net"}, "router", ["ip link set dev {dev:server-net} down"]),
    ("mtu", {"size": "600B"}, "client", [
        "iptables -t mangle -N LABCTL-x",
        "iptables -t mangle -A LABCTL-x",
        "iptables -t mangle -I POSTROUTING -o {dev:client-net} -m length --length 600:65535 -j LABCTL-x",
        "ip link set dev {dev:client-net} mtu 600",
    ]),
    ("blackhole", {"size": "1000B", "network": "server-net"}, "router", [
        "iptables -N LABCTL-x",
        "iptables -A LABCTL-x -j DROP",
        "iptables -I OUTPUT -p icmp --icmp-type 3/4 -j LABCTL-x",
        "ip link set dev {dev:server-net} mtu 1000",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "at", "wanted"), TABLE)
def test_commands(kind: str, spec: dict[str, Any], at: str, wanted: list[str]) -> None:
    assert commands(planned(kind, spec, at)) == wanted


@pytest.mark.parametrize(
    ("kind", "spec", "at", "wanted"),
    [
        ("ttl", {"set": 1}, "client", "ip6tables -t mangle -A LABCTL-x -m hl ! --hl-eq 1 -j HL --hl-set 1"),
        ("blackhole", {"size": "1300B", "network": "server-net"}, "router", "ip6tables -I OUTPUT -p icmpv6 --icmpv6-type 2 -j LABCTL-x"),
        ("partition", {"from": "server", "to": "client"}, "client", "ip6tables -A LABCTL-x -s fd::1:3 -j DROP"),
    ],
)  # fmt: skip
def test_commands_with_ipv6(kind: str, spec: dict[str, Any], at: str, wanted: str) -> None:
    assert wanted in commands(planned(kind, spec, at, dual=True))


PARTITIONS: list[tuple[dict[str, Any], dict[str, tuple[str, ...]]]] = [
    (GROUPS, {"client": ("server", "powerpc"), "server": ("client",), "powerpc": ("client",)}),
    ({"between": ["client", "server", "powerpc"]},
     {"client": ("server", "powerpc"), "server": ("client", "powerpc"), "powerpc": ("client", "server")}),
    ({"isolate": "client"}, {"server": ("client",), "client": ("server", "powerpc"), "powerpc": ("client",)}),
    ({"from": "client", "to": ["server", "powerpc"]}, {"server": ("client",), "powerpc": ("client",)}),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "dropped"), PARTITIONS)
def test_a_partition_is_a_map_from_host_to_whom_it_does_not_hear(
    spec: dict[str, Any], dropped: dict[str, tuple[str, ...]]
) -> None:
    assert Partition.model_validate(spec).dropped(NAMES) == dropped


def test_without_a_router_every_host_that_is_cut_off_needs_the_fault() -> None:
    fault = Partition.model_validate({"between": [["client"], ["server"]]})
    with pytest.raises(Impossible, match=r"server would still hear; write at: \[client, server\]"):
        fault.check_places([site("client")])
    fault.check_places([site("client"), site("server")])
    fault.check_places([site("router")])


@pytest.mark.parametrize("kind", ["mtu", "blackhole", "down"])
def test_an_interface_is_restored_by_the_agent_that_read_it(kind: str) -> None:
    spec = {"mtu": {"size": "600B"}, "blackhole": {"size": "600B", "network": "server-net"}, "down": {"network": "server-net"}}
    request = planned(kind, {"network": "server-net", **spec[kind]}, "router").request()
    assert request["type"] == "interface"
    assert request["device"] == "{dev:server-net}"
    assert request["mtu"] == (None if kind == "down" else 600)
    assert bool(request["counters"]) != (kind == "down")
    assert bool(request["kernel"]) != (kind == "blackhole")


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("partition", {}, "a partition is one of between"),
    ("partition", {"isolate": "client", **GROUPS}, "a partition is one of between"),
    ("partition", {"from": "client"}, "one way needs both ends; write from: and to:"),
    ("partition", {"between": [["client"]]}, "needs two groups or more"),
    ("partition", {"between": [["client"], []]}, "needs two groups or more"),
    ("partition", {"between": [["client"], ["client", "server"]]}, "client stands here twice"),
    ("partition", {"between": "client"}, "write groups of hosts, like [[client], [server, powerpc]]"),
    ("ttl", {}, "ttl needs set: or decrement:, and not both"),
    ("ttl", {"set": 1, "decrement": 1}, "ttl needs set: or decrement:, and not both"),
    ("ttl", {"set": 0}, "greater than or equal to 1"),
    ("mtu", {"size": "60B"}, "greater than or equal to 68"),
    ("mtu", {"size": "1500B"}, "less than 1500"),
    ("blackhole", {"size": "600B"}, "network"),
]


@pytest.mark.parametrize(("kind", "spec", "words"), REFUSED)
def test_refused(kind: str, spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        planned(kind, spec, "client")
    assert words in str(caught.value)


IMPOSSIBLE: list[tuple[str, dict[str, Any], str, bool, str]] = [
    ("partition", {"from": "client", "to": "server"}, "client", False, "takes nothing from client; leave it out of at:"),
    ("down", {}, "router", False, "router is on server-net, client-net; write which, like network: server-net"),
    ("down", {"network": "client-net"}, "server", False, "server is not on client-net; write network: server-net"),
    ("mtu", {"size": "600B"}, "client", True, "this lab has IPv6, which needs 1280 bytes"),
    ("blackhole", {"size": "600B", "network": "client-net"}, "client", False, "client forwards nothing; put the black hole at a router"),
    ("ttl", {"set": 1, "from": "client"}, "server", False, "put the fault at client or at a router"),
    ("ttl", {"set": 1, "to": "server"}, "server", False, "put the fault at the sender or at a router on the way"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "at", "dual", "words"), IMPOSSIBLE)
def test_impossible(kind: str, spec: dict[str, Any], at: str, dual: bool, words: str) -> None:
    with pytest.raises(Impossible, match=words):
        planned(kind, spec, at, dual)
