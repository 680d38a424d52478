"""Every scenario we ship passes on real Docker, alone in its folder run and several at once, and its evidence says why."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from labs import ROOT, Done, labctl, left_of

from labctl.evidence.pcapng import Capture
from labctl.evidence.record import load
from labctl.runs import judge_run
from labctl.scenario.files import cased, cases_of, find_scenarios
from labctl.verdict.judge import result

SHIPPED = [cased(path.stem, case) for path in find_scenarios([ROOT / "scenarios"]) for case in cases_of(path)]
SYN, RST = 0x02, 0x04


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    """What `labctl run scenarios --jobs 3` said, and where its runs are."""
    out = tmp_path_factory.mktemp("runs")
    done = labctl(
        "run",
        ROOT / "scenarios",
        "--jobs",
        3,
        "--out",
        out,
        "--json",
        "--junit",
        out / "all.xml",
        "--seed",
        7,
        timeout_s=1800,
    )
    return done, out


@pytest.fixture(scope="session")
def results(folder: tuple[Done, Path]) -> dict[str, dict[str, Any]]:
    """The results by the name of the scenario."""
    assert folder[0].out, folder[0].err
    found = json.loads(folder[0].out)
    return {value["scenario"]: value for value in ([found] if isinstance(found, dict) else found)}


@pytest.fixture(scope="session")
def firewall(folder: tuple[Done, Path], results: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The run directory of the firewall scenario, and its steps by name."""
    value = results["firewall"]
    return folder[1] / value["run"], {step["name"]: step for step in value["steps"]}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_scenario_passes(results: Mapping[str, Any], name: str) -> None:
    """The scenario's verdict is pass, every capture is complete, and every step that expects something says why it passed."""
    value = results[name]
    assert value["verdict"] == "pass", value["reason"]
    assert [c for c in value["captures"] if not c["complete"]] == []
    assert [f["name"] for f in value["faults"] if not f["fired"]] == []
    assert value["seed"] == 7
    for step in value["steps"]:
        assert step["verdict"] == "pass"
        assert step["reason"]
        if step["kind"] == "run" and step["outcome"] is not None:
            assert step["outcome"]["ms"] >= 0
            assert "errno" in step["outcome"]
            assert step["findings"]


def test_every_file_in_the_folder_is_run_once(folder: tuple[Done, Path]) -> None:
    """One run for each scenario we ship; a new file is run without being named anywhere."""
    assert sorted(value["scenario"] for value in json.loads(folder[0].out)) == sorted(SHIPPED)


def test_a_folder_that_passes_exits_with_0_and_leaves_nothing(
    folder: tuple[Done, Path], results: Mapping[str, Any]
) -> None:
    """The command's exit status is 0, stdout is JSON and nothing else, and no container, network or volume is left."""
    assert folder[0].code == 0, folder[0].err
    assert {name: left for name, value in results.items() if (left := left_of(value["run"]))} == {}


def test_the_junit_file_has_one_case_for_each_step_with_an_expectation(
    folder: tuple[Done, Path], results: Mapping[str, Any]
) -> None:
    """The JUnit file over all runs is XML that counts no failure and no error."""
    root = ElementTree.parse(folder[1] / "all.xml").getroot()
    suites = [root] if root.tag == "testsuite" else root.findall("testsuite")
    assert len(suites) == len(results)
    assert all(suite.get("failures") == "0" and suite.get("errors") == "0" for suite in suites)


def test_a_run_directory_holds_what_the_contract_says(firewall: tuple[Path, Any]) -> None:
    """Every file of the contract is in the run directory, and none of them is empty that must not be."""
    path, _ = firewall
    names = [
        "scenario.yaml",
        "plan.json",
        "compose.yaml",
        "events.jsonl",
        "sockets.jsonl",
        "result.json",
        "report.html",
        "junit.xml",
    ]
    pcaps = [f"pcap/{name}.pcapng" for name in ("server", "client", "router", "merged")]
    assert [name for name in (*names, *pcaps) if not (path / name).stat().st_size] == []
    assert (path / "programs/02-client.json").exists()
    assert list(path.rglob("*.part")) == []


def test_judging_again_gives_the_same_result(folder: tuple[Done, Path], results: Mapping[str, Any]) -> None:
    """`labctl judge` on the evidence alone says what the run itself said, for every run."""
    for value in results.values():
        again = result(judge_run(folder[1] / value["run"]))
        assert {k: again[k] for k in ("verdict", "reason", "steps", "faults", "captures")} == {
            k: value[k] for k in ("verdict", "reason", "steps", "faults", "captures")
        }


def _packets(path: Path, step: int, host: str = "client") -> list[Any]:
    evidence = load(path)
    start, end = evidence.window(step)
    return [p for p in evidence.packets[host] if start <= p.t < end]


@pytest.mark.parametrize(
    "name",
    [
        "dropped at the server, the SYNs arrive and nothing answers",
        "dropped on the router, the server never hears of it",
    ],
)
def test_a_dropped_connect_is_repeated_syns_and_no_answer(firewall: tuple[Path, Any], name: str) -> None:
    """The client's capture of a dropped connect has the SYN and its repetitions, a second and more apart, and nothing else."""
    path, steps = firewall
    step = steps[name]
    packets = [p for p in _packets(path, step["index"]) if p.is_tcp and 65432 in (p.sport, p.dport)]
    assert 2 <= len(packets) <= 4
    assert {p.flags for p in packets} == {SYN}
    assert len({(p.sport, p.raw_seq) for p in packets}) == 1, "these are not repetitions of one SYN"
    assert all(later.t - earlier.t > 0.9 for earlier, later in itertools.pairwise(packets))
    assert all(p.retransmission for p in packets[1:])
    assert step["outcome"]["errno"] == "ETIMEDOUT"
    assert step["outcome"]["ms"] / 1000 > packets[-1].t - packets[0].t
    assert f"{len(packets)} SYNs" in step["reason"]
    assert "no answer, no reset, no ICMP" in step["reason"]


def test_a_reset_and_icmp_answers_are_in_the_clients_capture(firewall: tuple[Path, Any]) -> None:
    """The client's capture has the RST of a reject with tcp-reset, and the ICMP errors of the others, by type and code."""
    path, steps = firewall
    seen = {
        name: (
            any(p.has(RST) and p.sport in (65432, 65433) for p in _packets(path, step["index"])),
            {p.icmp for p in _packets(path, step["index"]) if p.icmp},
            step["outcome"]["errno"],
        )
        for name, step in steps.items()
        if step["kind"] == "run" and ("reject" in name or "nothing listens" in name)
    }
    assert seen == {
        "nothing listens on this port, so the server's kernel refuses": (True, set(), "ECONNREFUSED"),
        "rejected with a reset, it looks as if nothing listened": (True, set(), "ECONNREFUSED"),
        'rejected by the router with "port unreachable", it is refused as well': (
            False,
            {(3, 3)},
            "ECONNREFUSED",
        ),
        'rejected with "host unreachable", connect() says just that': (False, {(3, 1)}, "EHOSTUNREACH"),
    }


def test_the_merged_capture_has_every_packet_of_every_host_in_order(firewall: tuple[Path, Any]) -> None:
    """The merged capture holds all packets but the sentinels, in the order of time, each on its host's interface."""
    path, _ = firewall
    merged = Capture.read(path / "pcap/merged.pcapng")
    hosts = {host: Capture.read(path / f"pcap/{host}.pcapng") for host in ("client", "server", "router")}
    assert len(merged.packets) == sum(not p.sentinel for capture in hosts.values() for p in capture.packets)
    assert [p.ns for p in merged.packets] == sorted(p.ns for p in merged.packets)
    wanted = {f"{host}:{i.name}" for host, capture in hosts.items() for i in capture.interfaces}
    assert {i.name for i in merged.interfaces} == wanted


def test_four_runs_of_one_scenario_at_once_do_not_meet(tmp_path: Path) -> None:
    """Four labs of the same compose file side by side: all pass, on four address blocks, and nobody hears another."""
    text = (ROOT / "scenarios/baseline.yaml").read_text(encoding="utf-8")
    for number in range(4):
        (tmp_path / f"{number}.yaml").write_text(text, encoding="utf-8")
    done = labctl("run", tmp_path, "--jobs", 4, "--json", "--out", tmp_path / "runs", timeout_s=300)
    assert done.code == 0, done.out + done.err
    blocks = set()
    for value in done.json:
        evidence = load(tmp_path / "runs" / value["run"])
        own = {address for host in evidence.addresses.values() for address in host}
        block = {address.rsplit(".", 1)[0] for address in own}
        blocks |= block
        assert len(block) == 1
        for host in evidence.captures:
            seen = {p.source for p in evidence.packets[host] if p.source.startswith("198.")}
            assert seen <= own
    assert len(blocks) == 4
