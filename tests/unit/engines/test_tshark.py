"""Filters asked of a tshark: one call when all are good, each by itself when one is not, and its own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.engines.tshark import asking, dumpcap, refused
from labctl.errors import MissingError

TSHARK = """#!/bin/sh
cat >/dev/null
for last; do :; done
echo "$last" >> "$0.calls"
case "$last" in *bad*) echo "Running as root." >&2; echo 'tshark: "bad" is not a valid protocol.' >&2; exit 2 ;; esac
"""


DUMPCAP = """#!/bin/sh
for last; do :; done
case "$last" in
  tcp) exit 0 ;;
  host*) why="unknown host 'server'" ;;
  denied) echo "You don't have permission to capture on that device" >&2; exit 1 ;;
  *) why="can't parse filter expression: syntax error" ;;
esac
printf '%s\\n' "Capturing on 'Loopback: lo'" "dumpcap: Invalid capture filter \\"$last\\" for interface 'lo'." "" \\
  "That string isn't a valid capture filter ($why)." "See the User's Guide." >&2
exit 1
"""


def test_a_capture_filter_is_tried_by_dumpcap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reason is told; a host of the lab's is no mistake; a dumpcap that may not capture knows nothing, and that is said."""
    program = tmp_path / "dumpcap"
    program.write_text(DUMPCAP)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def no_docker() -> None:
        raise MissingError("no Docker daemon answers")

    monkeypatch.setattr("labctl.engines.daemon.connect", no_docker)
    ask = dumpcap(lambda _: None)
    assert [ask(text) for text in ("tcp", "host server", "tpc")] == [None, None, "can't parse filter expression: syntax error"]
    with pytest.raises(MissingError, match="a dumpcap that may capture: You don't have permission"):
        ask("denied")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingError, match="filters need a dumpcap to be tried: "):
        dumpcap(lambda _: None)


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
