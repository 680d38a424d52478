"""A fault's packets in a sentence about one step are those of that step, or say that they are those of the whole run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_up import evidence, fault, packet

from labctl.evidence.record import Evidence, Span, StepRecord
from labctl.verdict.explain import explain

GAVE_UP = {"op": "connect", "errno": "ETIMEDOUT", "ms": 3000.0}


def three_steps(tallies: dict[int, tuple[float, int | None]], *spans: Span) -> Evidence:
    """Steps at 1, 3 and 5 s, of which the second is the program's; a fault that touched 9 packets in all."""
    run = evidence({"client": [packet(1, 3.5)]}, outcome=GAVE_UP)
    run.steps = {n: StepRecord(n, 2.0 * n - 1, 2.0 * n, None, "1") for n in (1, 2, 3)}
    run.programs["1"] = replace(run.programs["1"], step=2, started=3.0, ended=4.0)
    run.captures.pop("server")
    run.faults = [fault("wall", "drop", ["-p", "tcp"])]
    run.faults[0].spans = list(spans or (Span(1.0, 1.0, 8.0, 9),))
    run.faults[0].tallies = tallies
    return run


@pytest.mark.parametrize(
    ("tallies", "spans", "said"),
    [
        ({2: (2.9, 4), 3: (4.9, 6)}, (), "dropped 2 packets."),
        ({2: (2.9, 4), 3: (4.9, 5)}, (), "dropped 1 packet."),
        ({2: (2.9, 4), 3: (4.9, 4)}, (), "the kernel gave up after 3.0 s."),  # it touched nothing of this step
        ({2: (2.9, 4)}, (Span(1.0, 1.0, 4.5, 9),), "dropped 5 packets."),  # taken away before the next step
        ({3: (4.9, 6)}, (Span(3.2, 3.2, 8.0, 9),), "dropped 6 packets."),  # put in place while the program ran
        ({}, (Span(3.2, 3.2, 4.5, 9),), "dropped 9 packets."),  # in place only while it ran
        ({}, (), "dropped 9 packets in the whole run."),  # nobody counted
        ({2: (2.9, 4)}, (), "dropped 9 packets in the whole run."),
        ({2: (2.9, None), 3: (4.9, 1)}, (Span(1, 1, 2, 3), Span(3, 3, 4, 5), Span(4.5, 4.5, 8, 1)), "dropped 6 packets."),
        ({2: (2.9, 1), 3: (4.9, 1)}, (Span(1, 1, 4, None), Span(4.5, 4.5, 8, 1)), "the kernel gave up after 3.0 s."),
    ],
)
def test_a_step_has_its_own_share(
    tallies: dict[int, tuple[float, int | None]], spans: tuple[Span, ...], said: str
) -> None:
    """What was counted before the step is not its doing, nor what came after; a fault may come and go in between."""
    run = three_steps(tallies, *spans)
    reason = explain(run, 2, run.programs["1"])
    assert reason is not None
    assert reason.endswith(said)


def test_a_fault_that_was_in_place_later_has_touched_nothing_before() -> None:
    """At the boundary of a step before it began, and after it was over, nobody has to have counted."""
    late, gone = fault("a", "drop", [], 9, (6.0, 7.0)), fault("b", "drop", [], 9, (0.5, 0.8))
    run = three_steps({})
    assert (run.touched(late, 2, 2), run.touched(gone, 2, 2), run.touched(late, 2, 3)) == (0, 0, 9)
