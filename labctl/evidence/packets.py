"""Packets as evidence: one tshark call per capture says what every packet is and which filters select it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import isfinite
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from labctl.errors import EvidenceError

# Column name -> Wireshark field. Filters ride along in the same call (tshark 4.4, -e takes expressions).
FIELDS: dict[str, str] = {
    "number": "frame.number",
    "epoch": "frame.time_epoch",
    "interface": "frame.interface_name",
    "length": "frame.len",
    "protocol": "_ws.col.protocol",
    "source": "ip.src",
    "destination": "ip.dst",
    "source6": "ipv6.src",
    "destination6": "ipv6.dst",
    "ttl": "ip.ttl",
    "hop_limit": "ipv6.hlim",
    "ip_id": "ip.id",
    "tcp_sport": "tcp.srcport",
    "tcp_dport": "tcp.dstport",
    "tcp_flags": "tcp.flags",
    "tcp_seq": "tcp.seq",
    "tcp_ack": "tcp.ack",
    "tcp_len": "tcp.len",
    "tcp_window": "tcp.window_size",
    "tcp_stream": "tcp.stream",
    "tcp_raw": "tcp.seq_raw",
    "retransmission": "tcp.analysis.retransmission",
    "zero_window": "tcp.analysis.zero_window",
    "udp_sport": "udp.srcport",
    "udp_dport": "udp.dstport",
    "icmp_type": "icmp.type",
    "icmp_code": "icmp.code",
    "icmp_mtu": "icmp.mtu",
    "icmpv6_type": "icmpv6.type",
    "icmpv6_code": "icmpv6.code",
    "info": "_ws.col.info",
}
SENTINEL = "labctl sentinel"
_NO_CAPTURE_FILTER = "Invalid capture filter"
_WHY_NOT = re.compile(r"valid capture filter \((.+)\)\.$", re.MULTILINE)
_REFUSED = "Some fields aren't valid"


def dissect_argv(filters: Sequence[str]) -> list[str]:
    """The tshark command (without its file) whose output `read_packets` reads."""
    argv = [
        "tshark",
        "-n",
        "-T",
        "fields",
        "-E",
        "occurrence=f",
        "-E",
        "header=y",
        "-o",
        "tcp.relative_sequence_numbers:TRUE",
    ]
    argv += ["-o", "tcp.no_subdissector_on_error:FALSE"]
    for field in FIELDS.values():
        argv += ["-e", field]
    for filter_ in filters:
        argv += ["-e", filter_expression(filter_)]
    return argv


def filter_expression(filter_: str) -> str:
    """A display filter as a field expression that prints a mark where it selects, whatever the filter's own type."""
    return f"({filter_}) && frame"


def join_tables(parts: Sequence[Path], before: Sequence[int], target: Path) -> None:
    """Dissections of captures that were joined, as the dissection of the whole: packets and streams are numbered on.

    Arguments: the parts, how many packets of the whole stand before each (more than are dissected: a capture goes on a little
    after its end sentinel), and where it goes, which may be one of the parts. Raises EvidenceError, OSError.
    """
    number, stream = list(FIELDS).index("number"), list(FIELDS).index("tcp_stream")
    streams = 0
    lines: list[str] = []
    for part, packets in zip(parts, before, strict=True):
        last = streams
        with part.open(encoding="utf-8", errors="replace", newline="\n") as file:
            header = file.readline()
            _check_header(part, header)
            lines += [] if lines else [header]
            for line in file:
                cells = line.rstrip("\n").split("\t")
                try:
                    cells[number] = str(packets + int(cells[number]))
                    if cells[stream]:
                        cells[stream] = str(streams + int(cells[stream]))
                        last = max(last, int(cells[stream]) + 1)
                except (ValueError, IndexError):
                    raise EvidenceError(f"{part} is no dissection: {line[:80]!r}") from None
                lines.append("\t".join(cells) + "\n")
        streams = last
    target.write_text("".join(lines), encoding="utf-8", newline="\n")


def refusal_argv(filter_: str) -> list[str]:
    """The tshark command (without its file) that says why it refuses a filter; of a field expression it says only that."""
    return ["tshark", "-n", "-Y", filter_]


def refusal(said: str) -> str:
    """Why tshark refuses a filter, from what `refusal_argv` said; empty when it did not say."""
    own = "tshark: "
    return next((line.removeprefix(own).rstrip(".") for line in said.splitlines() if line.startswith(own)), "")


def refused_filter(said: str, filters: Sequence[str]) -> str | None:
    """Which filter tshark refused, from what it said, or None when it said something else."""
    if _REFUSED not in said:
        return None
    return next((f for f in filters if filter_expression(f) in said), filters[0] if filters else None)


def refused_capture_filter(said: str) -> str | None:
    """Why dumpcap takes a capture filter for none, from what it said, or None when it said something else."""
    if _NO_CAPTURE_FILTER not in said:
        return None
    why = _WHY_NOT.search(said)
    return why[1] if why else "it is none"


def capture_filter_problem(why: str) -> str:
    """What to say of a capture filter that dumpcap refuses."""
    return f"libpcap refuses this filter: {why}; its words are those of pcap-filter(7), like tcp port 80"


class Packet(NamedTuple):
    """One captured packet. `t` is seconds since the run began; `selected` the positions of the filters that select it.

    `quoted` are the ports, source and destination, of the packet that an ICMP error is about.
    """

    number: int
    t: float
    interface: str
    length: int
    protocol: str
    source: str
    destination: str
    sport: int | None
    dport: int | None
    flags: int | None
    seq: int | None
    ack: int | None
    payload: int | None
    window: int | None
    stream: int | None
    raw_seq: int | None
    retransmission: bool
    icmp: tuple[int, int] | None
    icmpv6: tuple[int, int] | None
    ttl: int | None
    ip_id: str
    info: str
    selected: frozenset[int]
    quoted: tuple[int, int] | None = None

    @property
    def is_tcp(self) -> bool:
        return self.flags is not None

    def has(self, flags: int) -> bool:
        """Whether all the given TCP flags are set (RFC 9293, 3.1)."""
        return self.flags is not None and self.flags & flags == flags

    @property
    def is_icmp_error(self) -> bool:
        """Whether it reports an error, and so quotes the packet that it is about (RFC 792; RFC 1122, 3.2.2; RFC 4443, 2.1)."""
        if self.icmp is not None:
            return self.icmp[0] in (3, 4, 5, 11, 12)
        return self.icmpv6 is not None and self.icmpv6[0] in (1, 2, 3, 4)

    def asks_for(self, address: str) -> bool:
        """Whether it asks for the owner of an address (ARP, RFC 826; neighbour solicitation, RFC 4861, 4.3)."""
        return f"Who has {address}?" in self.info or f"Neighbor Solicitation for {address} " in self.info


FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def read_packets(path: Path, epoch: float, filters: int) -> Iterator[Packet]:
    """The packets of one dissection, sentinels left out. `epoch` is the run's start, `filters` how many were asked.

    Raises EvidenceError when the file is missing, is no dissection, or has the columns of another version.
    """
    width = len(FIELDS)
    words: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            _check_header(path, file.readline())
            for line_number, line in enumerate(file, 2):
                cells = line.rstrip("\n").split("\t")
                if len(cells) != width + filters:
                    raise EvidenceError(
                        f"{path}:{line_number}: {len(cells)} columns where {width + filters} were asked for"
                    )
                packet = _packet(_NEEDED(cells), cells[width:], epoch, words)
                if packet is not None:
                    yield packet
    except OSError as error:
        raise EvidenceError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise EvidenceError(f"{path} is no dissection: {error}") from None


def _check_header(path: Path, line: str) -> None:
    """A dissection begins with the names of its columns: what another version recorded must not be read as if it were ours."""
    columns, wanted = line.rstrip("\n").split("\t"), list(FIELDS.values())
    if columns[: len(wanted)] == wanted:
        return
    if "frame.number" not in columns:
        raise EvidenceError(f"{path} does not begin with the names of its columns, so another version of labctl wrote it")
    other = [f"no {name}" for name in wanted if name not in columns] or ["another order"]
    raise EvidenceError(f"{path} has the columns of another version of labctl: {', '.join(other[:4])}")


# The columns a packet is made of, in the order in which `_packet` takes them, wherever FIELDS has them.
_NEEDED = itemgetter(*map(list(FIELDS).index, (
    "number", "epoch", "interface", "length", "protocol", "source", "destination", "source6", "destination6", "ttl",
    "hop_limit", "ip_id", "tcp_sport", "tcp_dport", "tcp_flags", "tcp_seq", "tcp_ack", "tcp_len", "tcp_window",
    "tcp_stream", "tcp_raw", "retransmission", "udp_sport", "udp_dport", "icmp_type", "icmp_code", "icmpv6_type",
    "icmpv6_code", "info",
)))  # fmt: skip


def _packet(cells: tuple[str, ...], marks: list[str], epoch: float, words: dict[str, str]) -> Packet | None:
    """One packet from its cells; `words` keeps one copy of each text that most packets share."""
    (
        number, at, interface, length, protocol, source, destination, source6, destination6, ttl, hop_limit, ip_id,
        tcp_sport, tcp_dport, tcp_flags, seq, ack, payload, window, stream, raw_seq, retransmission, udp_sport,
        udp_dport, icmp_type, icmp_code, icmpv6_type, icmpv6_code, info,
    ) = cells  # fmt: skip
    source, destination = source or source6, destination or destination6
    if protocol in ("0x88b5", "LABCTL") or (not source and SENTINEL in info):
        return None
    icmp = (int(icmp_type), int(icmp_code)) if icmp_type and icmp_code else None
    icmpv6 = (int(icmpv6_type), int(icmpv6_code)) if icmpv6_type and icmpv6_code else None
    # An ICMP error quotes the packet it is about; the quoted header's fields are not this packet's own.
    own = icmp is None and icmpv6 is None
    ports = tcp_sport or udp_sport, tcp_dport or udp_dport
    sport, dport = ports if own else ("", "")
    t = round(float(at) - epoch, 6)
    if not isfinite(t):
        raise ValueError(f"{at!r} is no time")
    shared = words.setdefault
    return Packet(
        int(number),
        t,
        shared(interface, interface),
        int(length),
        shared(protocol, protocol),
        shared(source, source),
        shared(destination, destination),
        int(sport) if sport else None,
        int(dport) if dport else None,
        int(tcp_flags, 16) if tcp_flags and own else None,
        int(seq) if seq else None,
        int(ack) if ack else None,
        int(payload) if payload else None,
        int(window) if window else None,
        int(stream) if stream and own else None,
        int(raw_seq) if raw_seq else None,
        bool(retransmission),
        icmp,
        icmpv6,
        _int(ttl or hop_limit),
        ip_id,
        info,
        frozenset([i for i, mark in enumerate(marks) if mark]) if marks else _NONE,
        None if own or not all(ports) else (int(ports[0]), int(ports[1])),
    )


_NONE: frozenset[int] = frozenset()


def _int(text: str) -> int | None:
    return int(text) if text else None
