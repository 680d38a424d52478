"""A name that did not resolve: what was asked of the name server, and what it answered."""

from __future__ import annotations

import re

from labctl.evidence.packets import Packet
from labctl.faults.resolve import Resolve
from labctl.verdict.explain.case import Case, count, lasting, numbers

# How tshark writes a DNS message (packet-dns.c): `Standard query [response] 0xID [RCODE] TYPE NAME …`.
_QUESTION = re.compile(r"Standard query 0x([0-9a-f]{4}) (\S+) (\S+)")
_ANSWER = re.compile(r"Standard query response 0x([0-9a-f]{4}) ")
NO_SUCH, FAILURE = "No such name", "Server failure"


def explain(case: Case) -> str | None:
    """Why getaddrinfo() found nothing."""
    if case.op != "getaddrinfo" or case.errno is None:
        return None
    asked = [p for p in case.packets if _QUESTION.match(p.info)]
    answers = [p for p in case.packets if _ANSWER.match(p.info)]
    if not asked:
        return None
    match = _QUESTION.match(asked[-1].info)
    assert match is not None
    name = match[3]
    asked = [p for p in asked if (m := _QUESTION.match(p.info)) and m[3] == name]
    went = f"{count(asked, 'question')} about {name} went to the name server ({numbers(asked)})"
    ids = {m[1] for p in asked if (m := _QUESTION.match(p.info))}
    answers = [p for p in answers if (m := _ANSWER.match(p.info)) and m[1] in ids]
    why = resolving(case, name)
    for errno, words in (("EAI_NONAME", NO_SUCH), ("EAI_AGAIN", FAILURE)):
        said = [p for p in answers if words in p.info]
        if case.errno == errno and said:
            return f'{went}; it answered "{words}" ({numbers(said)}){why}.'
    if case.errno == "EAI_AGAIN" and not answers:
        return f"{went}; no answer came, and the resolver gave up after {lasting(case.seconds)}{why}."
    return None


def found(case: Case, with_fault: bool) -> str | None:
    """What a name that was looked up is, and who said so."""
    addresses = case.outcome.get("addresses")
    if not isinstance(addresses, list) or not addresses:
        return None
    questions = [m for p in case.packets if (m := _QUESTION.match(p.info))]
    if not questions:
        return f"it is {', '.join(map(str, addresses))}, and no name server was asked"
    name, ids = questions[-1][3], {m[1] for m in questions}
    answers = [p for p in case.packets if (m := _ANSWER.match(p.info)) and m[1] in ids]
    said = f", as the name server answered ({numbers(answers)})" if answers else ""
    return f"{name} is {', '.join(map(str, addresses))}{said}{resolving(case, name) if with_fault else ''}"


def resolving(case: Case, name: str) -> str:
    """The one fault that answered for a name; nothing when there is none or more than one."""
    found = []
    for fault in case.evidence.faults:
        spec = case.settings(fault)
        if (
            isinstance(spec, Resolve)
            and spec.query.lower() == name.lower()
            and fault.host == case.host
            and fault.packets
        ):
            found += [fault] * fault.in_place(case.start, case.end)
    return f": the fault {found[0].name} on {found[0].host} answers for it" if len(found) == 1 else ""


def late(case: Case) -> str | None:
    """The answer about a name that took long, with its question."""
    asked = {m[1]: (p, m[3]) for p in case.packets if (m := _QUESTION.match(p.info))}
    waits: list[tuple[float, Packet, Packet, str]] = []
    for p in case.packets:
        match = _ANSWER.match(p.info)
        if match and match[1] in asked:
            question, name = asked[match[1]]
            waits.append((p.t - question.t, question, p, name))
    if not waits:
        return None
    wait, question, answer, name = max(waits, key=lambda w: w[0])
    if wait < SLOW_S:
        return None
    return (
        f"the answer about {name} (#{answer.number}) came {lasting(wait)} after its question (#{question.number})"
        f"{resolving(case, name)}"
    )


SLOW_S = 0.05
