"""Which jobs the guest has to do for the tests that were chosen."""

from __future__ import annotations

from collections.abc import Iterable

from vm_fault_table import TABLE, as_argument
from vm_jobs import Job, script

SCENARIO_S = 90.0


def jobs_for(wanted: Iterable[tuple[str, str | None]]) -> list[Job]:
    """The jobs behind the tests' marks, each once, the quickest and most telling first."""
    wanted = list(dict.fromkeys(wanted))
    fresh, together = (
        [path for job, path in wanted if job == kind and path] for kind in ("fresh", "standing")
    )
    jobs = []
    if ("fault-table", None) in wanted:
        jobs.append(script("fault_table.py", as_argument(TABLE), timeout_s=240))
    if fresh or together:
        argv = (
            "python3",
            "tests/vm/guest/scenarios.py",
            "/results/jobs/scenarios/runs",
            *fresh,
            "--",
            *together,
        )
        jobs.append(Job("scenarios", argv, 120 + 2 * SCENARIO_S * len(fresh) + SCENARIO_S * len(together)))
    if ("calibration", None) in wanted:
        jobs.append(script("calibration.py", timeout_s=240))
    return jobs
