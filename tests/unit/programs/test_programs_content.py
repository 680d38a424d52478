"""What the messages contain: every answer of the table, every encoding and format, in both byte orders."""

from __future__ import annotations

import json
import struct

import pytest
from app_content import (
    ARRAY_FORMATS,
    CLIENT_BINARY_TYPE,
    SERVER_BINARY_TYPE,
    TEXT_ENCODINGS,
    Array,
    answer,
    array_request,
    binary_request,
    decode_text,
    encode_text,
    read_array,
    read_json,
    text_request,
)
from app_protocol import Decoder, Message, ProtocolError, encode
from hypothesis import given, settings
from hypothesis import strategies as st

ORDERS = ("little", "big")
UNICODE = [name for name in TEXT_ENCODINGS if name.startswith("utf")]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
INTEGERS = {
    "h": (-(2**15), 2**15 - 1),
    "H": (0, 2**16 - 1),
    "i": (-(2**31), 2**31 - 1),
    "I": (0, 2**32 - 1),
    "q": (-(2**63), 2**63 - 1),
    "Q": (0, 2**64 - 1),
}
ARRAYS = st.one_of(
    *(st.tuples(st.just(form), st.lists(st.integers(*ends), max_size=8)) for form, ends in INTEGERS.items()),
    st.tuples(st.just("f"), st.lists(st.floats(width=32, allow_nan=False), max_size=8)),
    st.tuples(st.just("d"), st.lists(st.floats(allow_nan=False), max_size=8)),
)


def over_the_wire(message: Message) -> Message:
    """The same message, after encoding and decoding."""
    received = Decoder().feed(encode(message))
    assert received is not None
    return received


def result(request: Message, byteorder: str = "little") -> object:
    response = over_the_wire(answer(over_the_wire(request), byteorder))
    assert (response.content_type, response.content_encoding) == ("text/json", "utf-8")
    content = read_json(response)
    assert isinstance(content, dict)
    assert list(content) == ["result"]
    return content["result"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("morpheus", "Follow the white rabbit. \U0001f430"),
        ("ring", "In the caves beneath the Misty Mountains. \U0001f48d"),
        ("\U0001f436", "\U0001f43e Playing ball! \U0001f3d0"),
        ("trinity", "No match for 'trinity'."),
        ("", "No match for ''."),
        ("Morpheus", "No match for 'Morpheus'."),
    ],
)
@pytest.mark.parametrize("encoding", UNICODE)
@pytest.mark.parametrize("byteorder", ORDERS)
def test_search_in_every_encoding_and_order(value: str, expected: str, encoding: str, byteorder: str) -> None:
    assert result(text_request("search", value, encoding, byteorder)) == expected


def test_another_action_is_answered_with_an_error() -> None:
    assert result(text_request("find", "ring")) == "Error: invalid action 'find'."


@pytest.mark.parametrize("value", [5, None, True, ["ring"], {"a": 1}])
def test_a_value_that_is_no_text_matches_nothing(value: object) -> None:
    content = json.dumps({"action": "search", "value": value}).encode()
    assert result(Message("text/json", "utf-8", content)) == f"No match for '{value}'."


def test_an_answer_is_written_without_escapes() -> None:
    assert "\U0001f430".encode() in answer(text_request("search", "morpheus")).content


@given(TEXT, st.sampled_from(UNICODE), st.sampled_from(ORDERS))
@settings(max_examples=100, deadline=None)
def test_text_arrives_as_sent(value: str, encoding: str, byteorder: str) -> None:
    request = over_the_wire(text_request("search", value, encoding, byteorder))
    assert read_json(request) == {"action": "search", "value": value}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_without_a_byte_order_mark_the_header_decides(encoding: str) -> None:
    assert decode_text("ring".encode(f"{encoding}-be"), encoding, "big") == "ring"
    assert decode_text("ring".encode(f"{encoding}-le"), encoding, "little") == "ring"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("byteorder", ORDERS)
def test_pythons_own_codec_reads_what_we_write(encoding: str, byteorder: str) -> None:
    assert encode_text("\U0001f48d", encoding, byteorder).decode(encoding) == "\U0001f48d"


@pytest.mark.parametrize("name", ["UTF-8", "utf_8", "utf8", "utf16", "UTF16LE"])
def test_usual_spellings_of_encodings_are_understood(name: str) -> None:
    assert decode_text(encode_text("x", name, "big"), name, "big") == "x"


def test_binary_is_answered_with_its_first_ten_bytes() -> None:
    request = binary_request("binary", "\U0001f436 and more")
    assert (request.content_type, request.content_encoding) == (CLIENT_BINARY_TYPE, "binary")
    assert request.content == "binary\U0001f436 and more".encode()
    response = answer(request)
    assert (response.content_type, response.content_encoding) == (SERVER_BINARY_TYPE, "binary")
    assert response.content == b"First 10 bytes of request: " + request.content[:10]


def test_any_other_content_type_is_binary() -> None:
    assert answer(Message("image/png", "x", b"abc")).content == b"First 10 bytes of request: abc"


@given(ARRAYS, st.sampled_from(ORDERS), st.sampled_from(ORDERS))
@settings(max_examples=200, deadline=None)
def test_arrays_are_summed_whatever_the_two_orders_are(
    array: tuple[str, list[float]], client: str, server: str
) -> None:
    form, values = array
    request = over_the_wire(array_request(Array(form, tuple(values)), client))
    response = over_the_wire(answer(request, server))
    assert response.byteorder == server
    total, *back = read_array(response, response.byteorder).values
    assert response.format is not None
    assert response.format in ARRAY_FORMATS[form]
    if response.format in "fd" and form not in "fd":
        assert back == [float(value) for value in values]  # no integer is wide enough for the sum
    else:
        assert back == values
    if response.format not in "fd":
        assert total == sum(values)


def test_the_answer_keeps_the_format_when_the_sum_fits() -> None:
    assert answer(array_request(Array("h", (1, 2, 3)))).format == "h"
    assert answer(array_request(Array("h", (32767, 1)))).format == "i"
    assert answer(array_request(Array("Q", (2**64 - 1, 1)))).format == "d"


@pytest.mark.parametrize("form", ARRAY_FORMATS)
def test_the_classic_bug_reads_an_array_in_the_wrong_order(form: str) -> None:
    request = array_request(Array(form, (1, 2)), "big")
    wrong = answer(request, "little", ignore_byteorder=True)
    expected = struct.unpack(f"<2{form}", struct.pack(f">2{form}", 1, 2))
    assert read_array(wrong, "little").values[1:] == pytest.approx(expected)
    assert read_array(answer(request, "little"), "little").values == (3, 1, 2)


def test_what_256_times_too_much_looks_like() -> None:
    request = array_request(Array("h", (1, 2, 3)), "big")
    wrong = answer(request, "little", ignore_byteorder=True)
    assert read_array(wrong, "little").values == (1536, 256, 512, 768)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Message("text/json", "utf-8", b"\xff"), "not utf-8"),
        (Message("text/json", "utf-16", b"a"), "not utf-16"),
        (Message("text/json", "utf-32", b"\xff\xff\xff\xff"), "not utf-32"),
        (Message("text/json", "bz2", b""), "content-encoding is 'bz2'"),
        (Message("text/json", "../../etc", b""), "content-encoding is"),
        (Message("text/json", "utf-8", b"{"), "not JSON"),
        (Message("text/json", "utf-8", b"[" * 100000), "not JSON"),
        (Message("text/json", "utf-8", b"[1]"), "not an object"),
        (Message("text/json", "utf-8", b'{"action": "search", "value": "\\ud800"}'), "not text in utf-8"),
        (Message("binary/array", "binary", b"123", "big", "h"), "no whole number"),
        (Message("binary/array", "binary", b"", "big", None), "format is None"),
        (Message("binary/array", "binary", b"", "big", "s"), "format is 's'"),
        (Message("binary/array", "binary", b"", "big", "99999999h"), "format is"),
    ],
)
def test_wrong_content_is_refused_with_its_reason(request_: Message, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        answer(request_)


@given(
    st.sampled_from(["text/json", "binary/array", "x"]),
    st.sampled_from(TEXT_ENCODINGS),
    st.binary(max_size=60),
    st.sampled_from(ORDERS),
    st.sampled_from([None, *ARRAY_FORMATS]),
)
@settings(max_examples=200, deadline=None)
def test_any_content_gives_an_answer_or_a_reason(
    kind: str, encoding: str, content: bytes, byteorder: str, form: str | None
) -> None:
    try:
        encode(answer(Message(kind, encoding, content, byteorder, form)))
    except ProtocolError as error:
        reason = str(error)
    else:
        reason = ""
    assert reason.isprintable()


def test_a_number_that_does_not_fit_is_refused_by_the_sender() -> None:
    with pytest.raises(ProtocolError, match="not numbers of format h"):
        array_request(Array("h", (40000,)))
