"""`labctl fault`: what is asked for by hand and cannot be is said before Docker is asked."""

from __future__ import annotations

import pytest

from labctl.byhand import add, parse_fault
from labctl.errors import UsageError


@pytest.mark.parametrize("name", ["Wall", "a b", "", "-x", "a" * 21, "ä"])
def test_a_name_that_could_not_be_a_chains_is_a_usage_error(name: str) -> None:
    fault = parse_fault("drop", ["--protocol", "tcp"])
    with pytest.raises(UsageError, match="is no name for a fault; write at most 20 lower case letters, digits and dashes"):
        add("lab", "router", name, fault)
