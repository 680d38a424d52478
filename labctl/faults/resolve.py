"""resolve: what a program hears when it looks a name up with getaddrinfo(3).

A name resolves to a dead address first, changes from look-up to look-up, does not exist (NXDOMAIN: EAI_NONAME), cannot be
resolved now (SERVFAIL: EAI_AGAIN; RFC 1035, 4.1.1), or is answered late or never: later than the resolver's own limit
(resolv.conf(5), timeout and attempts; in labctl's labs 1 s, once) is EAI_AGAIN as well. The agent answers for this one name
in the host's network namespace; every other name is resolved as before. getaddrinfo puts several addresses in an order of
its own (RFC 6724; gai.conf(5)): the one nearest to the host's own comes first, so that `dead`, a free address of the host's
own network, stands in front of one in another network.
"""

from __future__ import annotations

import ipaddress
from dataclasses import asdict
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from labctl.faults.base import Fault, FaultPlan, Impossible, Site
from labctl.faults.chain import Chain, chains
from labctl.units import Duration

DEAD = "dead"
FAILURES = ("unknown", "again", "silent")


def _answer(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _answers(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError("write a list with what each look-up gets, like [server, [dead, server], unknown]")
    return tuple(_answer(item) for item in value)


_NAMES_SCHEMA: dict[str, Any] = {"type": ["array", "string"], "items": {"type": "string"}, "minItems": 1}
Answer = Annotated[tuple[str, ...], BeforeValidator(_answer), Field(json_schema_extra=_NAMES_SCHEMA)]
Answers = Annotated[
    tuple[tuple[str, ...], ...],
    BeforeValidator(_answers),
    Field(json_schema_extra={"type": "array", "items": _NAMES_SCHEMA, "minItems": 1}),
]


def _is_address(word: str) -> bool:
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True


class Resolve(Fault):
    kind: ClassVar[str] = "resolve"
    summary: ClassVar[str] = "A name resolves to something else, in turns, late, or not at all."

    query: str = Field(
        pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*$",
        max_length=253,
        description="The name that is looked up, like service.lab; no host of the lab.",
    )
    to: Answer = Field(
        default=(), description="What it resolves to: hosts, addresses, or dead (an address that nobody has)."
    )
    in_turn: Answers = Field(
        default=(), description="What each look-up gets, the last for ever; unknown, again and silent as well."
    )
    fails: Literal["unknown", "again", "silent"] | None = Field(
        default=None, description="No such name (EAI_NONAME), cannot say now (EAI_AGAIN), or no answer at all."
    )
    late: Duration = Field(default=0.0, le=60, description="How long every answer takes.")

    @model_validator(mode="after")
    def _says_what_is_heard_once(self) -> Resolve:
        given = [key for key in ("to", "in_turn", "fails") if getattr(self, key)]
        if len(given) != 1:
            had = f"not both {' and '.join(given)}" if given else "this one has none of them"
            raise ValueError(f"resolve needs to:, in_turn: or fails:, and {had}")
        if self.late and self.fails == "silent":
            raise ValueError("no answer at all cannot be late; leave late: out, or write to: or fails: again")
        for answer in self._turns:
            words = [word for word in answer if word in FAILURES]
            if words and len(answer) > 1:
                raise ValueError(f"{words[0]} is a whole answer and stands alone; write it as an entry of in_turn:")
            if words and self.to:
                raise ValueError(f"a name does not resolve to {words[0]}; write fails: {words[0]}")
        return self

    @property
    def _turns(self) -> tuple[tuple[str, ...], ...]:
        return self.in_turn or ((self.to,) if self.to else ((str(self.fails),),))

    def hosts(self) -> tuple[str, ...]:
        words = dict.fromkeys(word for answer in self._turns for word in answer)
        return tuple(word for word in words if word not in (DEAD, *FAILURES) and not _is_address(word))

    def plan(self, site: Site, name: str) -> FaultPlan:
        """A rule that takes the queries for this name to the agent, and what the agent answers."""
        if self.query in site.addresses:
            raise Impossible(f"{self.query} is a host of the lab and stands in /etc/hosts, so no server is asked; "
                             f"use another name, like {self.query}.lab")  # fmt: skip
        wire = "".join(f"|{len(label):02x}|{label.lower()}" for label in self.query.split(".")) + "|00|"
        carried = ("-p", "udp", "--dport", "53", "-m", "string", "--algo", "bm", "--icase", "--hex-string", wire)
        redirect = ("-p", "udp", "-j", "REDIRECT", "--to-ports", "{port}")
        made = chains(name, [Chain(4, (redirect,), (("OUTPUT", carried),), "nat")])
        action: dict[str, Any] = {
            "type": "dns",
            "name": self.query.lower(),
            "answers": [self._addresses(site, answer) for answer in self._turns],
            "late_s": self.late,
            "taken": [address for found in site.addresses.values() for address in found],
            "changes": [{"do": list(c.do), "undo": list(c.undo)} for c in made.changes],
            "counters": [asdict(counter) for counter in made.counters],
            "quench": [{"do": list(c.do), "undo": list(c.undo)} for c in made.quench],
            "ahead": made.ahead,
        }
        return FaultPlan(name, self.kind, site.host, "dns", made.changes, made.counters, made.quench, action=action)

    def _addresses(self, site: Site, answer: tuple[str, ...]) -> list[str] | str:
        """What the agent's responder takes: addresses in order, or the word of a failure."""
        if answer[0] in FAILURES:
            return answer[0]
        found: list[str] = []
        for word in answer:
            found += site.addresses.get(word, (word,))
        return found
