"""The errno atlas, docs/errors.md: each error as `labctl.errnos` tells it, with every way in which the scenarios get it. Pure.

`python -m labctl.atlas docs/errors.md` writes it anew; a test holds the page to the scenarios.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from labctl.catalogue import expected_of
from labctl.errnos import CLEAN_END, HANG, ICMP, TEXTS, Icmp, Text
from labctl.faults import icmp
from labctl.scenario.loader import load_cases
from labctl.scenario.model import Expectation, may_be_none

SCENARIOS = Path(__file__).resolve().parents[1] / "scenarios"
HEAD = """\
# The errno atlas

What a socket can say, what it means, and every way to get it here. Each way is a step of a scenario that runs it for real and
proves it with packets: `labctl run scenarios/NAME.yaml`, then open the page that it names. `labctl list --errno ECONNRESET`
finds them by hand.

The texts are true of Linux. Times are the kernel's defaults; the scenarios shorten them. This page is made by
`python -m labctl.atlas docs/errors.md` from `labctl/errnos.py` and `scenarios/`.
"""
_ICMP = re.compile(r"\bicmp(v6)?\.type == (\d+)(?: && icmp(?:v6)?\.code == (\d+))?")


@dataclass(frozen=True)
class Shown:
    """One step that shows something: its scenario's file and name, its number from 1 and its name, and what it expects."""

    path: Path
    scenario: str
    tags: tuple[str, ...]
    number: int
    name: str
    expect: Expectation


def shown(files: Sequence[Path]) -> list[Shown]:
    """Every step of the scenarios that expects something. Raises ScenarioError for a file that cannot be read."""
    return [
        Shown(path, case.name, case.scenario.tags, number, name, expect)
        for path in files
        for case in load_cases(path)
        for number, name, _, expect in expected_of(case.scenario)
    ]


def ends(step: Shown) -> tuple[str, ...]:
    """What a step shows, as the atlas calls it: errno symbols, a clean end, a hang."""
    expect = step.expect
    found = [symbol for symbol in expect.errno or () if symbol]
    outcome = expect.outcome or {}
    if not found and outcome.get("eof") is True:
        found.append(CLEAN_END)
    if not found and (expect.timed_out or outcome.get("returned") is False):
        found.append(HANG)
    return tuple(found)


def icmp_seen(step: Shown) -> Iterator[tuple[bool, int, int | None]]:
    """Every ICMP message that a step wants to see at least once: whether ICMPv6, type, code if it says one."""
    for packet in step.expect.packets:
        if not may_be_none(packet.count):
            for six, kind, code in _ICMP.findall(packet.filter):
                yield bool(six), int(kind), int(code) if code else None
    for message in step.expect.icmp:
        if not may_be_none(message.count):
            six = (
                message.type in icmp.V6 and message.type not in icmp.V4
            )  # a name of both is taken for IPv4's
            kind, _, code = icmp.number(message.type, "icmpv6" if six else "icmp").partition("/")
            yield six, int(kind), int(code) if code else None


def render(files: Sequence[Path], page: Path) -> str:
    """The page, with links as they must be written in the file `page`. Raises ScenarioError."""
    steps = shown(files)
    contents = " · ".join(f"[{text.symbol}](#{_anchor(text.symbol)})" for text in TEXTS)
    parts = [HEAD, f"{contents} · [ICMP](#icmp)\n"]
    parts += [_section(text, [step for step in steps if text.symbol in ends(step)], page) for text in TEXTS]
    parts.append(_icmp_section(steps, page))
    return "\n".join(parts)


def _anchor(title: str) -> str:
    """The anchor that Markdown renderers give a heading."""
    return re.sub(r"[^a-z0-9_ -]", "", title.lower()).replace(" ", "-")


def _section(text: Text, ways: Sequence[Shown], page: Path) -> str:
    title = text.symbol if text.symbol.startswith("E") else text.symbol[:1].upper() + text.symbol[1:]
    return (
        f"## {title}\n\n**{text.says}.** {text.meaning}\n\n"
        f"- **How long**: {text.takes}\n- **On the wire**: {text.wire}\n"
        f"- **To check**: {text.check}\n- **Source**: {text.source}\n\n"
        f"Ways to get it:\n\n" + "".join(f"- {_link(step, page)}\n" for step in ways)
    )


def _link(step: Shown, page: Path) -> str:
    return f"[{step.scenario}]({os.path.relpath(step.path, page.parent)}), step {step.number}: {step.name}"


def _icmp_section(steps: Sequence[Shown], page: Path) -> str:
    rows = ["| | message | connect() gets | a connected UDP socket gets | seen in |", "|---|---|---|---|---|"]
    for row in ICMP:
        seen = [step for step in steps if any(_is(row, message) for message in icmp_seen(step))]
        # Many scenarios ping to see something else; where some are about ICMP, they are the ones to read.
        about = [step for step in seen if "icmp" in step.tags] or seen
        paths = dict.fromkeys(step.path for step in about)
        links = ", ".join(f"[{path.stem}]({os.path.relpath(path, page.parent)})" for path in paths)
        name = f"ICMP{'v6' * row.six} {row.key}"
        rows.append(f"| {name} | {row.name} | {row.connect} | {row.datagrams} | {links} |")
    return (
        "## ICMP\n\nWhat routers and kernels say, and what a program hears of it (net/ipv4/icmp.c, net/ipv6/icmp.c, udp(7),\n"
        "ip(7)). On an established connection all of them are only noted (RFC 1122, 4.2.3.9), and named if TCP gives up.\n\n"
        + "\n".join(rows)
        + "\n"
    )


def _is(row: Icmp, message: tuple[bool, int, int | None]) -> bool:
    six, kind, code = message
    return (six, kind) == (row.six, row.type) and (row.code is None or row.code == code)


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve()
    target.write_text(render(sorted(SCENARIOS.glob("*.yaml")), target), encoding="utf-8")
