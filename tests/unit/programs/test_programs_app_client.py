"""The app client asks one question in several encodings or formats, and wants the same answer to each."""

from __future__ import annotations

import math
import socket
import struct
import sys
import threading

import pytest
from app_client import arguments, build_requests, said
from app_content import ARRAY_FORMATS, ARRAY_TYPE, TEXT_ENCODINGS, TEXT_TYPE
from app_protocol import Message, encode
from launching import Program, outcome_of, run

BALL = "\U0001f43e Playing ball! \U0001f3d0"
UNICODE = [name for name in TEXT_ENCODINGS if name.startswith("utf")]


def test_each_encoding_is_a_request_of_its_own_and_is_reported() -> None:
    with Program(("app_server", "127.0.0.1", "0")) as server:
        port = str(server.port())
        result = run("app_client", "127.0.0.1", port, "search", "\U0001f436", "--encoding", ",".join(UNICODE))
        accepted = outcome_of(server.stop())["connections"]
    outcome = outcome_of(result)
    assert (result.exit, outcome["errno"], outcome["result"]) == (0, None, BALL)
    assert [answer["asked"] for answer in outcome["answers"]] == UNICODE
    assert {answer["result"] for answer in outcome["answers"]} == {BALL}
    assert accepted == len(UNICODE)


def test_one_request_is_reported_without_a_list() -> None:
    with Program(("app_server", "127.0.0.1", "0")) as server:
        outcome = outcome_of(run("app_client", "127.0.0.1", str(server.port()), "search", "ring"))
    assert "answers" not in outcome


def test_numbers_are_the_same_in_every_format() -> None:
    formats = ",".join(ARRAY_FORMATS)
    with Program(("app_server", "127.0.0.1", "0")) as server:
        result = run("app_client", "127.0.0.1", str(server.port()), "sum", "1,2,300", "--format", formats)
    outcome = outcome_of(result)
    assert result.exit == 0
    assert [(answer["asked"], answer["sum"]) for answer in outcome["answers"]] == [
        (form, 303) for form in ARRAY_FORMATS
    ]


def test_answers_that_differ_are_a_failure_which_says_where() -> None:
    with Program(("app_server", "127.0.0.1", "0", "--ignore-byteorder")) as server:
        port = str(server.port())
        other = "big" if sys.byteorder == "little" else "little"
        words = ("sum", "1", "--format", "h,i", "--byteorder", other)
        result = run("app_client", "127.0.0.1", port, *words)
    assert result.exit == 1
    assert outcome_of(result)["reason"] == "the answers differ: in h and in i"


def test_what_comes_after_a_failure_is_not_asked() -> None:
    with Program(("probe", "listen", "127.0.0.1", "0", "--then", "close")) as server:
        result = run(
            "app_client", "127.0.0.1", str(server.port()), "search", "ring", "--encoding", "utf-8,utf-16"
        )
    outcome = outcome_of(result)
    assert (result.exit, outcome["answers"]) == (1, [])


@pytest.mark.parametrize(
    "words",
    [
        ("search", "x", "--encoding", "utf-8,"),
        ("search", "x", "--encoding", "utf-8,rot13"),
        ("sum", "1", "--format", "hi"),
        ("sum", "1,2", "--format", "h,i", "--load", "10"),
    ],
)
def test_lists_that_make_no_sense_are_bad_usage(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_requests(arguments().parse_args(["127.0.0.1", "1", *words]))
    assert ended.value.code == 2


def test_without_a_list_there_is_one_request_in_the_usual_encoding() -> None:
    (request,) = build_requests(arguments().parse_args(["127.0.0.1", "1", "search", "x"]))
    assert (request.content_type, request.content_encoding) == (TEXT_TYPE, "utf-8")


def test_how_an_answer_is_written_is_not_what_it_says() -> None:
    assert said({"format": "h", "sum": 3, "values": (1, 2)}) == said(
        {"format": "d", "sum": 3.0, "values": (1.0, 2.0)}
    )


@pytest.mark.parametrize(
    ("words", "kind", "content", "form", "reason"),
    [
        (("search", "ring"), TEXT_TYPE, b"{}", None, "the answer is wrong: there is no result in {}"),
        (("search", "ring"), TEXT_TYPE, b"[1]", None, "the answer is wrong: there is no result in [1]"),
        (("sum", "1,2,3", "--format", "h"), ARRAY_TYPE, b"", "h", "the answer is wrong: there is no sum, and no value"),
        (
            ("sum", "1,2,3", "--format", "h"), ARRAY_TYPE, struct.pack(">hhhh", 7, 1, 2, 3), "h",
            "the answer is wrong: 7 is not the sum of 1, 2, 3",
        ),
        (("sum", "1,2,3", "--format", "h"), ARRAY_TYPE, struct.pack(">hhhh", 6, 1, 2, 3), "h", None),
        (("sum", "0.1,0.2", "--format", "f"), ARRAY_TYPE, struct.pack(">fff", 0.3, 0.1, 0.2), "f", None),
        (("sum", "nan", "--format", "d"), ARRAY_TYPE, struct.pack(">dd", math.nan, math.nan), "d", None),
        (("sum", "inf,1", "--format", "d"), ARRAY_TYPE, struct.pack(">ddd", math.inf, math.inf, 1), "d", None),
        (("sum", "", "--format", "i"), ARRAY_TYPE, struct.pack(">i", 0), "i", None),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_a_failure(
    words: tuple[str, ...], kind: str, content: bytes, form: str | None, reason: str | None
) -> None:
    """An independent server's answer is believed when it has a result, or a sum that is one; else it is a failure with why."""
    encoding = "utf-8" if kind == TEXT_TYPE else "binary"
    answer = encode(Message(kind, encoding, content, "big", form))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = threading.Thread(target=_answer_once, args=(listener, answer))
        answering.start()
        result = run("app_client", "127.0.0.1", str(listener.getsockname()[1]), *words)
        answering.join()
    outcome = outcome_of(result)
    assert (result.exit, outcome.get("reason")) == (0 if reason is None else 1, reason)


def _answer_once(listener: socket.socket, answer: bytes) -> None:
    peer, _ = listener.accept()
    with peer:
        peer.recv(65536)
        peer.sendall(answer)
