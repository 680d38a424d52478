"""The lines that a person sees while a run goes on."""

from __future__ import annotations

from typing import Any

import pytest

from labctl.report.terminal import describe_event

CONNECT = {"op": "connect", "errno": None, "ms": 641.4}


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (CONNECT, "connect: success after 641.4 ms"),
        ({**CONNECT, "errno": "ETIMEDOUT"}, "connect: ETIMEDOUT after 641.4 ms"),
        ({**CONNECT, "timed_out": True}, "connect: no answer within the program's own limit after 641.4 ms"),
        ({**CONNECT, "stopped": "SIGTERM", "returned": True}, "connect: success after 641.4 ms"),
        (
            {**CONNECT, "stopped": "SIGTERM", "returned": False},
            "connect had not returned after 641.4 ms when SIGTERM ended it",
        ),
    ],
)
def test_what_a_program_ended_in(outcome: dict[str, Any], said: str) -> None:
    """An errno, success, its own limit, or a signal that came before the call had returned, which is no success."""
    assert describe_event({"event": "program-end", "outcome": outcome}) == f"  {said}"
