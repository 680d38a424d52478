"""A lab that is broken by hand, on real Docker: what stands there, and that neither a run nor it undoes the other."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from labs import SCENARIOS, Start, containers, docker, labctl, rules_in, standing

pytestmark = pytest.mark.usefixtures("collecting")

NAME = f"hand-{os.getpid()}"
PAIR = SCENARIOS / "pair.yml"
LINK = """\
scenario: late
steps:
  - {fault: late, at: server, link: {delay: 30ms, toward: client}}
  - {run: [probe, connect, server, 65433], on: client, expect: {errno: ECONNREFUSED}}
  - {wait: 60s}
"""
HIDDEN = """\
scenario: hidden
steps:
  - {run: [probe, connect, server, 65434, --timeout=300ms], on: client, expect: {errno: ECONNREFUSED}}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[str]:
    """A standing lab of two hosts."""
    with standing(PAIR, NAME):
        yield NAME


@pytest.fixture(autouse=True)
def nothing_by_hand(lab: str) -> Iterator[None]:
    """What a test broke is mended after it."""
    yield
    labctl("fault", "remove", "--lab", lab, "all")


def scenario(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "scenario.yaml"
    path.write_text(text.replace("steps:", f"lab: {PAIR}\nsteps:", 1), encoding="utf-8")
    return path


def rules(lab: str, host: str) -> list[str]:
    """The rules of ours at a host."""
    said = rules_in(containers(f"labctl.lab={lab}", f"labctl.host={host}")[0])
    return [line for line in said.splitlines() if "LABCTL" in line and not line.startswith(":")]


def test_a_run_leaves_a_link_fault_by_hand_as_it_is(lab: str, tmp_path: Path) -> None:
    """One interface has one tree: the run is told which fault is there before anything is touched, and that one goes on."""
    assert labctl("fault", "add", "--lab", lab, "--name", "slow", "server", "link", "--delay", "40ms").code == 0
    before = rules(lab, "server")
    done = labctl("run", scenario(tmp_path, LINK), "--lab", lab, "--out", tmp_path / "runs", "--json")
    assert done.code == 4
    assert done.json["reason"] == (
        "the fault late cannot be put at server: what leaves eth0 has the link fault slow already, put by hand: "
        "`labctl fault remove slow` takes it away"
    )
    assert done.json["steps"] == []
    assert rules(lab, "server") == before
    assert "ECONNREFUSED" in labctl("exec", "--lab", lab, "client", "--", "probe", "connect", "server", "9").out
    (slow,) = labctl("fault", "list", "--lab", lab, "--json").json
    assert (slow["name"], slow["packets"]) == ("slow", 1)
    assert labctl("fault", "remove", "--lab", lab, "slow").code == 0
    assert rules(lab, "server") == []


def test_a_fault_by_hand_leaves_that_of_a_run_as_it_is(lab: str, tmp_path: Path, start: Start) -> None:
    """The same the other way round, and for a second run: both are refused and told which run has it, whose fault goes on."""
    path = scenario(tmp_path, LINK)
    live = start(path, "--lab", lab)
    live.wait_for("step-start", kind="wait")
    before = rules(lab, "server")
    by_hand = labctl("fault", "add", "--lab", lab, "--name", "slow", "server", "link", "--delay", "40ms")
    why = f"what leaves eth0 has the link fault late already, of the run {live.run}: wait until that has ended"
    assert (by_hand.code, by_hand.err) == (4, f"labctl: server: {why}\n")
    path.write_text(path.read_text(encoding="utf-8").replace("fault: late", "fault: later"), encoding="utf-8")
    second = labctl("run", path, "--lab", lab, "--out", tmp_path / "runs", "--json")
    assert (second.code, second.json["reason"]) == (4, f"the fault later cannot be put at server: {why}")
    assert rules(lab, "server") == before
    live.signal(signal.SIGINT)
    assert live.end().code == 130
    assert rules(lab, "server") == []


def test_a_run_that_did_not_pass_tells_what_stood_there(lab: str, tmp_path: Path) -> None:
    """A fault by hand that nobody thinks of any more is in the reason of the run that it broke."""
    assert labctl("fault", "add", "--lab", lab, "--name", "old", "server", "drop", "--protocol", "tcp", "--dport", 65434,
                  "--direction", "in").code == 0  # fmt: skip
    done = labctl("run", scenario(tmp_path, HIDDEN), "--lab", lab, "--out", tmp_path / "runs", "--json")
    assert done.code == 1
    assert done.json["reason"].endswith("; the drop fault old on server, put by hand, was there when the run began")
    assert done.json["environment"]["faults_before"] == "the drop fault old on server, put by hand"


def test_a_host_is_killed_by_hand_and_starts_again_when_that_is_taken_away(lab: str, tmp_path: Path) -> None:
    """Everybody says why it is down and what to do, gc and up leave it so, and afterwards it is what it was."""
    killed = labctl("fault", "add", "--lab", lab, "--name", "cut", "server", "kill")
    assert killed.code == 0, killed.err
    why = (
        f"the host server of lab {lab} is down: the fault cut, put by hand, wants it so now; "
        "`labctl fault remove cut` starts it again"
    )
    assert why in labctl("ps").out
    assert [(f["host"], f["name"], f["note"]) for f in labctl("fault", "list", "--lab", lab, "--json").json] == [
        ("server", "cut", {"kind": "kill"})
    ]
    assert labctl("gc").code == 0
    assert labctl("up", "--name", lab).code == 2
    for command in (
        ("exec", "--lab", lab, "server", "true"),
        ("fault", "add", "--lab", lab, "server", "pause"),
        ("run", scenario(tmp_path, HIDDEN), "--lab", lab, "--out", tmp_path / "runs"),
    ):
        done = labctl(*command)
        assert (done.code, " ".join((done.out + done.err).split()).count(why) > 0) == (4, True), done.out + done.err
    assert labctl("fault", "remove", "--lab", lab, "cut").code == 0
    assert rules(lab, "server") == []
    done = labctl("run", scenario(tmp_path, HIDDEN), "--lab", lab, "--out", tmp_path / "runs", "--json")
    assert done.code == 0, done.out


def test_a_host_is_frozen_by_hand_until_that_is_taken_away(lab: str, tmp_path: Path) -> None:
    """Its kernel goes on, and a run learns that it is frozen; what arrived meanwhile is counted."""
    assert labctl("fault", "add", "--lab", lab, "--name", "cold", "server", "pause").code == 0
    again = labctl("fault", "add", "--lab", lab, "server", "kill")
    assert again.code == 4
    assert again.err == "labctl: server is frozen already, by the fault cold; `labctl fault remove cold` first\n"
    done = labctl("run", scenario(tmp_path, HIDDEN), "--lab", lab, "--out", tmp_path / "runs", "--json")
    assert (done.code, done.json["environment"]["faults_before"]) == (0, "the pause fault cold on server, put by hand")
    (removed,) = labctl("fault", "remove", "--lab", lab, "all", "--json").json
    assert removed["packets"] > 0
    assert labctl("exec", "--lab", lab, "server", "true").code == 0


def test_a_host_with_faults_by_hand_is_not_killed(lab: str, tmp_path: Path) -> None:
    """They would go with its network namespace, and nobody would put them there again: by hand and in a run it is refused."""
    assert labctl("fault", "add", "--lab", lab, "--name", "old", "server", "drop", "--protocol", "tcp", "--dport", 9,
                  "--direction", "in").code == 0  # fmt: skip
    done = labctl("fault", "add", "--lab", lab, "server", "kill")
    assert (done.code, done.err) == (
        4, "labctl: with server would go the fault old, which is in place there; take that away first\n",
    )  # fmt: skip
    text = "scenario: cut\nsteps:\n  - {fault: cut, at: server, kill: {}}\n" + HIDDEN.partition("steps:\n")[2]
    ran = labctl("run", scenario(tmp_path, text), "--lab", lab, "--out", tmp_path / "runs", "--json")
    assert (ran.code, ran.json["reason"]) == (
        4, "the fault cut cannot be put at server: it would take with it the drop fault old on server, put by hand",
    )  # fmt: skip
    assert rules(lab, "server") != []


def test_what_an_agent_that_was_killed_had_broken_is_not_forgotten(lab: str) -> None:
    """Its rules are in nobody's list; whoever looks has them taken away and is told, and what others hold stays."""
    for host, name in (("server", "dead"), ("client", "alive")):
        assert labctl("fault", "add", "--lab", lab, "--name", name, host, "drop", "--protocol", "udp").code == 0
    docker("kill", *containers(f"labctl.lab={lab}", "labctl.resident=server"))
    assert rules(lab, "server")
    listed = labctl("fault", "list", "--lab", lab, "--json")
    assert [fault["name"] for fault in listed.json] == ["alive"]
    assert listed.err == "server: the faults of an agent that is gone are taken back\n"
    assert rules(lab, "server") == []
    assert rules(lab, "client")
    assert labctl("fault", "list", "--lab", lab).err == ""
