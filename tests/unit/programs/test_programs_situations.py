"""Every situation of the table ends as the table says."""

from __future__ import annotations

import pytest
from situations import SITUATIONS, Situation, check, play


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_a_situation_ends_as_the_table_says(situation: Situation) -> None:
    check(situation, play(situation))


def test_the_names_of_situations_are_unique() -> None:
    names = [situation.name for situation in SITUATIONS]
    assert len(set(names)) == len(names)
