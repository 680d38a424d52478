"""Every situation of the table ends as the table says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from launching import NATIVE, PROGRAMS, Result
from situations import SITUATIONS, Situation, check

PLAYER = Path(__file__).with_name("player.py")


@pytest.fixture(scope="module")
def ended() -> dict[str, Result]:
    """How the client of each situation ended, all of them played here by one player."""
    done = subprocess.run(
        [*NATIVE, str(PLAYER), str(PROGRAMS), "0", "1"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return {name: Result(*result) for name, result in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_a_situation_ends_as_the_table_says(situation: Situation, ended: dict[str, Result]) -> None:
    check(situation, ended[situation.name])


def test_the_names_of_situations_are_unique() -> None:
    names = [situation.name for situation in SITUATIONS]
    assert len(set(names)) == len(names)
