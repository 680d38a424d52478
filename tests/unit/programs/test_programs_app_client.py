"""The app client asks one question in several encodings or formats, and wants the same answer to each."""

from __future__ import annotations

import sys

import pytest
from app_client import arguments, build_requests, said
from app_content import ARRAY_FORMATS, TEXT_ENCODINGS, TEXT_TYPE
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
