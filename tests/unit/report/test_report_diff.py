"""`labctl diff` tells what changed between two runs, and nothing that always differs."""

import json
from pathlib import Path
from typing import Any

from reporting import edited, evidence_of, packet, recorded, verdict_of

from labctl.report.diff import Change, diff, text


def test_a_run_does_not_differ_from_itself() -> None:
    found = diff(recorded("firewall"), recorded("firewall"))
    assert found.changes == ()
    assert "nothing changed" in text(found)


def test_an_errno_a_time_and_a_fault_that_changed_are_told(tmp_path: Path) -> None:
    def edit(event: dict[str, Any]) -> dict[str, Any]:
        if event["event"] == "program-end" and event["id"] == "14":
            event["outcome"] |= {"errno": "ECONNREFUSED", "ms": 3.0}
        if event["event"] == "fault-removed" and event["name"] == "wall":
            event["packets"] = 1
        return event

    changes = diff(recorded("firewall"), edited("firewall", tmp_path, edit)).changes
    where = "step 14 (dropped at the server, the SYNs arrive and nothing answers)"
    assert Change(where, "errno", "ETIMEDOUT", "ECONNREFUSED") in changes
    assert Change(where, "took", "3.07 s", "3 ms") in changes
    assert Change("fault wall on server", "packets touched", "3", "1") in changes


def test_small_differences_in_time_are_no_change(tmp_path: Path) -> None:
    def edit(event: dict[str, Any]) -> dict[str, Any]:
        if event["event"] == "program-end" and event["outcome"].get("ms"):
            event["outcome"]["ms"] *= 1.2
        return event

    assert not [c for c in diff(recorded("firewall"), edited("firewall", tmp_path, edit)).changes if c.what == "took"]


def test_packets_are_compared_by_class_and_bulk_by_share() -> None:
    def run(syns: int, data: int) -> Any:
        packets = [packet(n, n * 0.1, flags=2) for n in range(syns)]
        packets += [packet(n, 5 + n * 0.01, payload=10) for n in range(data)]
        return verdict_of(evidence_of({"client": packets}))

    assert diff(run(2, 100), run(3, 110)).changes == (Change("packets at client", "SYN", "2", "3"),)
    assert diff(run(2, 100), run(2, 200)).changes == (Change("packets at client", "data", "100", "200"),)


def test_runs_of_two_scenarios_are_compared_with_a_note() -> None:
    found = diff(recorded("firewall"), recorded("backpressure"))
    assert "two scenarios" in found.notes[0]
    assert "two scenarios" in text(found)


def test_the_text_is_harmless(tmp_path: Path) -> None:
    def edit(event: dict[str, Any]) -> dict[str, Any]:
        return json.loads(json.dumps(event).replace("ETIMEDOUT", "\\u001b[31m\\u202e"))

    said = text(diff(recorded("firewall"), edited("firewall", tmp_path, edit)))
    assert "\x1b" not in said
    assert "\\x1b[31m\\u202e" in said
