"""Filters asked of a tshark: one call when all are good, each by itself when one is not, and its own words."""

from __future__ import annotations

from pathlib import Path

from labctl.engines.tshark import asking, refused

TSHARK = """#!/bin/sh
cat >/dev/null
for last; do :; done
echo "$last" >> "$0.calls"
case "$last" in *bad*) echo "Running as root." >&2; echo 'tshark: "bad" is not a valid protocol.' >&2; exit 2 ;; esac
"""


def test_filters_are_tried_together_and_a_bad_one_is_named(tmp_path: Path) -> None:
    """One call for all of them; where it fails, one for each, and tshark's own words for those that it refuses."""
    program = tmp_path / "tshark"
    program.write_text(TSHARK)
    program.chmod(0o755)
    ask = asking([str(program)])
    assert refused([], ask) == {}
    assert refused(["tcp", "udp", "tcp"], ask) == {}
    assert (tmp_path / "tshark.calls").read_text() == "(tcp) || (udp)\n"
    assert refused(["tcp", "bad.field"], ask) == {"bad.field": '"bad" is not a valid protocol.'}
