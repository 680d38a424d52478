"""In the guest: run scenarios one after the other in one process; an event for each as it ends.

Arguments: where run directories go, then paths. Those before a `--` get a lab of their own, as `labctl run` makes it; those
after it share one standing lab, since a lab takes a minute to come up under emulation.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, "/work")

from labctl.errors import LabctlError
from labctl.runs import Options, run_scenario
from labctl.scenario.model import Ready, Scenario, StartStep
from labctl.standing import bring_up, take_down

LAB = "vm"
TREE = Path("/work")
READY_S = (
    60.0  # a Python that starts for the first time here takes longer than the ten seconds a scenario gives it
)
NOT_HERE = ("powerpc",)  # an emulated machine within an emulated machine is too slow, and its image is large


def be_patient() -> None:
    """Give programs READY_S to become ready where a scenario does not say how long."""
    Ready.model_fields["timeout"].default = READY_S
    Ready.model_rebuild(force=True)
    for model in (StartStep, Scenario):
        model.model_rebuild(force=True)
    if StartStep.model_validate({"start": ["x"], "on": "y", "ready": {"listen": 1}}).ready.timeout != READY_S:
        raise RuntimeError("the default of ready.timeout could not be changed")


def one(path: Path, out: Path, lab: str | None) -> dict[str, Any]:
    """The result of one scenario, or the error that stopped it before it began."""
    begun = time.monotonic()
    try:
        _, result = run_scenario(path, Options(out, lab=lab, seed=1), lambda *_: None)
    except LabctlError as error:
        result = {"scenario": path.stem, "verdict": "error", "reason": str(error), "steps": [], "faults": []}
    took_s = round(time.monotonic() - begun, 2)
    return {"event": "scenario", "id": str(path), "seconds": took_s, "result": result}


def smaller_lab() -> Path:
    """A copy of the lab beside it, without the hosts that are not brought up here."""
    lab = yaml.safe_load((TREE / "docker-compose.yml").read_text())
    for host in NOT_HERE:
        del lab["services"][host]
    path = TREE / "docker-compose.vm.yml"
    path.write_text(yaml.safe_dump(lab))
    return path


def run_all(paths: list[str], out: Path, lab: str | None) -> None:
    """Run them, and write an event for each."""
    for path in paths:
        os.write(int(os.environ["EVENTS_FD"]), (json.dumps(one(Path(path), out, lab)) + "\n").encode())


def main(out: Path, fresh: list[str], together: list[str]) -> None:
    """First those with labs of their own; then the standing lab up, the others, and down."""
    be_patient()
    run_all(fresh, out, None)
    if together:
        begun = time.monotonic()
        bring_up(smaller_lab(), LAB, print)
        print(f"the lab is up after {time.monotonic() - begun:.1f} s", flush=True)
        run_all(together, out, LAB)
        take_down(LAB)


if __name__ == "__main__":
    names = sys.argv[2:]
    split = names.index("--")
    main(Path(sys.argv[1]), names[:split], names[split + 1 :])
