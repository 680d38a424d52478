"""Hosts that a scenario kills, on real Docker: what they are when they are back, and what is left when they stay dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labs import SCENARIOS, Start, containers, docker, labctl, left_of, rules_in, standing

pytestmark = pytest.mark.usefixtures("collecting")

NAME = f"deaths-{os.getpid()}"
PAIR = SCENARIOS / "pair.yml"
AGAIN = f"""\
scenario: again
lab: {PAIR}
steps:
  - {{start: [echo-server, "", 65432, --connections=0], on: server, ready: {{listen: 65432}}}}
  - {{fault: closed, at: server, reject: {{protocol: tcp, dport: 65433, with: icmp-host-unreachable}}}}
  - {{fault: slow, at: server, link: {{delay: 100ms, direction: ingress}}}}
  - {{run: [probe, connect, server, 65433], on: client, expect: {{errno: EHOSTUNREACH}}}}
  - {{fault: power-cut, at: server, kill: {{}}}}
  - {{heal: power-cut}}
  - name: the fault is there again, and so is the delay
    run: [probe, connect, server, 65433]
    on: client
    expect: {{errno: EHOSTUNREACH, elapsed: {{min: 95ms}}}}
  - name: nobody has started the server again
    run: [probe, connect, server, 65432]
    on: client
    expect: {{errno: ECONNREFUSED, packets: [{{at: server, filter: "tcp.dstport == 65432"}}]}}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[str]:
    """A standing lab of two hosts."""
    with standing(PAIR, NAME):
        yield NAME


def again(tmp_path: Path) -> Path:
    path = tmp_path / "again.yaml"
    path.write_text(AGAIN, encoding="utf-8")
    return path


def test_a_host_that_was_killed_is_what_it_was(tmp_path: Path) -> None:
    """Its faults touch packets in both of its lives, its capture has both, one after the other, and tshark reads it."""
    done = labctl("run", again(tmp_path), "--out", tmp_path / "runs", "--json")
    assert done.code == 0, done.out + done.err
    value = done.json
    faults = {fault["name"]: fault for fault in value["faults"]}
    assert [len(faults[name]["spans"]) for name in ("closed", "slow", "power-cut")] == [2, 2, 1]
    assert all(span["packets"] for fault in value["faults"] for span in fault["spans"])
    assert [c["complete"] for c in value["captures"]] == [True, True]
    (run,) = (tmp_path / "runs").glob("*-again-*")
    rows = [line.split("\t") for line in (run / "pcap/server.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    killed, back = (next(e for e in events(run) if e["event"] == f"host-{what}") for what in ("killed", "started"))
    epoch = next(e["epoch"] for e in events(run) if e["event"] == "run-start")
    # Within a life dumpcap writes what its threads, one for each interface, hand it: not quite in order.
    lives = [float(row[1]) - epoch > (killed["t"] + back["t"]) / 2 for row in rows]
    assert lives == sorted(lives)
    assert set(lives) == {False, True}
    assert {s["port"] for s in killed["open"]} == {65432}
    assert back["t"] > killed["t"]
    tshark = ["docker", "run", "--rm", "-i", "labctl/agent", "tshark", "-r", "-", "-T", "fields"]
    read = subprocess.run(
        [*tshark, "-e", "frame.number", "-e", "frame.time_epoch"],
        input=(run / "pcap/server.pcapng").read_bytes(), capture_output=True, check=True,
    )  # fmt: skip
    # The file may hold a packet after an end sentinel that the dissection leaves out; what is in both has one number.
    assert {tuple(row[:2]) for row in rows} <= {tuple(line.split("\t")) for line in read.stdout.decode().splitlines()}
    assert len({row[2] for row in rows}) == 2
    assert left_of(run.name) == []


def events(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def test_on_a_standing_lab_too_and_again_and_again(lab: str, tmp_path: Path) -> None:
    """A run kills a host of a lab that stays and brings it back; the next run finds the lab as it was."""
    for _ in range(2):
        done = labctl("run", again(tmp_path), "--lab", lab, "--out", tmp_path / "runs", "--json")
        assert done.code == 0, done.out + done.err
        assert len(containers(f"labctl.lab={lab}", "labctl.nursery")) == 2


def test_a_standing_host_that_nobody_heals_is_up_after_the_run(lab: str, tmp_path: Path) -> None:
    """At the end of a run on a lab that stays, what the run killed is started again."""
    done = labctl("run", SCENARIOS / "dead.yaml", "--set", "wait=10ms", "--lab", lab, "--out", tmp_path / "runs", "--json")
    assert done.code == 0, done.out + done.err
    assert labctl("exec", "--lab", lab, "server", "--", "true").code == 0


def test_a_driver_that_is_killed_while_a_host_is_dead_leaves_nothing(start: Start) -> None:
    """No fault at the living host, and after gc nothing at all."""
    live = start(SCENARIOS / "dead.yaml")
    live.wait_for("step-start", kind="wait")
    live.process.kill()
    live.process.wait()
    assert not any("LABCTL" in rules_in(host) for host in containers(f"labctl.run={live.run}", "labctl.host"))
    assert labctl("gc").code == 0
    assert left_of(live.run) == []


def host_of(lab: str, host: str) -> dict[str, Any]:
    """What `labctl ps` says of a host of a lab."""
    (found,) = [h for entry in labctl("ps", "--json").json if entry["name"] == lab for h in entry["hosts"] if h["name"] == host]
    assert isinstance(found, dict)
    return found


def killed(start: Start, scenario: Path, lab: str) -> str:
    """Kill the driver of a run on a standing lab in the scenario's wait; the run."""
    live = start(scenario, "--lab", lab)
    live.wait_for("step-start", kind="wait")
    live.process.kill()
    live.process.wait()
    return live.run


def assert_whole(lab: str, tmp_path: Path) -> None:
    """Every host is up with its one nursery and its routes, no rule of ours and no note is left, and scenarios run there."""
    assert {host_of(lab, h)["state"] for h in ("client", "server")} == {"running"}
    assert len(containers(f"labctl.lab={lab}", "labctl.nursery")) == 2
    assert docker("volume", "ls", "--quiet", "--filter", f"label=labctl.lab={lab}", "--filter", "label=labctl.disturbed") == ""
    for host in containers(f"labctl.lab={lab}", "labctl.host"):
        assert "LABCTL" not in rules_in(host)
        routes = docker("run", "--rm", "--network", f"container:{host}", "labctl/agent", "ip", "route")
        assert "unreachable" in routes, "the bridge can be reached, so its routes were not set"
    done = labctl("run", again(tmp_path), "--lab", lab, "--out", tmp_path / "runs", "--json")
    assert done.code == 0, done.out + done.err


def test_gc_starts_a_standing_host_that_a_dead_run_had_killed(lab: str, start: Start, tmp_path: Path) -> None:
    """A driver is killed while a host is dead: everybody says so and what to do, `labctl gc` does it, and the lab is whole."""
    run = killed(start, SCENARIOS / "dead.yaml", lab)
    why = f"the host server of lab {lab} is down: the run {run}, which is gone, left it so; `labctl gc` sets it right"
    assert host_of(lab, "server")["state"] == "exited"
    assert host_of(lab, "server")["why"] == why
    assert why in labctl("ps").out
    again_there = labctl("run", again(tmp_path), "--lab", lab, "--out", tmp_path / "runs", "--json")
    assert (again_there.code, again_there.json["reason"]) == (4, why)
    by_hand = labctl("fault", "add", "--lab", lab, "server", "drop", "--protocol", "tcp", "--dport", 9, "--direction", "in")
    for asked in (labctl("exec", "--lab", lab, "server", "true"), by_hand):
        assert (asked.code, asked.err) == (4, f"labctl: {why}\n")
    assert labctl("fault", "list", "--lab", lab).out == "nothing is broken by hand\n"
    collected = labctl("gc")
    assert collected.code == 0, collected.err
    assert f"{lab}/server: a run that is gone had killed or frozen it; it is up again" in collected.out
    assert_whole(lab, tmp_path)
    assert f"{lab}/server" not in labctl("gc").out


def test_gc_leaves_a_host_dead_that_a_living_run_has_killed(lab: str, start: Start, tmp_path: Path) -> None:
    """Another driver's gc and up leave a host alone while the run goes on that killed it, and a second run is told to wait."""
    live = start(SCENARIOS / "dead.yaml", "--lab", lab)
    live.wait_for("step-start", kind="wait")
    why = f"the host server of lab {lab} is down: the run {live.run} wants it so now; wait until that has ended"
    assert labctl("gc").code == 0
    assert host_of(lab, "server")["state"] == "exited"
    assert labctl("up", "--name", lab).code == 2
    second = labctl("run", again(tmp_path), "--lab", lab, "--out", tmp_path / "runs", "--json")
    assert (second.code, second.json["reason"]) == (4, why)
    assert host_of(lab, "server")["state"] == "exited"
    live.signal(signal.SIGINT)
    assert live.end().code == 130
    assert_whole(lab, tmp_path)


def test_gc_sets_a_standing_host_going_that_a_dead_run_had_frozen(lab: str, start: Start, tmp_path: Path) -> None:
    """The same for pause: what a dead run froze goes on after gc; what somebody froze by hand does not."""
    frozen = tmp_path / "frozen.yaml"
    text = (SCENARIOS / "dead.yaml").read_text(encoding="utf-8").replace("lab: pair.yml", f"lab: {PAIR}")
    frozen.write_text(text.replace("power-cut, at: server, kill", "cold, at: server, pause"), encoding="utf-8")
    run = killed(start, frozen, lab)
    assert host_of(lab, "server")["why"] == (
        f"the host server of lab {lab} is frozen: the run {run}, which is gone, left it so; `labctl gc` sets it right"
    )
    assert labctl("run", again(tmp_path), "--lab", lab, "--out", tmp_path / "runs").code == 4
    client = containers(f"labctl.lab={lab}", "labctl.host=client")[0]
    docker("pause", client)
    assert f"{lab}/server: a run that is gone had killed or frozen it" in labctl("gc").out
    assert (host_of(lab, "server")["state"], host_of(lab, "client")["state"]) == ("running", "paused")
    docker("unpause", client)
    assert_whole(lab, tmp_path)


def test_a_host_that_somebody_killed_by_hand_is_started_by_up_and_not_by_gc(lab: str, tmp_path: Path) -> None:
    """A death by hand is as somebody wants it: gc leaves it, `labctl up` starts the host again, and the lab is whole."""
    docker("kill", containers(f"labctl.lab={lab}", "labctl.host=server")[0])
    assert labctl("gc").code == 0
    assert host_of(lab, "server")["state"] == "exited"
    assert f"its container ended with 137; `labctl up --name {lab}` starts it again" in host_of(lab, "server")["why"]
    up = labctl("up", "--name", lab)
    assert (up.code, up.out) == (0, f"lab {lab} is up: server\n"), up.err
    assert_whole(lab, tmp_path)


def test_a_host_that_was_restarted_by_hand_is_usable_at_once(lab: str, tmp_path: Path) -> None:
    """What lived beside it is of no use any more: nothing is in place by hand, the next run does without, `up` mends it."""
    packets = ("--protocol", "tcp", "--dport", 9, "--direction", "in")
    assert labctl("fault", "add", "--lab", lab, "server", "drop", *packets).code == 0
    docker("restart", "--time", "0", containers(f"labctl.lab={lab}", "labctl.host=server")[0])
    assert labctl("fault", "list", "--lab", lab).out == "nothing is broken by hand\n"
    done = labctl("run", again(tmp_path), "--lab", lab, "--out", tmp_path / "runs", "--json")
    assert done.code == 0, done.out + done.err
    docker("restart", "--time", "0", containers(f"labctl.lab={lab}", "labctl.host=server")[0])
    assert labctl("up", "--name", lab).out == f"lab {lab} is up: server\n"
    assert_whole(lab, tmp_path)


def test_an_interrupt_while_a_host_is_dead_undoes_everything(start: Start) -> None:
    """Ctrl-C then: exit 130, both captures are saved and complete, nothing is left."""
    live = start(SCENARIOS / "dead.yaml")
    live.wait_for("step-start", kind="wait")
    live.signal(signal.SIGINT)
    assert live.end().code == 130
    value = live.result()
    assert [c["complete"] for c in value["captures"]] == [True, True]
    assert next(f for f in value["faults"] if f["kind"] == "kill")["packets"] > 0
    assert left_of(live.run) == []


def test_gc_takes_back_what_a_killed_agent_left_on_a_standing_lab(lab: str) -> None:
    """The agent that holds what is broken by hand is killed; gc removes its rules, and not those of one that lives."""
    for host, name in (("server", "dead"), ("client", "alive")):
        packets = ("--protocol", "tcp", "--dport", 9, "--direction", "in")
        done = labctl("fault", "add", "--lab", lab, "--name", name, host, "drop", *packets)
        assert done.code == 0, done.err
    docker("kill", *containers(f"labctl.lab={lab}", "labctl.resident=server"))
    server, client = (containers(f"labctl.lab={lab}", f"labctl.host={host}")[0] for host in ("server", "client"))
    assert "LABCTL-dead" in rules_in(server)
    collected = labctl("gc")
    assert collected.code == 0, collected.err
    assert f"{lab}/server: the faults of an agent that is gone are taken back" in collected.out
    assert "-X LABCTL-dead" in collected.out
    assert "LABCTL" not in rules_in(server)
    assert "LABCTL-alive" in rules_in(client)
    assert labctl("fault", "remove", "--lab", lab, "alive").code == 0
    assert "LABCTL" not in rules_in(client)
