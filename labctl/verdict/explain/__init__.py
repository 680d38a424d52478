"""Why a program saw what it saw, drawn from packets, sockets, counters and faults. Right or silent.

One module per kind of ending, each a pure function of a `Case`; the first that knows something is believed, so the more
particular stand first.
"""

from __future__ import annotations

from collections.abc import Callable

from labctl.evidence.record import Evidence, ProgramRecord
from labctl.scenario.model import Scenario
from labctl.verdict.explain import bind, connect, datagram, done, echo, full, hang, local, names, stream
from labctl.verdict.explain.case import Case

Explainer = Callable[[Case], str | None]

EXPLAINERS: tuple[Explainer, ...] = (
    names.explain,
    bind.explain,
    connect.explain,
    stream.explain,
    datagram.explain,
    echo.explain,
    full.explain,
    hang.explain,
    done.explain,
    local.explain,
)


def explain(
    evidence: Evidence, step: int, program: ProgramRecord, scenario: Scenario | None = None
) -> str | None:
    """One or two plain sentences on why the step ended as it did, naming packets by number; None when it is not known.

    `scenario` is the run's own: with it the settings of faults are known as well (what a link does, what a name resolves to).
    Nothing is said from a capture that is not complete.
    """
    capture = evidence.captures.get(program.host)
    if program.outcome is None or capture is None or not capture.complete:
        return None
    case = Case(evidence, step, program, program.outcome, scenario)
    return next((said for one in EXPLAINERS if (said := one(case)) is not None), None)
