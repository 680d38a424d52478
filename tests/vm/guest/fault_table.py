"""In the guest: put link faults on a real interface, one row after the other, and write down what tc says of each.

Reads a JSON list of {"name", "faults": [spec, ...]} from the file named first; all faults of a row are on together. Prints
a JSON object: row name -> the lines of `tc qdisc show`, or {"error": what the agent answered}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, "/work")

from labctl.errors import LabError
from labctl.linkbed import DEVICE, BedAgent, bed


def qdiscs(agent: BedAgent) -> list[str]:
    """What tc says of the bed's interface."""
    return [line.strip() for line in agent.shell("tc", "qdisc", "show", "dev", DEVICE).splitlines()]


def row(agent: BedAgent, faults: list[dict[str, Any]]) -> Any:
    """The qdiscs with these faults on; afterwards they are off again."""
    put = []
    try:
        for number, spec in enumerate(faults, 1):
            agent.link(f"fault-{number}", backend="netem", **spec)
            put.append(f"fault-{number}")
        return qdiscs(agent)
    except LabError as error:
        return {"error": str(error)}
    finally:
        for name in reversed(put):
            agent.ask("undo", name=name)


def main(table: Path) -> None:
    """The whole table, between two looks at the interface without a fault."""
    with bed() as (agent, _):
        found: dict[str, Any] = {"before": qdiscs(agent)}
        for one in json.loads(table.read_text()):
            found[one["name"]] = row(agent, one["faults"])
        found["after"] = qdiscs(agent)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
