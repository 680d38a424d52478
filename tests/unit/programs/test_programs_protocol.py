"""The application protocol without sockets: exact bytes, any pieces, and what must be refused."""

from __future__ import annotations

import json
import struct

import pytest
from app_protocol import Decoder, Limits, Message, ProtocolError, encode
from hypothesis import example, given, settings
from hypothesis import strategies as st

MESSAGES = st.builds(
    Message,
    content_type=st.sampled_from(
        ["text/json", "binary/array", "binary/custom-client-binary-type", "x/\U0001f430"]
    ),
    content_encoding=st.sampled_from(["utf-8", "utf-16", "binary"]),
    content=st.binary(max_size=300),
    byteorder=st.sampled_from(["little", "big"]),
    format=st.sampled_from([None, "h", "d"]),
)
GOOD = {"byteorder": "big", "content-type": "text/json", "content-encoding": "utf-8", "content-length": 3}


def framed(header: object, content: bytes = b"") -> bytes:
    """A message with any header, right or wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">H", len(text)) + text + content


def test_a_message_is_these_bytes() -> None:
    message = Message("text/json", "utf-8", "\U0001f436".encode(), "little")
    header = (
        b'{"byteorder": "little", "content-type": "text/json", '
        b'"content-encoding": "utf-8", "content-length": 4}'
    )
    assert encode(message) == b"\x00\x66" + header + b"\xf0\x9f\x90\xb6"
    assert len(header) == 0x66


def test_the_header_is_not_escaped_to_ascii() -> None:
    assert "x/\U0001f430".encode() in encode(Message("x/\U0001f430", "binary", b""))


def test_format_comes_last_and_only_with_arrays() -> None:
    header = encode(Message("binary/array", "binary", b"\0\1", "big", "h"))[2:-2]
    assert list(json.loads(header)) == [
        "byteorder",
        "content-type",
        "content-encoding",
        "content-length",
        "format",
    ]


@given(MESSAGES)
@example(Message("text/json", "utf-8", b"", "big"))
@settings(max_examples=30, deadline=None)
def test_a_message_may_be_cut_at_every_byte_boundary(message: Message) -> None:
    data = encode(message)
    for cut in range(len(data) + 1):
        decoder = Decoder()
        first = decoder.feed(data[:cut])
        assert (first is None) == (cut < len(data))
        assert decoder.feed(data[cut:]) == message
        assert decoder.surplus == 0


@given(MESSAGES, st.data())
@settings(max_examples=60, deadline=None)
def test_a_message_may_come_in_any_pieces(message: Message, draw: st.DataObject) -> None:
    data = encode(message)
    cuts = sorted(draw.draw(st.sets(st.integers(0, len(data)))))
    decoder = Decoder()
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        result = decoder.feed(data[start:end])
    assert result == message


@given(MESSAGES)
@settings(max_examples=20, deadline=None)
def test_a_message_may_come_one_byte_at_a_time(message: Message) -> None:
    decoder = Decoder()
    data = encode(message)
    results = [decoder.feed(data[index : index + 1]) for index in range(len(data))]
    assert results == [None] * (len(data) - 1) + [message]


@given(MESSAGES, st.binary(min_size=1, max_size=20))
@settings(max_examples=20, deadline=None)
def test_bytes_after_the_message_are_counted_and_left_alone(message: Message, more: bytes) -> None:
    decoder = Decoder()
    assert decoder.feed(encode(message) + more) == message
    assert decoder.surplus == len(more)
    assert decoder.feed(more) == message
    assert decoder.surplus == 2 * len(more)


@given(MESSAGES)
@settings(max_examples=20, deadline=None)
def test_a_stream_that_ends_inside_a_message_is_an_error(message: Message) -> None:
    data = encode(message)
    for cut in range(len(data)):
        decoder = Decoder()
        decoder.feed(data[:cut])
        with pytest.raises(ProtocolError, match="the stream ended"):
            decoder.end()


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"", "not JSON"),
        (b"not json", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 5000, "not JSON"),
        (b'{"content-length": ' + b"9" * 5000 + b"}", "not JSON"),
        ([], "not an object"),
        (None, "not an object"),
        *(({k: v for k, v in GOOD.items() if k != name}, f"lacks {name}") for name in GOOD),
        (GOOD | {"byteorder": "middle"}, "byteorder is 'middle'"),
        (GOOD | {"byteorder": ["big"]}, "byteorder is"),
        (GOOD | {"content-type": 1}, "must be text"),
        (GOOD | {"content-encoding": None}, "must be text"),
        (GOOD | {"content-length": -1}, "content-length is -1"),
        (GOOD | {"content-length": "12"}, "content-length is '12'"),
        (GOOD | {"content-length": True}, "content-length is True"),
        (GOOD | {"content-length": 1.5}, "content-length is 1.5"),
        (GOOD | {"content-length": 10**18}, "over the limit"),
        (GOOD | {"content-length": 1025}, "over the limit of 1024"),
        (GOOD | {"format": 7}, "format is 7"),
    ],
)
def test_a_wrong_header_is_refused_with_its_reason(header: object, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        Decoder(Limits(6000, 1024)).feed(framed(header))


def test_a_header_over_the_limit_is_refused_before_it_comes() -> None:
    with pytest.raises(ProtocolError, match="over the limit of 100"):
        Decoder(Limits(header_bytes=100)).feed(b"\xff\xff")


@given(st.binary(max_size=200), st.integers(0, 65535))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_a_message_or_a_reason(data: bytes, length: int) -> None:
    for raw in (data, struct.pack(">H", len(data)) + data, struct.pack(">H", length) + data):
        decoder = Decoder(Limits(1000, 1000))
        try:
            decoder.feed(raw)
        except ProtocolError as error:
            reason = str(error)
        else:
            reason = ""
        assert reason.isprintable()


def test_a_header_too_long_for_its_length_cannot_be_sent() -> None:
    with pytest.raises(ProtocolError, match="does not fit"):
        encode(Message("x" * 70000, "binary", b""))
