"""A lab that is broken by hand, on real Docker: what stands there, and that neither a run nor it undoes the other."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from labs import SCENARIOS, Start, containers, labctl, rules_in

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
    done = labctl("up", PAIR, "--name", NAME)
    assert done.code == 0, done.out + done.err
    yield NAME
    assert labctl("down", NAME).code == 0


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
