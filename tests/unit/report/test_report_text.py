"""`labctl show` draws a run within the terminal's width and lets nothing through to the terminal."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from reporting import across, edited, evidence_of, recorded, together, verdict_of

from labctl.report.plain import columns
from labctl.report.text import show


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("name", ["firewall", "backpressure"])
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    lines = show(recorded(name), width).splitlines()
    assert max(columns(line) for line in lines) <= width


def test_the_firewall_run_shows_what_stopped_and_what_answered() -> None:
    text = show(recorded("firewall"), 100)
    assert text.startswith("fail: step 8")
    assert re.search(r"client +router +server", text)
    assert len(re.findall("✗", text)) == 7
    assert re.search(r"4\.6189 +│<·+┤░ +│ +ICMP port unreachable", text)
    assert re.search(r"━+┼━+┤░? +RST, ACK", text)
    assert "▼ black-hole (drop)" in text
    assert "▲ black-hole ends: 3 packets" in text
    assert "… 1.02 s …" in text
    assert re.search(r"── 8\. rejected with .* fail$", text, re.MULTILINE)


def test_a_run_without_packets_or_steps_still_says_its_verdict(tmp_path: Path) -> None:
    run = verdict_of(evidence_of({}, addresses={}))
    assert "no host took part" in show(run)
    nothing = edited("firewall", tmp_path, lambda e: e if e["event"] in ("run-start", "interrupted") else None)
    assert show(nothing).startswith("error: ")


def test_thousands_of_packets_are_told_in_hundreds_of_lines() -> None:
    ways = [across(n, 1 + n * 0.01, sport=1000 + n, flags=2, ip_id=f"0x{n + 1:04x}") for n in range(3000)]
    assert len(show(verdict_of(evidence_of(together(*ways)))).splitlines()) < 600


def test_escapes_in_names_and_packets_are_written_out() -> None:
    hostile = "\x1b[2J\u202e"
    way = across(1, 1.0, protocol=hostile, info=hostile, flags=None)
    run = replace(verdict_of(evidence_of(way)), reason=hostile)
    text = show(run)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[2J\\u202e" in text
