"""Reading and writing pcapng, as far as the evidence needs it: comments on packets, and many captures merged into one.

The format is draft-ietf-opsawg-pcapng (sections 4.1 to 4.6). dumpcap writes it in the machine's own byte order, and so do we.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from labctl.errors import EvidenceError

SECTION, INTERFACE, STATISTICS, ENHANCED_PACKET = 0x0A0D0D0A, 0x00000001, 0x00000005, 0x00000006
MAGIC = 0x1A2B3C4D
OPT_END, OPT_COMMENT, IF_NAME, IF_TSRESOL, IF_TSOFFSET = 0, 1, 2, 9, 14
SENTINEL_ETHERTYPE = b"\x88\xb5"
# A block larger than the largest packet plus its options is no block that dumpcap wrote.
BLOCK_LIMIT_BYTES = 2**20


class Block(NamedTuple):
    """One block: its type, where it starts in the file, its whole length, and its body without both lengths."""

    kind: int
    offset: int
    length: int
    body: bytes


class PacketAt(NamedTuple):
    """One packet of a capture: its time in nanoseconds since the epoch, its interface, and its block."""

    ns: int
    interface: int
    sentinel: bool
    block: Block


def blocks(file: BinaryIO, name: str) -> Iterator[Block]:
    """Every block in order. Raises EvidenceError where the file is truncated or is no pcapng of this machine's byte order."""
    offset = 0
    while head := file.read(8):
        if len(head) < 8:
            raise EvidenceError(f"{name} is cut off at byte {offset}")
        kind, length = struct.unpack("=II", head)
        if offset == 0 and kind != SECTION:
            raise EvidenceError(f"{name} is no pcapng file")
        if length < 12 or length % 4 or length > BLOCK_LIMIT_BYTES:
            raise EvidenceError(f"{name} is damaged at byte {offset}: a block of {length} bytes")
        rest = file.read(length - 8)
        if len(rest) < length - 8:
            raise EvidenceError(f"{name} is cut off at byte {offset}")
        if rest[-4:] != head[4:]:
            raise EvidenceError(f"{name} is damaged at byte {offset}: a block's two lengths differ")
        if kind == SECTION and rest[:4] != struct.pack("=I", MAGIC):
            raise EvidenceError(f"{name} was written in another byte order")
        if kind == SECTION and length < 28:
            raise EvidenceError(f"{name} is damaged at byte {offset}: a section without a header")
        yield Block(kind, offset, length, rest[:-4])
        offset += length


def options(body: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """The options of a block from byte `start` of its body."""
    while start + 4 <= len(body):
        code, length = struct.unpack_from("=HH", body, start)
        if code == OPT_END:
            return
        yield code, body[start + 4 : start + 4 + length]
        start += 4 + (length + 3) // 4 * 4


def option(code: int, value: bytes) -> bytes:
    """One option, padded, and cut where the format allows no more."""
    value = value[:0xFFFF]
    return struct.pack("=HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def block(kind: int, body: bytes) -> bytes:
    """A whole block around a body."""
    length = len(body) + 12
    return struct.pack("=II", kind, length) + body + struct.pack("=I", length)


@dataclass(frozen=True)
class Interface:
    """One captured interface: its description block's fixed part, name, and nanoseconds per tick."""

    fixed: bytes
    name: str
    tick_ns: float
    options: tuple[tuple[int, bytes], ...]

    @classmethod
    def parse(cls, body: bytes) -> Interface:
        found = tuple(options(body, 8))
        resolution = next((value[0] for code, value in found if code == IF_TSRESOL and value), 6)
        per_second = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
        name = next((value.decode(errors="replace") for code, value in found if code == IF_NAME), "?")
        return cls(body[:8], name, 1e9 / per_second, found)


@dataclass(frozen=True)
class Capture:
    """A whole capture, by position: packets are read from the file when they are needed."""

    path: Path
    interfaces: tuple[Interface, ...]
    packets: tuple[PacketAt, ...]

    @classmethod
    def read(cls, path: Path) -> Capture:
        """Raises EvidenceError when the file is missing, cut off or damaged."""
        interfaces: list[Interface] = []
        packets: list[PacketAt] = []
        try:
            with path.open("rb") as file:
                for found in blocks(file, str(path)):
                    if found.kind == INTERFACE:
                        interfaces.append(Interface.parse(found.body))
                    elif found.kind == ENHANCED_PACKET:
                        packets.append(_packet(found, interfaces, path))
        except OSError as error:
            raise EvidenceError(f"{path} cannot be read: {error.strerror}") from None
        return cls(path, tuple(interfaces), tuple(packets))


def _packet(found: Block, interfaces: list[Interface], path: Path) -> PacketAt:
    if len(found.body) < 20:
        raise EvidenceError(f"{path} is damaged at byte {found.offset}: a packet without a header")
    number, high, low, kept, _ = struct.unpack_from("=5I", found.body)
    if number >= len(interfaces) or 20 + kept > len(found.body):
        raise EvidenceError(
            f"{path} is damaged at byte {found.offset}: a packet of no interface or longer than its block"
        )
    ticks = high << 32 | low
    tick_ns = interfaces[number].tick_ns
    ns = ticks if tick_ns == 1 else round(ticks * tick_ns)
    if ns >= 2**64:
        raise EvidenceError(f"{path} is damaged at byte {found.offset}: a packet from no time that could be written")
    sentinel = found.body[32:34] == SENTINEL_ETHERTYPE
    slim = Block(found.kind, found.offset, found.length, b"")
    return PacketAt(ns, number, sentinel, slim)


def annotate(path: Path, notes: Mapping[int, list[str]], comment: str | None = None) -> None:
    """Write comments into a capture in place: `notes` by packet number (from 1, as Wireshark counts), and one on the section.

    Raises EvidenceError, OSError.
    """
    scratch = path.with_name(path.name + ".part")
    number = 0
    with path.open("rb") as source, scratch.open("wb") as target:
        for found in blocks(source, str(path)):
            body = found.body
            if found.kind == SECTION and comment is not None:
                body = body[:16] + option(OPT_COMMENT, comment.encode()) + _with_end(body[16:])
            elif found.kind == ENHANCED_PACKET:
                number += 1
                if len(body) < 20:
                    raise EvidenceError(f"{path} is damaged at byte {found.offset}: a packet without a header")
                if number in notes:
                    body = _commented(body, notes[number])
            target.write(block(found.kind, body))
    scratch.replace(path)


def _commented(body: bytes, notes: list[str]) -> bytes:
    kept = struct.unpack_from("=I", body, 12)[0]
    start = 20 + (kept + 3) // 4 * 4
    added = b"".join(option(OPT_COMMENT, note.encode()) for note in notes)
    return body[:start] + added + _with_end(body[start:])


def _with_end(existing: bytes) -> bytes:
    return existing if existing else struct.pack("=HH", OPT_END, 0)


def join(parts: Sequence[Path], target: Path) -> list[int]:
    """Captures of one host, one after the other in time, as one file that may be one of them. Sentinels stay.

    Answers with how many packets stand before each part, by which their numbers grow. The interfaces of a later part come
    after those of the earlier ones, in the file and in number (4.2: an interface is described anywhere before its first
    packet). Raises EvidenceError, OSError.
    """
    scratch = target.with_name(target.name + ".part")
    base = packets = 0
    before: list[int] = []
    with scratch.open("wb") as out:
        for number, path in enumerate(parts):
            described = 0
            before.append(packets)
            with path.open("rb") as source:
                for found in blocks(source, str(path)):
                    body = found.body
                    if found.kind == SECTION:
                        if number:
                            continue
                        body = body[:8] + struct.pack("=q", -1) + body[16:]  # no longer as long as it may have said
                    elif found.kind == INTERFACE:
                        described += 1
                    elif found.kind in (ENHANCED_PACKET, STATISTICS):
                        if len(body) < 4:
                            raise EvidenceError(f"{path} is damaged at byte {found.offset}: a block without an interface")
                        packets += found.kind == ENHANCED_PACKET
                        body = struct.pack("=I", struct.unpack_from("=I", body)[0] + base) + body[4:]
                    out.write(block(found.kind, body))
            base += described
    scratch.replace(target)
    return before


Notes = Callable[[Sequence[int]], Mapping[int, list[str]]]


def merge(paths: Mapping[str, Path], target: Path, comment: str, notes: Notes | None = None) -> int:
    """All captures (host -> file) as one file in the order of time, interfaces named `host:interface`, sentinels left out.

    `notes` says which comments go on which packet, by number from 1, when it is told the times of all, in nanoseconds. Answers
    with the number of packets. Raises EvidenceError, OSError.
    """
    captures = {host: Capture.read(path) for host, path in paths.items()}
    section = (
        struct.pack("=IHHq", MAGIC, 1, 0, -1)
        + option(OPT_COMMENT, comment.encode())
        + struct.pack("=HH", OPT_END, 0)
    )
    order: list[tuple[int, int, str, PacketAt]] = []
    base = 0
    with target.open("wb") as out:
        out.write(block(SECTION, section))
        for host, capture in captures.items():
            for interface in capture.interfaces:
                kept = [(c, v) for c, v in interface.options if c not in (IF_NAME, IF_TSRESOL, IF_TSOFFSET)]
                named = [(IF_NAME, f"{host}:{interface.name}".encode()), (IF_TSRESOL, b"\x09"), *kept]
                body = (
                    interface.fixed
                    + b"".join(option(c, v) for c, v in named)
                    + struct.pack("=HH", OPT_END, 0)
                )
                out.write(block(INTERFACE, body))
            order += [(p.ns, base + p.interface, host, p) for p in capture.packets if not p.sentinel]
            base += len(capture.interfaces)
        order.sort(key=lambda item: item[0])
        noted = notes([item[0] for item in order]) if notes else {}
        files = {host: capture.path.open("rb") for host, capture in captures.items()}
        try:
            for position, (ns, number, host, packet) in enumerate(order, 1):
                files[host].seek(packet.block.offset + 8)
                body = files[host].read(packet.block.length - 12)
                body = struct.pack("=III", number, ns >> 32, ns & 0xFFFFFFFF) + body[12:]
                out.write(block(ENHANCED_PACKET, _commented(body, noted[position]) if position in noted else body))
        finally:
            for file in files.values():
                file.close()
    return len(order)
