# ruff: noqa: E501  commands and messages stand here as they are shown, on one line
"""reset, expire, masquerade and resolve: what the agent is asked, and what is refused with which words."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError
from sites import commands, planned

from labctl.faults import FAULTS
from labctl.faults.base import Impossible


@pytest.mark.parametrize(
    ("spec", "sources", "targets"),
    [
        ({"port": 80}, [], []),
        ({"port": 80, "to": "client"}, [], ["10.0.2.3"]),
        ({"port": 80, "from": "server", "to": ["client", "powerpc"]}, ["10.0.1.3"], ["10.0.2.3", "10.0.3.3"]),
    ],
)
def test_reset(spec: dict[str, Any], sources: list[str], targets: list[str]) -> None:
    assert planned("reset", spec, "server").request() == {
        "type": "reset", "port": 80, "sources": sources, "targets": targets,
    }  # fmt: skip


def test_masquerade() -> None:
    assert commands(planned("masquerade", {"network": "server-net"}, "router")) == [
        "iptables -t nat -N LABCTL-x",
        "iptables -t nat -A LABCTL-x -j MASQUERADE",
        "iptables -t nat -I POSTROUTING -o {dev:server-net} -j LABCTL-x",
    ]


@pytest.mark.parametrize(
    ("spec", "deletes", "rules"),
    [
        ({"protocol": "tcp", "dport": 80}, ["conntrack -D -f ipv4 -p tcp --dport 80"], []),
        (
            {"protocol": "udp", "from": "client", "to": ["server", "powerpc"]},
            ["conntrack -D -f ipv4 -p udp -s 10.0.2.3 -d 10.0.1.3", "conntrack -D -f ipv4 -p udp -s 10.0.2.3 -d 10.0.3.3"],
            [],
        ),
        (
            {"protocol": "tcp", "then": "drop"},
            ["conntrack -D -f ipv4 -p tcp"],
            ["-j DROP"],
        ),
        (
            {"protocol": "tcp", "then": "reset"},
            ["conntrack -D -f ipv4 -p tcp"],
            ["-p tcp -j REJECT --reject-with tcp-reset"],
        ),
    ],
)
def test_expire(spec: dict[str, Any], deletes: list[str], rules: list[str]) -> None:
    plan = planned("expire", spec, "router")
    assert [" ".join(argv) for argv in plan.request()["deletes"]] == deletes
    midstream = "-p tcp ! --syn -m conntrack --ctstate NEW,INVALID"
    hooked = [f"iptables -I {hook} {midstream} -j LABCTL-x" for hook in ("FORWARD", "INPUT")]
    made = ["iptables -N LABCTL-x", *(f"iptables -A LABCTL-x {rule}" for rule in rules), *hooked] if rules else []
    assert commands(plan) == made + deletes


@pytest.mark.parametrize(
    ("spec", "answers"),
    [
        ({"to": "server"}, [["10.0.1.3"]]),
        ({"to": ["dead", "server", "192.0.2.1"]}, [["dead", "10.0.1.3", "192.0.2.1"]]),
        ({"to": "router"}, [["10.0.1.2", "10.0.2.2"]]),
        ({"in_turn": ["server", ["dead", "client"], "again", "unknown"]}, [["10.0.1.3"], ["dead", "10.0.2.3"], "again", "unknown"]),
        ({"fails": "silent"}, ["silent"]),
    ],
)
def test_resolve(spec: dict[str, Any], answers: list[Any]) -> None:
    plan = planned("resolve", {"query": "Service.lab", **spec}, "client")
    request = plan.request()
    assert (request["type"], request["name"], request["answers"]) == ("dns", "service.lab", answers)
    assert commands(plan) == [
        "iptables -t nat -N LABCTL-x",
        "iptables -t nat -A LABCTL-x -p udp -j REDIRECT --to-ports {port}",
        "iptables -t nat -I OUTPUT -p udp --dport 53 -m string --algo bm --icase --hex-string |07|service|03|lab|00| -j LABCTL-x",
    ]


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("reset", {"port": 0}, "greater than or equal to 1"),
    ("expire", {}, "expire does not know connections of all; write protocol: tcp or protocol: udp"),
    ("expire", {"protocol": "udp", "then": "drop"}, "it is for protocol: tcp"),
    ("expire", {"protocol": "tcp", "flags": "syn"}, "expire is about whole connections"),
    ("resolve", {"query": "a.lab"}, "resolve needs to:, in_turn: or fails:, and this one has none of them"),
    ("resolve", {"query": "a.lab", "to": "server", "fails": "again"}, "and not both to and fails"),
    ("resolve", {"query": "a.lab", "to": "unknown"}, "a name does not resolve to unknown; write fails: unknown"),
    ("resolve", {"query": "a.lab", "in_turn": [["again", "server"]]}, "again is a whole answer and stands alone"),
    ("resolve", {"query": "a.lab", "in_turn": "server"}, "write a list with what each look-up gets"),
    ("resolve", {"query": "a.lab", "fails": "silent", "late": "1s"}, "no answer at all cannot be late"),
    ("resolve", {"query": "a b", "to": "server"}, "pattern"),
]


@pytest.mark.parametrize(("kind", "spec", "words"), REFUSED)
def test_refused(kind: str, spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        planned(kind, spec, "router")
    assert words in str(caught.value)


IMPOSSIBLE: list[tuple[str, dict[str, Any], str, str]] = [
    ("masquerade", {"network": "server-net"}, "server", "put masquerade at a router"),
    ("masquerade", {"network": "nowhere"}, "router", "router is not on nowhere; write network: server-net or client-net"),
    ("expire", {"protocol": "tcp"}, "client", "client keeps nobody's connections; put expire at a router"),
    ("reset", {"port": 80, "from": "client", "to": "client"}, "client", "nothing goes from client to itself"),
    ("reset", {"port": 80, "from": "client", "to": "server"}, "powerpc", "passes powerpc; put the fault at one of them or at a router"),
    ("resolve", {"query": "server", "to": "client"}, "client", "server is a host of the lab .* use another name, like server.lab"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "at", "words"), IMPOSSIBLE)
def test_impossible(kind: str, spec: dict[str, Any], at: str, words: str) -> None:
    with pytest.raises(Impossible, match=words):
        planned(kind, spec, at)


def test_resolve_names_the_hosts_that_must_exist() -> None:
    spec = {"query": "a.lab", "in_turn": ["server", ["dead", "10.0.0.9", "nobody"], "again"]}
    assert planned("resolve", {"query": "a.lab", "to": "server"}, "client").kind == "resolve"
    from labctl.faults.resolve import Resolve

    assert Resolve.model_validate(spec).hosts() == ("server", "nobody")


def test_expire_offers_what_it_takes() -> None:
    """What documents, schema and help say of it comes from its fields: no key that is always refused, and that it needs a protocol."""
    fields = FAULTS["expire"].model_fields
    assert [field.alias or name for name, field in fields.items()] == [
        "protocol", "family", "from", "to", "sport", "dport", "then"
    ]  # fmt: skip
    assert [name for name, field in fields.items() if field.is_required()] == ["protocol"]
    for protocol in get_args(fields["protocol"].annotation):
        planned("expire", {"protocol": protocol, "sport": 1, "dport": "2-3", "from": "client", "to": "server"}, "router")
