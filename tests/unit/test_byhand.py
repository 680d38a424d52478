# ruff: noqa: E501  messages stand here as they are shown, on one line
"""`labctl fault`: what is asked for by hand and cannot be is said before Docker is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import labctl.byhand
from labctl.byhand import add, parse_fault
from labctl.cli import main
from labctl.engines.agents import AgentRefused
from labctl.errors import LabctlError, UsageError
from labctl.faults import FAULTS
from labctl.faults.base import Site


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
    lab += [
        {"host": "a", "name": "wall", "packets": 3},
        {"host": "b", "name": "slow", "packets": 2, "effect": {"seen": 5, "delayed": 2}},
    ]
    assert call("remove", "all") == (0, "slow at b is gone; it touched 2 packets: of 5 it delayed 2\nwall at a is gone; it touched 3 packets\n")
    assert lab == []


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("words", [("list", "--json"), ("remove", "all", "--json")])
def test_what_a_killed_agent_left_is_told_beside_the_list(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    """Nobody holds it, so it is taken back; and what is printed for programs stays JSON."""
    monkeypatch.setattr(labctl.byhand, "swept", lambda _: ["server"])
    done = CliRunner().invoke(main, ["fault", *words])
    assert (done.exit_code, done.stdout) == (0, "[]\n")
    assert done.stderr == "server: the faults of an agent that is gone are taken back\n"


@pytest.mark.parametrize(
    ("number", "said"),
    [("9" * 5000, "--seed: '9+…' is out of range; write at most 18 digits"), ("\u0663", "--seed: must be a whole number")],
    ids=["long", "arabic"],
)
def test_what_is_no_number_of_the_language_is_told_so(number: str, said: str) -> None:
    """Python reads other scripts' digits as numbers and refuses thousands of digits; neither is for the user to learn."""
    with pytest.raises(UsageError, match=said):
        parse_fault("drop", ["--probability", "5%", "--seed", number])
    assert parse_fault("drop", ["--probability", "5%", "--seed", "7"]).model_dump()["seed"] == 7


@pytest.mark.parametrize(
    ("words", "same_as"),
    [
        (["link", "--loss-gemodel", "{p: 5%, r: 25%, 1-h: 70%}"], {"loss_gemodel": {"p": "5%", "r": "25%", "1-h": "70%"}}),
        (["link", "--loss-state={p13: 5%, p31: 25%}"], {"loss_state": {"p13": "5%", "p31": "25%"}}),
        (["link", "--slot", "{min: 1ms, packets: 5}"], {"slot": {"min": "1ms", "packets": 5}}),
        (["link", "--delay", "1ms", "--ramp", "{over: 2s, delay: 9ms}"], {"delay": "1ms", "ramp": {"over": "2s", "delay": "9ms"}}),
        (["resolve", "--query", "a.lab", "--in-turn", "[server, [dead, server], unknown]"],
         {"query": "a.lab", "in_turn": ["server", ["dead", "server"], "unknown"]}),
        (["drop", "--protocol", "tcp", "--dport", "80", "--to", "a", "--to", "b", "--first", "3"],
         {"protocol": "tcp", "dport": 80, "to": ["a", "b"], "first": 3}),
        (["drop", "--protocol", "tcp", "--flags", "syn", "--flags", "!ack"], {"protocol": "tcp", "flags": "syn,!ack"}),
        (["pause"], {}),
    ],
)  # fmt: skip
def test_every_key_of_a_scenario_can_be_given_by_hand(words: list[str], same_as: dict[str, Any]) -> None:
    """A mapping or a list as it is written there, all else as text, and an option given twice is a list."""
    assert parse_fault(words[0], words[1:]) == FAULTS[words[0]].model_validate(same_as)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["link", "--delay", "99999h"], "--delay: '99999h' is out of range; it must be at most 240s"),
        (["link", "--delay", "5"], "--delay: duration 5 has no unit; write one of us, ms, s, m, min, h, like 100ms"),
        (["link", "--loss-gemodel", "5%"], "--loss-gemodel: must be a mapping (p, r, 1-h, 1-k), not '5%'"),
        (["link", "--loss-gemodel", "{p: 5%"], "--loss-gemodel: '{p: 5%' is not YAML; write it as in a scenario, on one line, like {p: 5%, r: 25%}"),
        (["link", "--loss-gemodel", "{p: 5%, p: 6%, r: 1%}"], "--loss-gemodel: the key p stands twice in line 1; keep one of them"),
        (["link", "--loss-gemodel", "{p: 5%, r: 101%}"], "--loss-gemodel: 101% is not between 0% and 100%"),
        (["link", "--jitter", "1ms"], "link: jitter: varies a delay; write delay: as well"),
        (["resolve", "--to", "server", "--query", "a b"], "--query: cannot be 'a b'; a name is"),
        (["drop", "--protocol", "tpc"], "--protocol: cannot be 'tpc'; did you mean tcp? It is one of tcp, udp, icmp, icmpv6 or all"),
        (["drop", "--first", "x"], "--first: must be a whole number, not 'x'"),
        (["reset"], "reset needs --port: The port of either end"),
        (["drop", "--dprot", "80"], "drop has no --dprot (did you mean --dport?); it has --protocol, --family, --from,"),
        (["pause", "--on", "80"], "pause has no --on; it has none"),
        (["expire"], "expire: does not know connections of all; write protocol: tcp or protocol: udp"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_by_hand_is_said_in_the_words_of_scenarios(words: list[str], said: str) -> None:
    """The option that is wrong, and what would be right: no word of a library, no type of Python."""
    with pytest.raises(UsageError) as refused:
        parse_fault(words[0], words[1:])
    assert str(refused.value).startswith(said)


class HandAgent:
    """The agent of a host that stands, which tells of a fault on a timeline what a test says."""

    host, devices = "server", {"net": "eth0"}

    def __init__(self, *events: dict[str, Any], refuses: AgentRefused | None = None) -> None:
        self.events, self.refuses = events, refuses
        self.asked: list[str] = []
        self.heard: Callable[[dict[str, Any]], None] = lambda _: None

    def call(self, op: str, **asked: Any) -> dict[str, Any]:
        self.asked.append(op)
        if self.refuses is not None:
            raise self.refuses
        for event in self.events if op == "schedule" else ():
            self.heard(event)
        return {"ran": [], "time": 1.0, **asked}


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, dict[str, Any]]]:
    """Put a fault called `x` at the server of a lab that stands, whose agent is the one given."""

    def put(agent: HandAgent, *words: str) -> tuple[str, dict[str, Any]]:
        @contextmanager
        def resident(_engine: object, _lab: object, _host: str, heard: Any) -> Iterator[HandAgent]:
            agent.heard = heard
            yield agent

        site = Site("server", False, ("net",), {"server": ("10.0.1.3",)})
        standing = SimpleNamespace(hosts={"server": None}, no_hosts={}, site=lambda *_: site)
        monkeypatch.setattr(labctl.byhand, "_lab", lambda _: (SimpleNamespace(why_down=lambda _: None), standing))
        monkeypatch.setattr(labctl.byhand, "_all_held", lambda *_: [])
        monkeypatch.setattr(labctl.byhand, "_resident", resident)
        return add("lab", "server", "x", parse_fault(words[0], words[1:]))

    return put


BEGUN = {"event": "fault-applied", "ran": [], "time": 2.0, "backend": "netem", "interface": "eth0", "asked": 1.9, "packets": None}


def test_a_ramp_by_hand_is_the_agents_to_see_to(by_hand: Any) -> None:
    """It is in place when the agent has said so of this fault, whatever it says of others."""
    agent = HandAgent({**BEGUN, "name": "other", "time": 1.0}, {**BEGUN, "name": "x"})
    name, answer = by_hand(agent, "link", "--delay", "1ms", "--ramp", "{over: 1s, delay: 9ms}")
    assert (name, answer) == ("x", {"ran": [], "time": 2.0, "backend": "netem", "interface": "eth0"})
    assert agent.asked == ["schedule"]


@pytest.mark.parametrize(("impossible", "code"), [(True, 2), (False, 4)])
def test_a_fault_that_cannot_be_beside_another_is_bad_usage(by_hand: Any, impossible: bool, code: int) -> None:
    """Two rates on one link are the user's to mend; a command that failed is the lab's. With a ramp as without."""
    why = AgentRefused("server: two rates", {"impossible": impossible})
    with pytest.raises(LabctlError, match="server: two rates") as refused:
        by_hand(HandAgent(refuses=why), "link", "--rate", "1mbit")
    assert refused.value.exit_code == code
    agent = HandAgent({"event": "fault-error", "name": "x", "error": "two rates", "impossible": impossible})
    with pytest.raises(LabctlError, match="server: two rates") as refused:
        by_hand(agent, "link", "--rate", "1mbit", "--ramp", "{over: 1s, rate: 9kbit}")
    assert refused.value.exit_code == code
    assert agent.asked == ["schedule", "undo"], "nothing of it is left"
