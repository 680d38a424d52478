"""Real netem: the link scenarios, the fault table and the calibration on Debian 13's kernel, with the next Debian's Docker.

Everything below is done in one boot of one virtual machine; each test then asks what became of its part.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from vm_fault_table import TABLE, Row, missing, plain
from vm_jobs import ROOT
from vm_machine import Report

from labctl.catalogue import catalogue

guest = pytest.mark.guest
# Labs of their own: that Docker 28 lets the router forward. On a standing lab: every scenario about bad lines; elsewhere the
# same files pass by the emulator.
FRESH = ("scenarios/baseline.yaml",)
STANDING = tuple(
    Path(entry.path).relative_to(ROOT).as_posix()
    for entry in catalogue(sorted((ROOT / "scenarios").glob("link-*.yaml")))
    if "link" in entry.faults
)


def name_of(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".yaml")


def passed(result: dict[str, Any], where: object) -> None:
    """Fail with the reason of every step that did not pass, and where its evidence is."""
    steps = [
        f"{step['name']}: {step['reason']}"
        for step in result["steps"]
        if step["verdict"] not in ("pass", "skip")
    ]
    told = "\n  ".join([result["reason"] or "", *steps, f"its evidence: {where}"])
    assert result["verdict"] == "pass", f"{result['scenario']} in the guest: {result['verdict']}\n  {told}"


@pytest.fixture(scope="session")
def results(report: Report) -> dict[str, dict[str, Any]]:
    """Path -> result, of the scenarios that came to an end in the guest."""
    return {event["id"]: event["result"] for event in report.events if event["event"] == "scenario"}


def result_of(path: str, report: Report, results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The result of a scenario that passed; fails with the guest's reasons otherwise."""
    if path not in results:
        job = report.job("scenarios")
        pytest.fail(
            f"the guest did not get to it; its last words: {job['exit']} {(job['err'] + job['out'])[-3000:]}"
        )
    passed(results[path], report.folder / "results/jobs/scenarios/runs")
    return results[path]


@pytest.mark.parametrize(
    "path", [pytest.param(p, marks=guest("fresh", scenario=p), id=name_of(p)) for p in FRESH]
)
def test_a_lab_of_its_own_works_on_docker_28(
    path: str, report: Report, results: dict[str, dict[str, Any]]
) -> None:
    """Which drops a packet to a container that comes by another bridge (raw PREROUTING), if not told otherwise."""
    major, _ = result_of(path, report, results)["environment"]["docker"].split(".", 1)
    assert int(major) >= 28


@pytest.mark.parametrize(
    "path", [pytest.param(p, marks=guest("standing", scenario=p), id=name_of(p)) for p in STANDING]
)
def test_the_scenario_passes_with_netem(
    path: str, report: Report, results: dict[str, dict[str, Any]]
) -> None:
    faults = result_of(path, report, results)["faults"]
    backends = {fault["name"]: fault["backend"] for fault in faults if fault["kind"] == "link"}
    assert set(backends.values()) == {"netem"}, f"not all by netem: {backends}"


@pytest.fixture(scope="session")
def listings(report: Report) -> dict[str, Any]:
    """Row -> what tc said."""
    job = report.job("fault-table")
    assert job["exit"] == 0, f"it ended with {job['exit']} after {job['seconds']}s:\n{job['err'][-3000:]}"
    found: dict[str, Any] = json.loads(job["out"])
    return found


@guest("fault-table")
@pytest.mark.parametrize("row", TABLE, ids=str)
def test_tc_says_exactly_what_was_asked(row: Row, listings: dict[str, Any]) -> None:
    said = listings[row.name]
    assert isinstance(said, list), f"the agent refused it: {said['error']}"
    assert not missing(row, said), "tc says:\n  " + "\n  ".join(plain(line) for line in said)


@guest("fault-table")
def test_after_all_those_faults_nothing_is_left(listings: dict[str, Any]) -> None:
    assert listings["after"] == listings["before"]
    assert not [line for line in listings["after"] if "netem" in line or "htb" in line]


# What is asked of a machine that is itself emulated: chances and rates exactly, since they do not depend on its speed; times
# never too early, and late only by what emulation costs. How exact they are on real hardware is docs/benchmarks.md's business.
LATE_MS = 30.0
AS_SHIPPED = ("duplicate", "corrupt", "loss", "reorder")
RATES = ("rate 1 Mbit/s", "rate 10 Mbit/s")


@pytest.fixture(scope="session")
def calibration(report: Report) -> dict[str, dict[str, Any]]:
    """What was measured, by name."""
    job = report.job("calibration")
    assert job["exit"] == 0, f"it ended with {job['exit']} after {job['seconds']}s:\n{job['err'][-3000:]}"
    return {row["what"]: row for row in json.loads(job["out"])}


@guest("calibration")
@pytest.mark.parametrize("what", AS_SHIPPED)
def test_the_calibration_finds_the_chance_that_was_asked_for(
    what: str, calibration: dict[str, dict[str, Any]]
) -> None:
    row = calibration[what]
    spread = 2 * (
        row["high"] - row["asked"]
    )  # twice what 99 of 100 counts lie in: a table of four must not fail by chance
    assert abs(row["got"] - row["asked"]) <= spread, (
        f"{what}: asked {row['asked']} {row['unit']}, got {row['got']:.2f}"
    )


@guest("calibration")
@pytest.mark.parametrize("what", RATES)
def test_the_calibration_finds_the_rate_that_was_asked_for(
    what: str, calibration: dict[str, dict[str, Any]]
) -> None:
    row = calibration[what]
    assert 0.85 * row["asked"] <= row["got"] <= row["high"], (
        f"asked {row['asked']} {row['unit']}, got {row['got']:.2f}"
    )


@guest("calibration")
def test_the_calibration_finds_the_delay_that_was_asked_for(calibration: dict[str, dict[str, Any]]) -> None:
    row = calibration["delay, median"]
    assert row["low"] <= row["got"] <= row["asked"] + LATE_MS, (
        f"asked {row['asked']} ms, got {row['got']:.2f} ms"
    )
