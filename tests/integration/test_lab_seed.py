"""A run that failed by chance can be had again: the seed in its result repeats everything that it left to chance."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from labs import SCENARIOS, labctl

# Sent by chance. The sink ends with as many datagrams: others come after these and make them up, so that no time is in it.
NUMBERS = 40
CHANCES = {
    "drop": "{protocol: udp, dport: 65432, probability: 40%}",
    "link": "{loss: 40%, direction: ingress, protocol: udp, dport: 65432}",
}
SCENARIO = f"""\
scenario: chance
lab: {SCENARIOS / "pair.yml"}
capture: off
steps:
  - start: [probe, recv, "", 65432, --udp, --count={NUMBERS}]
    on: server
    as: sink
    ready: {{bound: 65432}}
  - {{fault: chance, at: server, KIND}}
  - run: [probe, send, server, 65432, tick, --udp, --numbered, --count={NUMBERS}, --interval=2ms]
    on: client
    expect: {{errno: null}}
  - run: [probe, send, server, 65432, over, --udp, --unconnected, --count={5 * NUMBERS}, --interval=2ms]
    on: client
    expect: {{errno: null}}
  - {{finish: sink, expect: {{errno: null}}}}
"""


def arrived(kind: str, folder: Path, *seed: object) -> tuple[list[int], int]:
    """The numbers that arrive in a run, and the run's seed."""
    path = folder / f"{kind}.yaml"
    path.write_text(SCENARIO.replace("KIND", f"{kind}: {CHANCES[kind]}"), encoding="utf-8")
    done = labctl("run", path, "--out", folder / "runs", "--json", *seed)
    assert done.code == 0, done.out + done.err
    (fault,) = done.json["faults"]
    effect = fault["effect"]
    assert effect is None if kind == "drop" else 0 < effect["lost"] == fault["packets"] < effect["seen"]
    (said,) = (folder / "runs" / done.json["run"] / "programs").glob("*server.out")
    return [int(n) for n in re.findall(r"tick (\d+)", said.read_text(encoding="utf-8"))], done.json["seed"]


@pytest.mark.parametrize("kind", CHANCES)
def test_the_seed_of_a_result_repeats_its_chances(kind: str, tmp_path: Path) -> None:
    """Without a seed in the scenario the run's decides: the same again with `--seed`, others with another."""
    first, seed = arrived(kind, tmp_path)
    assert 8 <= len(first) <= 38
    assert arrived(kind, tmp_path, "--seed", seed) == (first, seed)
    assert arrived(kind, tmp_path, "--seed", (seed + 1) % 2**31)[0] != first
