"""In the guest: put link faults on a real interface, one row after the other, and write down what tc says of each.

The argument is a JSON list of {"name": ..., "faults": [spec, ...], "healed": 1}: the faults of a row are on together, but
for the last `healed`, which are healed again. Prints a JSON object: row name -> the lines of tc's qdisc, class and filter
listings, or {"error": what the agent answered}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

sys.path.insert(0, "/work")

from labctl.errors import LabError
from labctl.linkbed import DEVICE, BedAgent, bed

LISTINGS = [
    ["tc", "qdisc", "show"],
    ["tc", "class", "show", "dev", DEVICE],
    ["tc", "filter", "show", "dev", DEVICE],
]


def listing(agent: BedAgent) -> list[str]:
    """What tc says of every interface; by the agent, since each `docker exec` takes a second here."""
    return [line.strip() for ran in agent.ask("run", commands=LISTINGS) for line in ran["out"].splitlines()]


def row(agent: BedAgent, faults: list[dict[str, Any]], healed: int = 0) -> Any:
    """The listings with these faults on; afterwards they are off again."""
    put = []
    try:
        for number, spec in enumerate(faults, 1):
            agent.link(f"fault-{number}", backend="netem", **spec)
            put.append(f"fault-{number}")
        for _ in range(healed):
            agent.ask("undo", name=put.pop())
        return listing(agent)
    except LabError as error:
        return {"error": str(error)}
    finally:
        for name in reversed(put):
            agent.ask("undo", name=name)


def main(table: list[dict[str, Any]]) -> None:
    """The whole table, between two looks at the interface without a fault."""
    with bed() as (agent, _):
        found: dict[str, Any] = {"before": listing(agent)}
        for one in table:
            found[one["name"]] = row(agent, one["faults"], one.get("healed", 0))
        found["after"] = listing(agent)
    print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
