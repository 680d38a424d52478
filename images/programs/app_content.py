"""What the application's messages contain: requests, and the answers to them. No I/O.

Three kinds of content, told apart by `content-type`:

- `text/json`: `{"action": …, "value": …}` in any of the text encodings; the answer is `{"result": …}` in
  UTF-8.
- `binary/array`: numbers as struct(3) packs them in the sender's byte order. The receiver must swap by the
  header's `byteorder`.
- anything else is binary: bytes that mean nothing to the server, which sends the first ten back.
"""

from __future__ import annotations

import codecs
import json
import struct
import sys
from typing import NamedTuple

from app_protocol import Message, ProtocolError, quote

TEXT_TYPE = "text/json"
ARRAY_TYPE = "binary/array"
CLIENT_BINARY_TYPE = "binary/custom-client-binary-type"
SERVER_BINARY_TYPE = "binary/custom-server-binary-type"

SEARCH_RESULTS = {
    "morpheus": "Follow the white rabbit. \U0001f430",
    "ring": "In the caves beneath the Misty Mountains. \U0001f48d",
    "\U0001f436": "\U0001f43e Playing ball! \U0001f3d0",
}

# Only these: codecs.lookup() imports whatever a peer names, and remembers every name it was ever asked for.
TEXT_ENCODINGS = (
    "utf-8",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "utf-32-le",
    "utf-32-be",
    "ascii",
    "latin-1",
)
_SPELLINGS = {name.replace("-", ""): name for name in TEXT_ENCODINGS}  # utf8, UTF-8 and utf_8 are one
_WITH_MARK = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}

# The answer's format: the request's, or the next wider one if the sum does not fit; at last a double.
ARRAY_FORMATS = {"h": "hiqd", "H": "HIQd", "i": "iqd", "I": "IQd", "q": "qd", "Q": "Qd", "f": "fd", "d": "d"}


class Array(NamedTuple):
    """The numbers of a `binary/array` message; of an answer, the first is the sum of the others."""

    format: str
    values: tuple[float, ...]


def text_request(action: str, value: str, encoding: str = "utf-8", byteorder: str = sys.byteorder) -> Message:
    """A `text/json` request. Raises ProtocolError if the text cannot be written in the encoding."""
    text = json.dumps({"action": action, "value": value}, ensure_ascii=False)
    return Message(TEXT_TYPE, encoding, encode_text(text, encoding, byteorder), byteorder)


def binary_request(action: str, value: str, byteorder: str = sys.byteorder) -> Message:
    """A binary request: action and value joined."""
    return Message(CLIENT_BINARY_TYPE, "binary", encode_text(action + value, "utf-8", byteorder), byteorder)


def array_request(array: Array, byteorder: str = sys.byteorder) -> Message:
    """A `binary/array` request. Raises ProtocolError if a number does not fit in the format."""
    try:
        content = pack_array(array, byteorder)
    except (struct.error, OverflowError) as error:
        raise ProtocolError(f"not numbers of format {array.format}: {error}") from None
    return Message(ARRAY_TYPE, "binary", content, byteorder, array.format)


def answer(request: Message, byteorder: str = sys.byteorder, *, ignore_byteorder: bool = False) -> Message:
    """The server's answer. Raises ProtocolError for content that is not what its header says.

    `ignore_byteorder` makes the classic mistake: it reads the sender's numbers in its own order.
    """
    if request.content_type == TEXT_TYPE:
        text = json.dumps({"result": search(read_json(request))}, ensure_ascii=False)
        return Message(TEXT_TYPE, "utf-8", encode_text(text, "utf-8", byteorder), byteorder)
    if request.content_type == ARRAY_TYPE:
        array = read_array(request, byteorder if ignore_byteorder else request.byteorder)
        return with_sum(array, byteorder)
    content = b"First 10 bytes of request: " + request.content[:10]
    return Message(SERVER_BINARY_TYPE, "binary", content, byteorder)


def search(request: object) -> str:
    """The result for a decoded `text/json` request."""
    if not isinstance(request, dict):
        raise ProtocolError(f"the request is {quote(request)}, not an object")
    action, value = request.get("action"), request.get("value")
    try:
        if action != "search":
            return f"Error: invalid action '{action}'."
        found = SEARCH_RESULTS.get(value) if isinstance(value, str) else None
        return found or f"No match for '{value}'."
    except (ValueError, RecursionError) as error:  # a value that cannot be written as text
        raise ProtocolError(f"the request cannot be answered: {error}") from None


def read_json(message: Message) -> object:
    """The JSON content of a message. Raises ProtocolError."""
    text = decode_text(message.content, message.content_encoding, message.byteorder)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the content is not JSON: {error}") from None


def read_array(message: Message, byteorder: str) -> Array:
    """The numbers of a `binary/array` message, read in the given byte order. Raises ProtocolError."""
    if message.format not in ARRAY_FORMATS:
        raise ProtocolError(f"format is {quote(message.format)}, not one of {' '.join(ARRAY_FORMATS)}")
    item = struct.calcsize(f"<{message.format}")
    if len(message.content) % item:
        raise ProtocolError(f"{len(message.content)} bytes are no whole number of {item}-byte values")
    count = len(message.content) // item
    return Array(message.format, struct.unpack(_layout(byteorder, count, message.format), message.content))


def with_sum(array: Array, byteorder: str) -> Message:
    """The answer to an array: the sum, then the values, in the first format they fit in."""
    values = (sum(array.values), *array.values)
    for wider in ARRAY_FORMATS[array.format]:
        try:
            content = pack_array(Array(wider, values), byteorder)
        except (struct.error, OverflowError):
            continue
        return Message(ARRAY_TYPE, "binary", content, byteorder, wider)
    raise ProtocolError("the sum fits in no format")


def pack_array(array: Array, byteorder: str) -> bytes:
    """An array as bytes, in a byte order. Raises struct.error or OverflowError if a number does not fit."""
    return struct.pack(_layout(byteorder, len(array.values), array.format), *array.values)


def _layout(byteorder: str, count: int, form: str) -> str:
    return f"{'<' if byteorder == 'little' else '>'}{count}{form}"


def encode_text(text: str, encoding: str, byteorder: str) -> bytes:
    """Text as bytes; utf-16 and utf-32 start with a byte order mark and are in the sender's order."""
    name = _encoding_name(encoding)
    try:
        if name in _WITH_MARK:
            big = byteorder == "big"
            return _WITH_MARK[name][big] + text.encode(f"{name}-{'be' if big else 'le'}")
        return text.encode(name)
    except UnicodeEncodeError as error:
        raise ProtocolError(f"not text in {name}: {error.reason}") from None


def decode_text(content: bytes, encoding: str, byteorder: str) -> str:
    """Bytes as text. Without a byte order mark, utf-16 and utf-32 are read in the order the header names."""
    name = _encoding_name(encoding)
    if name in _WITH_MARK and not content.startswith(_WITH_MARK[name]):
        name += "-le" if byteorder == "little" else "-be"
    try:
        return content.decode(name)
    except UnicodeDecodeError as error:
        raise ProtocolError(f"the content is not {name}: {error.reason} at byte {error.start}") from None


def _encoding_name(encoding: str) -> str:
    name = _SPELLINGS.get(encoding.lower().replace("_", "").replace("-", ""))
    if name is None:
        raise ProtocolError(f"content-encoding is {quote(encoding)}, not one of {' '.join(TEXT_ENCODINGS)}")
    return name
