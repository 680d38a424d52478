"""Hosts that a scenario kills, on real Docker: what they are when they are back, and what is left when they stay dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from labs import SCENARIOS, Start, containers, docker, labctl, left_of, rules_in

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
    done = labctl("up", PAIR, "--name", NAME)
    assert done.code == 0, done.out + done.err
    yield NAME
    assert labctl("down", NAME).code == 0
    assert containers(f"labctl.lab={NAME}") == []


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


def test_kill_by_hand_is_refused_with_what_to_write(lab: str) -> None:
    """A host cannot be killed by hand through labctl: docker does it."""
    done = labctl("fault", "add", "--lab", lab, "server", "kill")
    assert done.code == 2
    assert "by hand write `docker kill`" in done.err
