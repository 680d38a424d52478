"""The application protocol, without any I/O: bytes in, messages out, and the other way round.

A message is three parts, and TCP may deliver it in any pieces (RFC 9293: a stream of bytes, no
boundaries):

1. two bytes: the length of the JSON header, unsigned, big-endian (network order, RFC 1700);
2. the JSON header, UTF-8 (RFC 8259): `byteorder`, `content-type`, `content-encoding`, `content-length`, in
   this order;
3. the content: `content-length` bytes.

`byteorder` is the *sender's* order. Text does not need it; arrays of numbers do: see app_content.py.
"""

from __future__ import annotations

import json
import reprlib
import struct
import sys
from typing import NamedTuple

BYTE_ORDERS = ("little", "big")
REQUIRED = ("byteorder", "content-type", "content-encoding", "content-length")
LENGTH_BYTES = 2
MAX_HEADER_BYTES = 8 * 1024
MAX_CONTENT_BYTES = 1024 * 1024


class ProtocolError(Exception):
    """The peer's bytes are not a message of this protocol; the text is the reason, safe to print."""


class Message(NamedTuple):
    """One message, in either direction. `format` only comes with arrays."""

    content_type: str
    content_encoding: str
    content: bytes
    byteorder: str = sys.byteorder
    format: str | None = None


class Limits(NamedTuple):
    """What a receiver is willing to keep in memory for one message."""

    header_bytes: int = MAX_HEADER_BYTES
    content_bytes: int = MAX_CONTENT_BYTES


def encode(message: Message) -> bytes:
    """The bytes of a message. Raises ProtocolError if the header is too long for its two-byte length."""
    fields: dict[str, object] = {
        "byteorder": message.byteorder,
        "content-type": message.content_type,
        "content-encoding": message.content_encoding,
        "content-length": len(message.content),
    }
    if message.format is not None:
        fields["format"] = message.format
    header = json.dumps(fields, ensure_ascii=False).encode("utf-8")
    if len(header) > 0xFFFF:
        raise ProtocolError(f"a header of {len(header)} bytes does not fit in its two-byte length")
    return struct.pack(">H", len(header)) + header + message.content


class Header(NamedTuple):
    """A header that has been checked."""

    byteorder: str
    content_type: str
    content_encoding: str
    content_length: int
    format: str | None


def parse_header(data: bytes, limits: Limits) -> Header:
    """The header's fields. Raises ProtocolError for anything a receiver must not accept."""
    try:
        fields = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ProtocolError(f"the header is not UTF-8: {error.reason} at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the header is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ProtocolError(f"the header is {quote(fields)}, not an object")
    for name in REQUIRED:
        if name not in fields:
            raise ProtocolError(f"the header lacks {name}")
    byteorder, content_type, encoding, length = (fields[name] for name in REQUIRED)
    if byteorder not in BYTE_ORDERS:
        raise ProtocolError(f"byteorder is {quote(byteorder)}, not little or big")
    if not isinstance(content_type, str) or not isinstance(encoding, str):
        raise ProtocolError("content-type and content-encoding must be text")
    if type(length) is not int or length < 0:  # not isinstance: True is an int
        raise ProtocolError(f"content-length is {quote(length)}, not a number of bytes")
    if length > limits.content_bytes:
        raise ProtocolError(
            f"content-length {quote(length)} is over the limit of {limits.content_bytes} bytes"
        )
    form = fields.get("format")
    if form is not None and not isinstance(form, str):
        raise ProtocolError(f"format is {quote(form)}, not text")
    return Header(byteorder, content_type, encoding, length, form)


class Decoder:
    """Puts one message together from pieces of any size.

    Never keeps more than one message within its limits: a header or content that announces more is refused at
    once, before any of it is stored.
    """

    __slots__ = ("_buffer", "_header", "_limits", "_message", "surplus")

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 (immutable)
        self._limits = limits
        self._buffer = bytearray()
        self._header: Header | None = None
        self._message: Message | None = None
        self.surplus = 0  # bytes that came after the message: one message each way, so nobody's

    def feed(self, data: bytes) -> Message | None:
        """Take the next bytes, give the message once it is complete. Raises ProtocolError."""
        if self._message is not None:
            self.surplus += len(data)
            return self._message
        buffer = self._buffer
        buffer += data
        header = self._header or self._take_header(buffer)
        if header is None or len(buffer) < header.content_length:
            return None
        content = bytes(buffer[: header.content_length])
        self.surplus = len(buffer) - header.content_length
        buffer.clear()
        self._message = Message(
            header.content_type, header.content_encoding, content, header.byteorder, header.format
        )
        return self._message

    def _take_header(self, buffer: bytearray) -> Header | None:
        if len(buffer) < LENGTH_BYTES:
            return None
        end = LENGTH_BYTES + (buffer[0] << 8 | buffer[1])
        if end - LENGTH_BYTES > self._limits.header_bytes:
            raise ProtocolError(
                f"a header of {end - LENGTH_BYTES} bytes is over the limit of {self._limits.header_bytes}"
            )
        if len(buffer) < end:
            return None
        self._header = parse_header(bytes(buffer[LENGTH_BYTES:end]), self._limits)
        del buffer[:end]
        return self._header

    def end(self) -> None:
        """The stream ended. Raises ProtocolError unless a message is complete."""
        if self._message is not None:
            return
        kept = len(self._buffer)
        if self._header is not None:
            raise ProtocolError(
                f"the stream ended after {kept} of {self._header.content_length} bytes of content"
            )
        if kept:
            raise ProtocolError(f"the stream ended inside the header, after {kept} bytes")
        raise ProtocolError("the stream ended before a message")


def quote(value: object) -> str:
    """A short, printable form of something a peer sent."""
    return reprlib.repr(value)
