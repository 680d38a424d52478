"""Where a capture's own filter makes an expectation hold: that something was not there, and nobody would have seen it.

A capture filter (pcap-filter(7)) and a display filter (wireshark-filter(4)) are two languages. So this is decided by the plain
words of both: nothing is hidden when one alternative of the capture filter asks only for protocols and ports that every packet
that the display filter selects must have. What cannot be told counts as hidden.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from labctl.faults import icmp
from labctl.scenario.model import (
    Expectation,
    IcmpExpectation,
    PacketExpectation,
    RetransmissionExpectation,
    may_be_none,
)
from labctl.scenario.tree import Loc
from labctl.scenario.words import shorten

Finding = tuple[Loc, str]

_HIDDEN = (
    "this may be none, and the capture's own filter ({kept}) may hide what there is; ask here for nothing but what it keeps, "
    "or leave it out"
)


def hidden(expect: Expectation, kept: str) -> Iterator[Finding]:
    """What is asked for, may be none, and might be there without being captured. Yields the place in the expectation and why.

    Not `same`: of that something has to be there, and both hosts capture alike.
    """
    for key in ("packets", "icmp", "retransmissions"):
        for index, entry in enumerate(getattr(expect, key)):
            if may_be_none(entry.count) and not any(
                _implied(part, _said(entry)) for part in re.split(r"\s+or\s+|\s*\|\|\s*", kept.strip())
            ):
                yield (key, index, "count"), _HIDDEN.format(kept=shorten(kept))


_FIELD = re.compile(r"(tcp|udp|icmpv6|icmp|ipv6|ip|arp)\b(\.[a-z_.]+)?\s*(?:(==|eq)\s*(\d+)\s*$)?")
_PORTS = {"port": (), "srcport": ("src port",), "dstport": ("dst port",)}
_PROTOCOLS = {"icmpv6": "icmp6", "ipv6": "ip6"}


def _said(entry: PacketExpectation | IcmpExpectation | RetransmissionExpectation) -> frozenset[str]:
    """What is true of every packet that is asked for, in the words of pcap-filter(7); empty when that cannot be told."""
    if isinstance(entry, IcmpExpectation):
        return frozenset({"icmp6" if entry.type in icmp.V6 and entry.type not in icmp.V4 else "icmp"})
    if isinstance(entry, RetransmissionExpectation):
        return frozenset({"tcp", *([f"port {entry.port}", f"tcp port {entry.port}"] if entry.port else [])})
    if re.search(r"\|\||\bor\b|\bxor\b|\bnot\b|!(?!=)", entry.filter):
        return frozenset()
    found: set[str] = set()
    for term in re.split(r"&&|\band\b", entry.filter):
        match = _FIELD.match(term.strip().removeprefix("(").strip().removesuffix(")"))
        if match is None:
            continue
        protocol = _PROTOCOLS.get(match[1], match[1])
        found.add(protocol)
        name = (match[2] or "").removeprefix(".")
        if match[4] and name in _PORTS:
            ends = [f"{word} {match[4]}" for word in ("port", *_PORTS[name])]
            found |= {*ends, *(f"{protocol} {end}" for end in ends)}
    # An ICMP error is found by the fields of the packet that it quotes as well, and has neither its protocol nor its ports.
    return frozenset(found & {"ip", "ip6", "icmp", "icmp6"} if {"icmp", "icmp6"} & found else found)


def _implied(part: str, said: frozenset[str]) -> bool:
    """Whether everything that one alternative of a capture filter asks for is said."""
    return all(" ".join(word.split()) in said for word in re.split(r"\s+and\s+|\s*&&\s*", part))
