"""`labctl fault`: what is asked for by hand and cannot be is said before Docker is asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import labctl.byhand
from labctl.byhand import add, parse_fault
from labctl.cli import main
from labctl.errors import UsageError


@pytest.mark.parametrize("name", ["Wall", "a b", "", "-x", "a" * 21, "ä"])
def test_a_name_that_could_not_be_a_chains_is_a_usage_error(name: str) -> None:
    fault = parse_fault("drop", ["--protocol", "tcp"])
    with pytest.raises(UsageError, match="is no name for a fault; write at most 20 lower case letters, digits and dashes"):
        add("lab", "router", name, fault)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A standing lab with the faults in the list, each of which an agent holds; what is taken away goes from it."""
    held: list[dict[str, Any]] = []

    def take(_engine: object, _lab: object, fault: dict[str, Any]) -> dict[str, Any]:
        held.remove(fault)
        return {**fault, "ran": []}

    monkeypatch.setattr(labctl.byhand, "_lab", lambda _: (SimpleNamespace(), SimpleNamespace()))
    monkeypatch.setattr(labctl.byhand, "_all_held", lambda *_: list(held))
    monkeypatch.setattr(labctl.byhand, "_take", take)
    monkeypatch.setattr(labctl.byhand, "swept", lambda _: [])
    return held


def call(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["fault", *words])
    return done.exit_code, done.output


def test_all_faults_are_removed_however_many_there_are(lab: list[dict[str, Any]]) -> None:
    """`all` of nothing is no mistake; a name that no fault has is one."""
    assert call("remove", "all") == (0, "nothing was broken by hand\n")
    assert call("remove", "all", "--json") == (0, "[]\n")
    assert call("remove", "wall") == (2, "labctl: no fault named wall is there; `labctl fault list` shows what is\n")
    lab += [{"host": "a", "name": "wall", "packets": 3}, {"host": "b", "name": "slow", "packets": 2}]
    assert call("remove", "all") == (0, "slow at b is gone; it touched 2 packets\nwall at a is gone; it touched 3 packets\n")
    assert lab == []


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("words", [("list", "--json"), ("remove", "all", "--json")])
def test_what_a_killed_agent_left_is_told_beside_the_list(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    """Nobody holds it, so it is taken back; and what is printed for programs stays JSON."""
    monkeypatch.setattr(labctl.byhand, "swept", lambda _: ["server"])
    done = CliRunner().invoke(main, ["fault", *words])
    assert (done.exit_code, done.stdout) == (0, "[]\n")
    assert done.stderr == "server: the faults of an agent that is gone are taken back\n"


@pytest.mark.parametrize("number", ["9" * 5000, "\u0663"], ids=["long", "arabic"])
def test_what_is_no_number_of_the_language_is_told_as_text(number: str) -> None:
    """Python reads other scripts' digits as numbers and refuses thousands of digits; neither is for the user to learn."""
    with pytest.raises(UsageError, match="--seed: Input should be a valid integer"):
        parse_fault("drop", ["--probability", "5%", "--seed", number])
    assert parse_fault("drop", ["--probability", "5%", "--seed", "7"]).model_dump()["seed"] == 7
