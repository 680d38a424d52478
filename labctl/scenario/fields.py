"""Names that Wireshark knows in display filters: every protocol, and every field of those that people filter by.

The list comes with labctl, so that a misspelt field is found without tshark. It is made from what the lab's own tshark says:
`tshark -G fields | python -m labctl.scenario.fields labctl/scenario/fields.txt.xz`. A field of a protocol whose fields are not
in the list is taken as it is; `labctl check --filters` and the run ask tshark itself.
"""

from __future__ import annotations

import lzma
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from labctl.scenario.words import did_you_mean

LIST = Path(__file__).with_name("fields.txt.xz")
# The protocols whose fields are all in the list; the others are known by name alone.
WHOLE = frozenset(
    [
        "arp", "data", "dhcp", "dns", "eth", "frame", "http", "http2", "icmp", "icmpv6", "ip", "ipv6", "json", "labapp",
        "mptcp", "mysql", "ntp", "pgsql", "quic", "sctp", "tcp", "tls", "udp", "websocket",
    ]
)  # fmt: skip

# wireshark-filter(4): what is no name of a field.
_COMPARES = frozenset(
    ["eq", "ne", "gt", "lt", "ge", "le", "contains", "matches", "any_eq", "any_ne", "all_eq", "all_ne", "in"]
)
_WORDS = _COMPARES | {"and", "or", "xor", "not", "any", "all", "true", "false", "bitand", "bitwise_and"}
_TOKEN = re.compile(r"[=!<>~]+|&&|\|\||[&|]|[A-Za-z_][\w.\-]*|\d[\w.:\-/]*|\S")
_COMPARISON = re.compile(r"[=!<>~]*[=<>~]")
_ADDRESS = re.compile(r"[0-9A-Fa-f]{1,4}(:[0-9A-Fa-f]{0,4})+")


@cache
def known() -> tuple[frozenset[str], frozenset[str]]:
    """Every protocol (and every first part of a field's name), and every field of the protocols in WHOLE."""
    _, protocols, fields = lzma.decompress(LIST.read_bytes()).decode().splitlines()
    return frozenset(protocols.split()), frozenset(fields.split())


def unknown(filter_: str) -> str | None:
    """What to say of the first name in a filter that Wireshark does not know; None when it may know them all.

    `filter_` is without its quoted texts.
    """
    protocols, fields = known()
    for name in _names(filter_):
        protocol = name.partition(".")[0]
        if protocol not in protocols:
            common = did_you_mean(protocol, WHOLE) or did_you_mean(protocol, protocols, cutoff=0.75)
            return f"Wireshark knows no protocol {protocol!r}{common}"
        if protocol in WHOLE and "." in name and name not in fields:
            ours = [field for field in fields if field.startswith(protocol + ".")]
            return f"Wireshark has no field {name!r}{did_you_mean(name, ours, cutoff=0.75)}"
    return None


def _names(filter_: str) -> Iterator[str]:
    """The names of fields and protocols in a filter: not functions, values, or what stands in brackets of a slice or a set."""
    tokens = _TOKEN.findall(_ADDRESS.sub("0", filter_))
    depth = 0
    for position, token in enumerate(tokens):
        before = tokens[position - 1] if position else ""
        after = tokens[position + 1] if position + 1 < len(tokens) else ""
        if token in "[{":
            depth += 1
        elif token in "]}":
            depth -= 1
        elif depth or not (token[0].isalpha() or token[0] == "_") or token in _WORDS:
            continue
        elif after != "(" and before not in _COMPARES and not _COMPARISON.fullmatch(before) and before not in ("$", ":"):
            yield token


def compressed(lines: Iterable[str]) -> bytes:
    """The list as it is shipped, from the output of `tshark -G fields`."""
    rows = [line.rstrip("\n").split("\t") for line in lines]
    names = {row[2] for row in rows if len(row) > 2 and row[0] in ("P", "F")}
    protocols = sorted({name.partition(".")[0] for name in names})
    fields = sorted(name for name in names if "." in name and name.partition(".")[0] in WHOLE)
    note = "# protocols, then the fields of some of them, as the lab's tshark knows them (labctl/scenario/fields.py)"
    return lzma.compress("\n".join([note, " ".join(protocols), " ".join(fields), ""]).encode(), preset=9)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(compressed(sys.stdin))
