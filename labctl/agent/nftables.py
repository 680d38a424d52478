"""The tables that iptables-nft leaves behind: looked at and, when ours and empty, removed (linux/netfilter/nf_tables.h).

The first rule of a table makes iptables-nft create the table with its base chains, and deleting the rule does not take them
away; `iptables-save` then shows an empty `*filter` where there was nothing. The `iptables` command cannot delete a table.
"""

from __future__ import annotations

import errno
import socket
import struct
from pathlib import Path

from .netlink import (
    NETLINK_NETFILTER,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    ask,
    attribute,
    attributes,
    message,
    messages,
)

SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
GET_TABLE, DELETE_TABLE, GET_CHAIN, GET_RULE = 1, 2, 4, 7  # NFT_MSG_*
BATCH_BEGIN, BATCH_END = 0x10, 0x11
TABLE_NAME, CHAIN_TABLE, CHAIN_NAME, CHAIN_HOOK, CHAIN_POLICY, RULE_TABLE = 1, 1, 3, 4, 5, 1
ACCEPT = 1
FAMILIES = {"iptables": int(socket.AF_INET), "ip6tables": int(socket.AF_INET6)}  # NFPROTO_* are the same numbers here
QUEUES = Path("/proc/net/netfilter/nfnetlink_queue")
XTABLES = ("filter", "mangle", "nat", "raw", "security")

Table = tuple[int, str]


def tables() -> frozenset[Table]:
    """(family, name) of the iptables-nft tables that exist in this network namespace; none where there is no nf_tables."""
    found = set()
    for family in FAMILIES.values():
        try:
            answers = _dump(GET_TABLE, family)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.EPROTONOSUPPORT, errno.EPERM):
                return frozenset()
            raise
        names = (attributes(body, 4)[TABLE_NAME].rstrip(b"\0").decode() for body in answers)
        found |= {(family, name) for name in names if name in XTABLES}
    return frozenset(found)


def chains() -> list[tuple[int, str, str]]:
    """(family, table, chain) of every chain in the iptables-nft tables of this network namespace."""
    found = []
    for family in {family for family, _ in tables()}:
        for body in _dump(GET_CHAIN, family):
            chain = attributes(body, 4)
            table, name = (chain[key].rstrip(b"\0").decode() for key in (CHAIN_TABLE, CHAIN_NAME))
            if table in XTABLES:
                found.append((family, table, name))
    return found


def remove_new(before: frozenset[Table]) -> list[Table]:
    """Remove every iptables table that was not there `before` and in which nothing is left; answers with those removed.

    One with base chains stays while a program has a queue of packets here (another agent's link fault): when a hook goes the
    kernel drops what all queues of the namespace hold (net/netfilter/nfnetlink_queue.c, nfqnl_nf_hook_drop).
    """
    removed = []
    for family, name in sorted(tables() - before):
        chains = [c for c in _chains(family) if c[CHAIN_TABLE].rstrip(b"\0").decode() == name]
        if _is_empty(family, name, chains) and not (chains and has_queues()):
            _delete(family, name)
            removed.append((family, name))
    return removed


def has_queues() -> bool:
    """Whether any program has a queue of packets (NFQUEUE) in this network namespace; False where the kernel has none."""
    try:
        return bool(QUEUES.read_text(encoding="ascii").strip())
    except OSError:
        return False


def _chains(family: int) -> list[dict[int, bytes]]:
    return [attributes(body, 4) for body in _dump(GET_CHAIN, family)]


def _is_empty(family: int, name: str, chains: list[dict[int, bytes]]) -> bool:
    """No rules, and no chains but base chains that accept."""
    for chain in chains:
        policy = struct.unpack("!I", chain[CHAIN_POLICY])[0] if CHAIN_POLICY in chain else ACCEPT
        if CHAIN_HOOK not in chain or policy != ACCEPT:
            return False
    rules = _dump(GET_RULE, family, attribute(RULE_TABLE, name.encode() + b"\0"))
    return not any(attributes(body, 4)[RULE_TABLE].rstrip(b"\0").decode() == name for body in rules)


def _body(family: int, resource: int = 0) -> bytes:
    return struct.pack("!BBH", family, 0, resource)


def _dump(kind: int, family: int, extra: bytes = b"") -> list[bytes]:
    request = message(SUBSYSTEM << 8 | kind, NLM_F_REQUEST | NLM_F_DUMP, _body(family) + extra)
    return [body for _, body in ask(NETLINK_NETFILTER, request)]


def _delete(family: int, name: str) -> None:
    """One transaction that deletes one table. Raises OSError."""
    body = _body(family) + attribute(TABLE_NAME, name.encode() + b"\0")
    batch = (
        message(BATCH_BEGIN, NLM_F_REQUEST, _body(socket.AF_UNSPEC, SUBSYSTEM))
        + message(SUBSYSTEM << 8 | DELETE_TABLE, NLM_F_REQUEST | NLM_F_ACK, body)
        + message(BATCH_END, NLM_F_REQUEST, _body(socket.AF_UNSPEC, SUBSYSTEM))
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as channel:
        channel.settimeout(5.0)
        channel.send(batch)
        for kind, body in messages(channel.recv(1 << 16)):
            if kind == NLMSG_ERROR and (number := -struct.unpack_from("=i", body)[0]):
                raise OSError(number, f"cannot delete the empty table {name}: {errno.errorcode.get(number, number)}")
