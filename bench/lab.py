"""What a run costs beside what it waits for: `./script/bench lab [--rounds N]`; ratios of things measured in one minute."""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LABCTL = [sys.executable, "-m", "labctl"]
SCENARIO = ROOT / "scenarios/baseline.yaml"
FIREWALL = ROOT / "scenarios/firewall.yaml"
STANDING = "bench"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each thing is measured (median shown)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        rows = [*cold(out, rounds), *standing(out, rounds), *four_at_once(out)]
    width = max(len(name) for name, _, _ in rows)
    for name, value, target in rows:
        print(f"{name:{width}}  {value:>12}  {target}")


def cold(out: Path, rounds: int) -> list[tuple[str, str, str]]:
    """A whole run against compose up --wait and down of the very file it rendered, one after the other."""
    ours, theirs, memory = [], [], 0
    for number in range(rounds):
        wall, value, directory = run([str(SCENARIO)], out / f"cold{number}")
        ours.append(wall - inherent(value))
        theirs.append(compose_up_down(directory / "compose.yaml"))
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    mine, other = statistics.median(ours), statistics.median(theirs)
    rss = json.loads((directory / "result.json").read_text())["environment"]["agent_rss_kib"]
    return [
        ("compose up --wait + down", f"{other:.2f} s", ""),
        ("whole run, less its own waits", f"{mine:.2f} s", ""),
        ("  ratio", f"{mine / other:.2f}", "at most 1.6"),
        ("largest child (labctl or docker compose), resident", f"{memory / 1024:.0f} MB", "driver at most 150 MB"),
        ("agent, resident", f"{rss / 1024:.0f} MB", "at most 40 MB"),
    ]


def standing(out: Path, rounds: int) -> list[tuple[str, str, str]]:
    """Runs on a lab that stands, and how soon a fault is in place there."""
    subprocess.run([*LABCTL, "up", "--name", STANDING], check=True, capture_output=True)
    try:
        over, delays = [], []
        for number in range(rounds):
            wall, value, _ = run([str(SCENARIO), "--lab", STANDING], out / f"standing{number}")
            over.append(wall - inherent(value))
        for number in range(2):
            _, value, _ = run([str(FIREWALL), "--lab", STANDING], out / f"faults{number}")
            delays += [(f["applied"] - f["asked"]) * 1000 for f in value["faults"]]
        exec_ms = statistics.median(timed(exec_tc) for _ in range(rounds)) * 1000
    finally:
        subprocess.run([*LABCTL, "down", STANDING], check=True, capture_output=True)
    return [
        ("run on a standing lab, above its own waits", f"{statistics.median(over):.2f} s", "at most 0.7 s"),
        ("fault asked for -> in place", f"{statistics.median(delays):.1f} ms", f"at most 10 ms (median of {len(delays)})"),
        ("  one docker exec, for comparison", f"{exec_ms:.0f} ms", ""),
    ]


def four_at_once(out: Path) -> list[tuple[str, str, str]]:
    """Four runs of firewall side by side."""
    copies = out / "four"
    copies.mkdir()
    for number in range(4):
        text = FIREWALL.read_text().replace("scenario: firewall", f"scenario: firewall-{number}")
        (copies / f"firewall-{number}.yaml").write_text(text)
    command = [*LABCTL, "run", str(copies), "--jobs", "4", "--json", "--out", str(out / "four-runs")]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    verdicts = [value["verdict"] for value in json.loads(done.stdout)]
    return [("four firewall runs at once", f"{time.monotonic() - start:.1f} s", ", ".join(verdicts))]


def run(arguments: list[str], out: Path) -> tuple[float, dict[str, Any], Path]:
    """Wall time of one `labctl run`, its result and its directory."""
    start = time.monotonic()
    done = subprocess.run(
        [*LABCTL, "run", *arguments, "--json", "--out", str(out)], capture_output=True, text=True, check=False
    )
    wall = time.monotonic() - start
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}{done.stdout[-2000:]}")
    return wall, json.loads(done.stdout), next(out.iterdir())


def inherent(value: dict[str, Any]) -> float:
    """Seconds that the scenario itself spends: starting and running its programs, and waiting."""
    return sum(s["seconds"] for s in value["steps"] if s["kind"] in ("start", "run", "finish", "stop", "wait"))


def compose_up_down(rendered: Path) -> float:
    """Seconds for `docker compose up --wait` and `down` of a rendered file, under a project name of its own."""
    base = ["docker", "compose", "-p", "labctl-bench", "-f", str(rendered)]
    start = time.monotonic()
    subprocess.run([*base, "up", "-d", "--wait"], check=True, capture_output=True)
    subprocess.run([*base, "down", "-t", "0"], check=True, capture_output=True)
    return time.monotonic() - start


def exec_tc() -> None:
    """One command by `docker exec`, as tools without an agent do it."""
    command = ["docker", "ps", "-q", "--filter", f"label=labctl.lab={STANDING}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    container = re.split(r"\s+", found.stdout.strip())[0]
    subprocess.run(["docker", "exec", container, "true"], check=True)


def timed(action: Callable[[], None]) -> float:
    """Seconds an action takes."""
    start = time.monotonic()
    action()
    return time.monotonic() - start


if __name__ == "__main__":
    main()
