"""Comments in captures: what a run did, on the packet where it did it."""

from __future__ import annotations

from pathlib import Path

from labctl.evidence.marks import Mark, marks, placed
from labctl.evidence.record import load

RUN = Path(__file__).resolve().parents[2] / "data" / "runs" / "firewall"


def test_a_run_its_steps_and_its_faults_are_marked() -> None:
    """The run, each step and each fault: begin and end, in the order of time, with what proves the fault."""
    evidence = load(RUN)
    found = marks(evidence, {2: "the path works"})
    texts = [mark.text for mark in found]
    assert texts[0] == f"labctl run {evidence.run}, scenario firewall"
    assert "labctl: step 2 begins: the path works" in texts
    assert texts.index("labctl: step 2 begins: the path works") < texts.index("labctl: step 2 ends")
    assert "labctl: fault wall (drop) at server begins" in texts
    assert any(t.startswith("labctl: fault wall (drop) at server ends; packets touched: ") for t in texts)
    assert found == sorted(found, key=lambda mark: mark.t)


def test_a_mark_is_put_on_the_first_packet_that_is_not_before_it() -> None:
    """By time, not by place in the file; what comes after the last packet is put on that, and without packets nowhere."""
    found = [Mark(0.0, "a"), Mark(1.5, "b"), Mark(2.0, "c"), Mark(9.0, "d")]
    times = [round(t * 1e9) for t in (101.0, 103.0, 102.0)]
    assert placed(found, 100.0, times) == {1: ["a"], 3: ["b", "c"], 2: ["d"]}
    assert placed(found, 100.0, []) == {}
