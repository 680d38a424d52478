"""Which packets a fault is about, and the iptables(8) arguments that say so (iptables-extensions(8): tcp, icmp, conntrack)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from labctl.faults import icmp
from labctl.faults.base import Family, Fault, Impossible, Site
from labctl.faults.chain import Match

TCP_FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg")
_FAMILY_OF = {"icmp": "ipv4", "icmpv6": "ipv6"}
_PORTS = re.compile("([0-9]{1,5})(?:-([0-9]{1,5}))?")
STATES = ("new", "established", "related", "invalid", "untracked")


def _as_tuple(value: object) -> object:
    if value == []:
        raise ValueError("this list names no host, and nothing would be left out; write one, or leave the key out")
    return (value,) if isinstance(value, str) else value


def _words(value: object) -> object:
    """`syn,!ack`, `syn !ack` or a list of the words, in lower case."""
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        value = " ".join(value)
    if not isinstance(value, str):
        raise ValueError("write words like syn or a list like [syn, '!ack']")
    words = tuple(value.replace(",", " ").lower().split())
    if not words:
        raise ValueError("this names none, and every packet would match; write words like syn, or leave the key out")
    return words


def _port(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a port is a number from 1 to 65535 or a range like 8000-8010")
    found = _PORTS.fullmatch(str(value))
    ports = [int(number) for number in found.groups() if number] if found else []
    if not ports or not all(1 <= port <= 65535 for port in ports):
        shown = value if isinstance(value, int) else repr(str(value)[:40])
        raise ValueError(f"{shown} is no port; write a number from 1 to 65535 or a range like 8000-8010")
    if ports[0] > ports[-1]:
        raise ValueError(f"the port range {value} runs backwards; write {ports[1]}-{ports[0]}")
    return ":".join(map(str, ports))  # iptables(8) would read a leading 0 as octal


HostNames = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Port = Annotated[str, BeforeValidator(_port), Field(json_schema_extra={"type": ["integer", "string"]})]
_WORDS_SCHEMA: dict[str, Any] = {"type": ["array", "string"], "items": {"type": "string"}}


class Ends(Fault):
    """Base of the faults that are about packets or connections between some ends: which protocol, from and to whom, ports."""

    protocol: Literal["tcp", "udp", "icmp", "icmpv6", "all"] = Field(
        default="all", description="Only packets of this protocol."
    )
    family: Literal["ipv4", "ipv6"] | None = Field(
        default=None, description="Only packets of this address family; both when not given."
    )
    source: HostNames = Field(default=(), alias="from", description="Only packets from these hosts.")
    destination: HostNames = Field(default=(), alias="to", description="Only packets to these hosts.")
    sport: Port | None = Field(default=None, description="Source port or range, TCP and UDP only.")
    dport: Port | None = Field(default=None, description="Destination port or range, TCP and UDP only.")

    @model_validator(mode="after")
    def _has_ends_that_can_be(self) -> Ends:
        if (self.sport or self.dport) and self.protocol not in ("tcp", "udp"):
            raise ValueError(f"protocol {self.protocol} has no ports; write protocol: tcp or protocol: udp")
        if self.family and _FAMILY_OF.get(self.protocol, self.family) != self.family:
            raise ValueError(f"protocol {self.protocol} is never in {self.family}; leave family: out")
        if len(self.source) == 1 and self.source == self.destination:
            raise ValueError(f"from and to are both {self.source[0]}, and a packet to oneself crosses no network; change one")
        return self

    def hosts(self) -> tuple[str, ...]:
        return self.source + self.destination

    def families(self, site: Site) -> tuple[Family, ...]:
        """The address families that the lab has and the protocol can be in. Raises Impossible when there is none."""
        only = self.family or _FAMILY_OF.get(self.protocol)
        usable = tuple(family for family in site.families if only in (None, f"ipv{family}"))
        if not usable:
            asked, instead = (
                ("family: ipv6", "leave family: out") if self.family else (f"protocol {self.protocol}", "write protocol: icmp")
            )
            raise Impossible(f"{asked} needs IPv6, and this lab has only IPv4; {instead}, "
                             "or give its networks enable_ipv6: true")  # fmt: skip
        return usable

    def nobody(self, site: Site) -> Impossible:
        """What to raise when no family has a packet that could match."""
        named = ", ".join(dict.fromkeys((*self.hosts(), site.host)))
        return Impossible(f"{named} have no address family in common, so no packet could match")


class Packets(Ends):
    """Base of the faults that are about some packets: between which ends, and which flags, ICMP type, state."""

    flags: Annotated[tuple[str, ...], BeforeValidator(_words), Field(json_schema_extra=_WORDS_SCHEMA)] = Field(
        default=(),
        description="TCP flags that must be set or, with `!`, unset, like `syn,!ack`; the others do not matter.",
    )
    icmp_type: Annotated[str, BeforeValidator(str)] | None = Field(
        default=None, description="An ICMP type, by name (echo-request) or as type or type/code (3/4)."
    )
    state: Annotated[tuple[str, ...], BeforeValidator(_words), Field(json_schema_extra=_WORDS_SCHEMA)] = Field(
        default=(), description=f"Connection tracking states, one or more of {', '.join(STATES)}."
    )

    @model_validator(mode="after")
    def _fits_its_protocol(self) -> Packets:
        if self.flags and self.protocol != "tcp":
            raise ValueError(f"protocol {self.protocol} has no flags; write protocol: tcp")
        if self.icmp_type is not None:
            if self.protocol not in ("icmp", "icmpv6"):
                raise ValueError(f"protocol {self.protocol} has no icmp_type; write protocol: icmp or protocol: icmpv6")
            icmp.number(self.icmp_type, self.protocol)
        return self

    @model_validator(mode="after")
    def _does_not_contradict_itself(self) -> Packets:
        names = [flag.removeprefix("!") for flag in self.flags]
        for name in names:
            if name not in TCP_FLAGS:
                raise ValueError(f"{name!r} is no TCP flag; write some of {', '.join(TCP_FLAGS)}, each with or without a !")
            if names.count(name) > 1:
                raise ValueError(f"flags names {name} twice; write {name} (it is set) or !{name} (it is not)")
        for state in self.state:
            if state not in STATES:
                raise ValueError(f"{state!r} is no state; write some of {', '.join(STATES)}")
        return self

    def match(self, site: Site, family: Family, answers: bool = False) -> Match | None:
        """The iptables arguments for these packets, or for those that answer them; None when a named host has no address there.

        Several addresses stand in one argument with commas; iptables(8) makes a rule of each pair of them, all at once.
        """
        ends = [site.peers(names, family) for names in (self.source, self.destination)]
        if any(names and not found for names, found in zip((self.source, self.destination), ends, strict=True)):
            return None
        ports = [self.sport, self.dport]
        if answers:
            ends, ports = ends[::-1], ports[::-1]
        words: list[str] = []
        for option, addresses in zip(("-s", "-d"), ends, strict=True):
            words += (option, ",".join(addresses)) if addresses else ()
        words += ("-p", self.protocol) if self.protocol != "all" else ()
        for option, port in zip(("--sport", "--dport"), ports, strict=True):
            words += (option, port) if port else ()
        return (*words, *self._details(family))

    def _details(self, family: Family) -> Match:
        words: list[str] = []
        if self.flags:
            names = [flag.removeprefix("!").upper() for flag in self.flags]
            wanted = [flag.upper() for flag in self.flags if not flag.startswith("!")]
            words += ("--tcp-flags", ",".join(names), ",".join(wanted) or "NONE")
        if self.icmp_type is not None:
            option = "--icmp-type" if family == 4 else "--icmpv6-type"
            words += (option, icmp.number(self.icmp_type, self.protocol))
        if self.state:
            words += ("-m", "conntrack", "--ctstate", ",".join(state.upper() for state in self.state))
        return tuple(words)
