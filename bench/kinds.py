"""How soon each kind of fault is in place: `./script/bench kinds`, from the records of shipped scenarios run in turn."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = (
    "drop-by-direction", "reject-each-way", "partition", "one-way-partition", "link-down", "flapping-link", "small-mtu",
    "pmtu-black-hole", "ttl-too-small", "rst-injected", "nat-entry-expired", "name-late", "name-unknown", "name-changes",
    "name-dead-first", "host-paused", "link-delay", "host-killed",
)  # fmt: skip
AT_MOST_MS = 10.0


def main() -> None:
    """Run them and print, by kind, the median of what passed between asking for a fault and its being in place."""
    with tempfile.TemporaryDirectory() as out:
        paths = [str(ROOT / f"scenarios/{name}.yaml") for name in NAMES]
        command = [sys.executable, "-m", "labctl", "run", *paths, "--json", "--out", out]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    results = json.loads(done.stdout)
    took: dict[str, list[float]] = defaultdict(list)
    for result in results:
        if result["verdict"] != "pass":
            sys.exit(f"{result['scenario']}: {result['reason']}")
        for fault in result["faults"]:
            if fault["applied"] is not None:
                took[fault["kind"]].append((fault["applied"] - fault["asked"]) * 1000)
    for kind, each in sorted(took.items(), key=lambda item: statistics.median(item[1])):
        print(f"{kind:12} {statistics.median(each):6.1f} ms  median of {len(each):2}  at most {AT_MOST_MS:g} ms asked")
    everything = [one for each in took.values() for one in each]
    print(f"{'all':12} {statistics.median(everything):6.1f} ms  median of {len(everything):2}")


if __name__ == "__main__":
    main()
