# ruff: noqa: E501  commands and messages stand here as they are shown, on one line
"""drop and reject: what is written and the exact iptables commands, and what is refused with which words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError
from sites import commands, planned, site

from labctl.faults import FAULTS
from labctl.faults.base import Impossible
from labctl.faults.cycle import cycles

NEVER = "2147483647"
TCP = {"protocol": "tcp", "dport": 80}

# Which packets go into the chain: (fault, at, the hook commands behind `-I`, without the jump).
HOOKS: list[tuple[dict[str, Any], str, list[str]]] = [
    ({}, "server", ["INPUT"]),
    ({}, "router", ["FORWARD"]),
    ({"to": "server"}, "client", ["OUTPUT -d 10.0.1.3"]),
    ({"from": "client"}, "server", ["INPUT -s 10.0.2.3"]),
    ({"to": "server"}, "server", ["INPUT -d 10.0.1.3"]),
    ({"direction": "out"}, "server", ["OUTPUT"]),
    ({"direction": "in", "to": "router"}, "router", ["INPUT -d 10.0.1.2,10.0.2.2"]),
    (TCP, "server", ["INPUT -p tcp --dport 80"]),
    ({"protocol": "udp", "sport": "8000-8010"}, "server", ["INPUT -p udp --sport 8000:8010"]),
    ({"protocol": "udp", "sport": "0100-00200"}, "server", ["INPUT -p udp --sport 100:200"]),
    ({**TCP, "from": "client", "to": ["server", "powerpc"]}, "router",
     ["FORWARD -s 10.0.2.3 -d 10.0.1.3,10.0.3.3 -p tcp --dport 80"]),
    ({"protocol": "tcp", "flags": "syn"}, "server", ["INPUT -p tcp --tcp-flags SYN SYN"]),
    ({"protocol": "tcp", "flags": "syn,!ack"}, "server", ["INPUT -p tcp --tcp-flags SYN,ACK SYN"]),
    ({"protocol": "tcp", "flags": ["!SYN", "!fin"]}, "server", ["INPUT -p tcp --tcp-flags SYN,FIN NONE"]),
    ({"protocol": "icmp", "icmp_type": "echo-request"}, "server", ["INPUT -p icmp --icmp-type 8"]),
    ({"protocol": "icmp", "icmp_type": "3/4"}, "server", ["INPUT -p icmp --icmp-type 3/4"]),
    ({"protocol": "icmp", "icmp_type": "003/04"}, "server", ["INPUT -p icmp --icmp-type 3/4"]),
    ({"protocol": "icmp", "icmp_type": 11}, "server", ["INPUT -p icmp --icmp-type 11"]),
    ({"state": ["new", "related"]}, "server", ["INPUT -m conntrack --ctstate NEW,RELATED"]),
    ({**TCP, "direction": "both"}, "server", ["INPUT -p tcp --dport 80", "OUTPUT -p tcp --sport 80"]),
    ({**TCP, "to": "server", "direction": "both"}, "client",
     ["OUTPUT -d 10.0.1.3 -p tcp --dport 80", "INPUT -s 10.0.1.3 -p tcp --sport 80"]),
    ({**TCP, "to": "server", "direction": "both"}, "router",
     ["FORWARD -d 10.0.1.3 -p tcp --dport 80", "FORWARD -s 10.0.1.3 -p tcp --sport 80"]),
    ({"direction": "both"}, "router", ["FORWARD"]),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "at", "hooks"), HOOKS)
def test_the_hook_says_which_packets(spec: dict[str, Any], at: str, hooks: list[str]) -> None:
    assert commands(planned("drop", spec, at)) == [
        "iptables -N LABCTL-x",
        "iptables -A LABCTL-x -j DROP",
        *(f"iptables -I {hook} -j LABCTL-x" for hook in hooks),
    ]


def nth(every: int, packet: int) -> str:
    return f"-m statistic --mode nth --every {every} --packet {packet}"


# Which of them are touched: (fault, the rules of the chain).
PICKS: list[tuple[dict[str, Any], list[str]]] = [
    ({"nth": 3}, [f"-m statistic --mode nth --every {NEVER} --packet 2 -j DROP"]),
    ({"every": 3}, ["-m statistic --mode nth --every 3 --packet 2 -j DROP"]),
    ({"first": 2}, [
        f"-m statistic --mode nth --every {NEVER} --packet 2 -m recent --name LABCTL-x --mask 0.0.0.0 --set -j RETURN",
        "-m recent --name LABCTL-x --mask 0.0.0.0 ! --rcheck -j DROP",
    ]),
    ({"probability": "30%", "seed": 9}, [f"{nth(*counted)} -j DROP" for part in cycles(0.3, "9") for counted in part.rules()]),
    ({"probability": "90%", "seed": 9}, [
        *(f"{nth(*counted)} -j RETURN" for part in cycles(1 - 0.9, "9") for counted in part.rules()), "-j DROP",
    ]),
    ({"above": "100/s"}, ["-m hashlimit --hashlimit-above 100/sec --hashlimit-burst 5 --hashlimit-name LABCTL-x -j DROP"]),
    ({"above": "5/m", "burst": 9}, ["-m hashlimit --hashlimit-above 5/min --hashlimit-burst 9 --hashlimit-name LABCTL-x -j DROP"]),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "rules"), PICKS)
def test_the_chain_says_which_of_them(spec: dict[str, Any], rules: list[str]) -> None:
    plan = planned("drop", spec, "server")
    assert commands(plan) == [
        "iptables -N LABCTL-x", *(f"iptables -A LABCTL-x {rule}" for rule in rules), "iptables -I INPUT -j LABCTL-x",
    ]  # fmt: skip


def test_a_probability_falls_by_its_own_seed_or_by_the_runs() -> None:
    """With a seed of its own it is the same in every run; without one the run's seed, the host and its name decide."""
    def rules(name: str, run_seed: int, **spec: Any) -> list[str]:
        place = replace(site("server"), seed=run_seed)
        plan = FAULTS["drop"].model_validate({"probability": "30%", **spec}).plan(place, name)
        return [c for c in commands(plan) if "--every" in c]

    assert rules("x", 1, seed=9) == rules("x", 2, seed=9)
    assert rules("x", 1) == rules("x", 1)
    assert rules("x", 1) != rules("x", 2)
    assert [r.split()[4:] for r in rules("x", 1)] != [r.split()[4:] for r in rules("y", 1)]


@pytest.mark.parametrize(
    ("answer", "four", "six"),
    [
        ("tcp-reset", "-p tcp -j REJECT --reject-with tcp-reset", "-p tcp -j REJECT --reject-with tcp-reset"),
        ("icmp-net-unreachable", "-j REJECT --reject-with icmp-net-unreachable", "-j REJECT --reject-with icmp6-no-route"),
        ("icmp-host-unreachable", "-j REJECT --reject-with icmp-host-unreachable", "-j REJECT --reject-with icmp6-addr-unreachable"),
        ("icmp-port-unreachable", "-j REJECT --reject-with icmp-port-unreachable", "-j REJECT --reject-with icmp6-port-unreachable"),
        ("icmp-admin-prohibited", "-j REJECT --reject-with icmp-admin-prohibited", "-j REJECT --reject-with icmp6-adm-prohibited"),
    ],
)  # fmt: skip
def test_reject_says_no_in_the_words_of_each_family(answer: str, four: str, six: str) -> None:
    assert commands(planned("reject", {"protocol": "tcp", "with": answer}, "server", dual=True)) == [
        "iptables -N LABCTL-x", f"iptables -A LABCTL-x {four}", "ip6tables -N LABCTL-x", f"ip6tables -A LABCTL-x {six}",
        "iptables -I INPUT -p tcp -j LABCTL-x", "ip6tables -I INPUT -p tcp -j LABCTL-x",
    ]  # fmt: skip


@pytest.mark.parametrize(("family", "tool"), [("ipv4", "iptables"), ("ipv6", "ip6tables")])
def test_a_family_leaves_the_other_alone(family: str, tool: str) -> None:
    """With `family:` a fault in a lab with both touches packets of that one only."""
    plan = planned("drop", {**TCP, "family": family}, "server", dual=True)
    assert {change.do[0] for change in plan.changes} == {tool}


def test_a_family_that_cannot_be_is_refused() -> None:
    """IPv6 in a lab without it, and a protocol of the other family, are refused with what to write instead."""
    with pytest.raises(Impossible, match="family: ipv6 needs IPv6, and this lab has only IPv4; leave family: out"):
        planned("drop", {"family": "ipv6"}, "server")
    with pytest.raises(ValidationError, match="protocol icmp is never in ipv6; leave family: out"):
        planned("drop", {"protocol": "icmp", "family": "ipv6"}, "server", dual=True)


def test_both_families_are_filled_before_either_is_hooked_and_undone_exactly() -> None:
    """`ahead` is where the hooks begin, and each change is undone by the same words."""
    plan = planned("drop", {"first": 2, "direction": "both"}, "server", dual=True)
    assert plan.ahead == 6
    assert all("-I" in change.do for change in plan.changes[plan.ahead :])
    assert not any("-I" in change.do for change in plan.changes[: plan.ahead])
    opposite = {"-N": "-X", "-A": "-D", "-I": "-D"}
    for change in plan.changes:
        assert change.undo == tuple(opposite.get(word, word) for word in change.do)
    assert any("::" in change.do for change in plan.changes)  # the mask of IPv6
    assert [(c.tool, c.table, c.chain) for c in plan.counters] == [
        ("iptables", "filter", "LABCTL-x"),
        ("ip6tables", "filter", "LABCTL-x"),
    ]


def test_icmpv6_is_its_own_protocol() -> None:
    plan = planned("drop", {"protocol": "icmpv6", "icmp_type": "packet-too-big"}, "server", dual=True)
    assert commands(plan)[-1] == "ip6tables -I INPUT -p icmpv6 --icmpv6-type 2 -j LABCTL-x"


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("drop", {"dport": 80}, "protocol all has no ports; write protocol: tcp or protocol: udp"),
    ("drop", {**TCP, "dport": "80-"}, "'80-' is no port; write a number from 1 to 65535 or a range like 8000-8010"),
    ("drop", {**TCP, "dport": "-80"}, "'-80' is no port"),
    ("drop", {**TCP, "dport": "80-81-82"}, "'80-81-82' is no port"),
    ("drop", {**TCP, "sport": "\u0663"}, "is no port"),
    ("drop", {**TCP, "sport": "\uff18\uff10"}, "is no port"),
    ("drop", {**TCP, "dport": "80\n"}, "is no port"),
    ("drop", {**TCP, "dport": 0}, "0 is no port"),
    ("drop", {**TCP, "dport": "9" * 5000}, f"'{'9' * 40}' is no port"),
    ("drop", {**TCP, "dport": "90-80"}, "the port range 90-80 runs backwards; write 80-90"),
    ("drop", {"flags": "syn"}, "protocol all has no flags; write protocol: tcp"),
    ("drop", {"protocol": "tcp", "flags": "sin"}, "'sin' is no TCP flag; write some of fin, syn, rst, psh, ack, urg"),
    ("drop", {"protocol": "tcp", "flags": ""}, "this names none, and every packet would match; write words like syn, or leave the key out"),
    ("drop", {"protocol": "tcp", "flags": [" , "]}, "this names none, and every packet would match"),
    ("drop", {"state": []}, "this names none, and every packet would match"),
    ("drop", {"from": []}, "this list names no host, and nothing would be left out; write one, or leave the key out"),
    ("drop", {"to": []}, "this list names no host"),
    ("drop", {"protocol": "tcp", "flags": "syn,!syn"}, "flags names syn twice; write syn (it is set) or !syn (it is not)"),
    ("drop", {"icmp_type": "8"}, "protocol all has no icmp_type; write protocol: icmp or protocol: icmpv6"),
    ("drop", {"protocol": "icmp", "icmp_type": "eco-request"}, "did you mean echo-request?"),
    ("drop", {"protocol": "icmp", "icmp_type": "packet-too-big"}, "icmp has no packet-too-big; write icmp_type: fragmentation-needed"),
    ("drop", {"protocol": "icmpv6", "icmp_type": "fragmentation-needed"}, "write icmp_type: packet-too-big"),
    ("drop", {"protocol": "icmpv6", "icmp_type": "source-quench"}, "icmpv6 has no source-quench; write protocol: icmp"),
    ("drop", {"protocol": "icmp", "icmp_type": "3/400"}, "at most 255"),
    ("drop", {"protocol": "icmp", "icmp_type": "3/" + "4" * 5000}, f"and 3/{'4' * 38} is more; write one like 3/4"),
    ("drop", {"protocol": "icmp", "icmp_type": "\u0663"}, "is no type of icmp; write a name like echo-request"),
    ("drop", {"state": "open"}, "'open' is no state; write some of new, established, related, invalid, untracked"),
    ("drop", {"from": "client", "to": "client"}, "from and to are both client"),
    ("drop", {"nth": 1, "every": 2}, "nth and every select packets each in its own way; write one of them, or two faults"),
    ("drop", {"burst": 5}, "write above as well, like above: 100/s"),
    ("drop", {"seed": 5}, "seed repeats what is left to chance, and nothing is; write probability as well"),
    ("drop", {"above": "100"}, "write a number and a unit, like 100/s, 10/m or 5/h"),
    ("drop", {"above": "20000/s"}, "a rate of packets is from 1/h to 10000/s"),
    ("drop", {"above": "9" * 5000 + "/s"}, f"a rate of packets is from 1/h to 10000/s, and {'9' * 40} is not"),
    ("drop", {"above": "0/s"}, "a rate of packets is from 1/h to 10000/s"),
    ("drop", {"above": "1/h", "burst": 25}, "the kernel keeps credit for a day, and 25 packets at 1/h are more; write burst: 24"),
    ("drop", {"protocol": "icmp", "icmp_type": "8", "direction": "both"}, "those have another icmp_type"),
    ("drop", {"probability": "0%"}, "greater than 0"),
    ("drop", {"every": 1}, "greater than or equal to 2"),
    ("reject", {"with": "tcp-reset"}, "with: tcp-reset answers TCP only; write protocol: tcp"),
    ("reject", {"protocol": "tcp", "flags": "rst", "with": "tcp-reset"}, "no reset is answered with a reset"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "words"), REFUSED, ids=[words for _, _, words in REFUSED])
def test_contradictions_are_refused_with_what_would_be_right(kind: str, spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        planned(kind, spec, "server")
    assert words in str(caught.value)


IMPOSSIBLE: list[tuple[dict[str, Any], str, str]] = [
    ({"protocol": "icmpv6"}, "server", "this lab has only IPv4; write protocol: icmp"),
    ({"direction": "forward"}, "server", "server forwards nothing; write direction: in or out, or put the fault at a router"),
    ({"direction": "in", "to": "client"}, "server", "packets to client do not arrive at server; write direction: out"),
    ({"direction": "out", "from": "client"}, "server", "packets from client are not sent by server; write direction: in"),
    ({"to": "router"}, "router", "what router gets itself is not forwarded; write direction: in"),
    ({"from": "router"}, "router", "what router sends itself is not forwarded; write direction: out"),
]


@pytest.mark.parametrize(("spec", "at", "words"), IMPOSSIBLE)
def test_what_no_packet_could_match_is_refused_before_the_run(spec: dict[str, Any], at: str, words: str) -> None:
    with pytest.raises(Impossible, match=words):
        planned("drop", spec, at)


def test_reject_with_what_icmpv6_does_not_have() -> None:
    with pytest.raises(Impossible, match="ICMPv6 has no icmp-host-prohibited; write with: icmp-admin-prohibited"):
        planned("reject", {"with": "icmp-host-prohibited"}, "server", dual=True)


@pytest.mark.parametrize("answer", ["icmp6-policy-fail", "icmp6-reject-route"])
def test_reject_with_what_only_icmpv6_has(answer: str) -> None:
    """In a lab with both families it is to be said that IPv4 goes on as before; in one with IPv4 only there is no such answer."""
    six = commands(planned("reject", {"with": answer, "family": "ipv6"}, "server", dual=True))
    assert six[1] == f"ip6tables -A LABCTL-x -j REJECT --reject-with {answer}"
    for dual, more in ((True, ", or family: ipv6$"), (False, "$")):
        with pytest.raises(Impossible, match=f"ICMP has no {answer}; write with: icmp-admin-prohibited{more}"):
            planned("reject", {"with": answer}, "server", dual)


@pytest.mark.parametrize("answer", ["icmp-proto-unreachable", "icmp-net-prohibited", "icmp-host-prohibited"])
def test_what_a_refusal_of_an_answer_names_is_taken(answer: str) -> None:
    """In a lab with both families the answer is there for IPv4, once that is said."""
    with pytest.raises(Impossible, match=f"ICMPv6 has no {answer}; write with: icmp-admin-prohibited, or family: ipv4$"):
        planned("reject", {"with": answer}, "server", dual=True)
    assert len(commands(planned("reject", {"with": answer, "family": "ipv4"}, "server", dual=True))) == 3
    with pytest.raises(Impossible, match=f"ICMPv6 has no {answer}; write with: icmp-admin-prohibited$"):
        planned("reject", {"with": answer, "family": "ipv6"}, "server", dual=True)
