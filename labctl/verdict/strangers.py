"""Ports and addresses that nothing in a run has: where an expectation holds as nothing is there, they may be mistyped. Pure.

That nothing came to port 65432 proves something; that nothing came to port 65423, which nobody ever spoke of, proves nothing.
What is honest must not be called a slip of the pen. So a port or an address is known when anything at all in the whole run
has it:

- a packet of any capture, at any time and at any host, or the packet that an ICMP error quotes: what was dropped on its way is
  in the capture of a host before that place, and what an earlier step showed may be missing in a later one;
- a socket of any sample: a server to which nothing came listened all the same;
- a word of the scenario but for its expectations: what a program was told to send, and whose own kernel did not let it, is in
  its arguments; what a fault is to keep away is in the fault.

Only what is in none of them is strange. Nothing is said of a filter that negates, as there an unknown value selects more and
not less; of alternatives only when all of them are strange, as a list of ports that must not be used is honest when one of
them is in use.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from labctl.evidence.record import Evidence
from labctl.scenario.model import Scenario

# The port of the bundled programs when their arguments name none (images/programs/options.py).
DEFAULT_PORT = 65432

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'')
_NEGATED = re.compile(r"!|\bnot\b|\bne\b|\ball_ne\b|\bany_ne\b|\bxor\b")
_EITHER = re.compile(r"\|\||\bor\b|\bin\b")
_SAYS = re.compile(
    r"\b(?:(?:tcp|udp)\.(?P<port>port|srcport|dstport)|ip(?:v6)?\.(?P<address>addr|src|dst))\s*"
    r"(?:(?:===?|eq|any_eq|all_eq)\s*(?P<one>[\w.:]+)(?![\w.:/])|in\s*\{(?P<some>[^}]*)\})"
)


def strangers(filter_: str, evidence: Evidence, scenario: Scenario | None) -> str | None:
    """What to say of a display filter that selects nothing because it asks for what nobody in the run has; else None."""
    text = _QUOTED.sub(" ", filter_)
    if _NEGATED.search(text):
        return None
    asked = [(bool(match["port"]), value) for match in _SAYS.finditer(text) for value in _values(match)]
    named = _named(scenario)
    strange = [pair for pair in asked if not _is_known(*pair, evidence, named)]
    if not strange or (_EITHER.search(text) and len(strange) < len(asked)):
        return None
    return _sentence(strange)


def strange_port(port: int, evidence: Evidence, scenario: Scenario | None) -> str | None:
    """What to say of a port that nobody in the run has; None when somebody has it."""
    return None if _is_known(True, str(port), evidence, _named(scenario)) else _sentence([(True, str(port))])


def _values(match: re.Match[str]) -> Iterable[str]:
    if match["one"] is not None:
        return [match["one"]]
    return [word for word in re.split(r"[,\s]+", match["some"]) if word]


def _is_known(is_port: bool, value: str, evidence: Evidence, named: str) -> bool:
    """Whether anything in the run, or that the scenario `named`, has a port or an address; what is neither counts as known."""
    if is_port:
        if not value.isdecimal():
            return True
        port = int(value)
        spans = re.findall(r"(?<![\w.:])(\d{1,5})[:-](\d{1,5})(?![\w.:])", named)
        spoken = re.search(rf"(?<!\d){port}(?!\d)", named) or any(int(a) <= port <= int(b) for a, b in spans)
        return port == DEFAULT_PORT or port in evidence.ports or bool(spoken)
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return True
    return str(address) in evidence.parties or value in named


def _named(scenario: Scenario | None) -> str:
    """Everything that the scenario says but for what it expects."""
    steps = scenario.steps if scenario is not None else ()
    return "\n".join(step.model_dump_json(exclude={"expect", "name"}) for step in steps)


def _sentence(strange: list[tuple[bool, str]]) -> str:
    what = " or ".join(dict.fromkeys(f"{'port' if is_port else 'address'} {value}" for is_port, value in strange))
    return f"no packet, socket, program or fault of this run has {what}: is it mistyped?"
