"""In the guest: run scenarios one after the other on one standing lab, in one process; an event for each as it ends.

A fresh lab and a fresh Python for each would double the time under emulation; that path is tested by a job of its own.
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
from labctl.standing import bring_up, take_down

LAB = "vm"
TREE = Path("/work")
NOT_HERE = ("powerpc",)  # an emulated machine within an emulated machine is too slow, and its image is large


def one(path: Path, out: Path) -> dict[str, Any]:
    """The result of one scenario, or the error that stopped it before it began."""
    begun = time.monotonic()
    try:
        _, result = run_scenario(path, Options(out, lab=LAB, seed=1), lambda *_: None)
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


def main(out: Path, paths: list[Path]) -> None:
    """Bring the lab up, run, take it down."""
    begun = time.monotonic()
    bring_up(smaller_lab(), LAB, print)
    print(f"the lab is up after {time.monotonic() - begun:.1f} s", flush=True)
    for path in paths:
        os.write(int(os.environ["EVENTS_FD"]), (json.dumps(one(path, out / "runs")) + "\n").encode())
    take_down(LAB)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
