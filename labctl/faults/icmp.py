"""ICMP types by name: those of iptables(8) `-p icmp -h` and ip6tables(8) `-p icmpv6 -h` (RFC 792, RFC 1122 3.2.2, RFC 4443)."""

from __future__ import annotations

import difflib
import re

V4: dict[str, str] = {
    "echo-reply": "0",
    "destination-unreachable": "3",
    "network-unreachable": "3/0",
    "host-unreachable": "3/1",
    "protocol-unreachable": "3/2",
    "port-unreachable": "3/3",
    "fragmentation-needed": "3/4",
    "source-route-failed": "3/5",
    "network-prohibited": "3/9",
    "host-prohibited": "3/10",
    "communication-prohibited": "3/13",
    "source-quench": "4",
    "redirect": "5",
    "echo-request": "8",
    "router-advertisement": "9",
    "router-solicitation": "10",
    "time-exceeded": "11",
    "ttl-zero-during-transit": "11/0",
    "ttl-zero-during-reassembly": "11/1",
    "parameter-problem": "12",
    "timestamp-request": "13",
    "timestamp-reply": "14",
}
V6: dict[str, str] = {
    "destination-unreachable": "1",
    "no-route": "1/0",
    "communication-prohibited": "1/1",
    "beyond-scope": "1/2",
    "address-unreachable": "1/3",
    "port-unreachable": "1/4",
    "failed-policy": "1/5",
    "reject-route": "1/6",
    "packet-too-big": "2",
    "time-exceeded": "3",
    "ttl-zero-during-transit": "3/0",
    "ttl-zero-during-reassembly": "3/1",
    "parameter-problem": "4",
    "echo-request": "128",
    "echo-reply": "129",
    "router-solicitation": "133",
    "router-advertisement": "134",
    "neighbour-solicitation": "135",
    "neighbour-advertisement": "136",
    "redirect": "137",
}
# What one protocol calls otherwise than the other.
_TWINS = {
    "fragmentation-needed": "packet-too-big",
    "network-unreachable": "no-route",
    "host-unreachable": "address-unreachable",
}
TWINS = _TWINS | {six: four for four, six in _TWINS.items()}


def number(word: str, protocol: str) -> str:
    """`TYPE` or `TYPE/CODE` of a name, or of numbers as they are. Raises ValueError with what would be right."""
    names, other = (V4, V6) if protocol == "icmp" else (V6, V4)
    if word in names:
        return names[word]
    if re.fullmatch("[0-9]+(/[0-9]+)?", word):
        parts = [part.lstrip("0") or "0" for part in word.split("/")]
        if any(len(part) > 3 or int(part) > 255 for part in parts):
            raise ValueError(f"an ICMP type and code is at most 255, and {word[:40]} is more; write one like 3/4")
        return "/".join(parts)
    if word in other:
        twin = TWINS.get(word)
        right = f"icmp_type: {twin}" if twin in names else f"protocol: {'icmpv6' if protocol == 'icmp' else 'icmp'}"
        raise ValueError(f"{protocol} has no {word}; write {right}")
    near = difflib.get_close_matches(word, names, 1)
    hint = f"did you mean {near[0]}?" if near else "write a name like echo-request, or type/code like 3/4"
    raise ValueError(f"{word[:40]!r} is no type of {protocol}; {hint}")
