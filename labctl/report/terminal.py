"""What a person sees of a run in a terminal: progress while it runs, a summary when it has ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from labctl.report.plain import printable
from labctl.verdict.judge import what_it_did
from labctl.verdict.programs import last_call

MARK = {"pass": ("✓", "green"), "fail": ("✗", "red"), "error": ("!", "bold red"), "skip": ("-", "yellow")}
# A step that is over before this is not worth a moving picture.
LIVE_AFTER_S = 0.4


def count(number: int, what: str) -> str:
    """`1 packet`, `2 packets`."""
    return f"{number} {what}{'s' * (number != 1)}"


def describe_event(event: Mapping[str, Any]) -> str | None:
    """One line about something that happened, or None for what only the record needs."""
    kind = event["event"]
    if kind == "progress":
        return str(event["message"])
    if kind == "lab-up":
        return f"lab is up: {', '.join(h['name'] for h in event['hosts'])}"
    if kind == "step-start":
        return f"step {event['index']}: {event['title']}"
    if kind == "capture-finish":
        return "reading the captures"
    if kind == "program-end":
        outcome = event["outcome"]
        if outcome is None:
            return f"  {event['handle']} on {event['host']} ended with status {event['exit']}"
        return f"  {last_call(outcome)}"
    if kind == "fault-applied":
        return f"  {event['kind']} is in place on {event['host']}"
    if kind == "fault-removed":
        return f"  healed; it touched {count(event['packets'] or 0, 'packet')}{what_it_did(event.get('effect'), ': ')}"
    if kind == "error":
        return f"error: {event['message']}"
    if kind == "interrupted":
        return "interrupted; undoing everything"
    return None


class Plain:
    """Progress for a pipe or a log: one line for each thing that happens."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def observe(self, scenario: str, event: Mapping[str, Any]) -> None:
        line = describe_event(event)
        if line is not None:
            stamp = f"{event.get('t', 0):7.2f}s"
            self._console.print(Text(f"{scenario}  {stamp}  {printable(line)}"), soft_wrap=True)


@dataclass
class _Now:
    """What one run is doing: what, since when, and what was seen last."""

    what: str
    since: float
    steps: int
    seen: str = ""


class Rich:
    """Progress for a terminal: for each run that is going on, what it does now and since when, and what was seen last."""

    def __init__(self, console: Console) -> None:
        self._now: dict[str, _Now] = {}
        self._live = Live(console=console, refresh_per_second=8, transient=True, get_renderable=self._picture)

    def __enter__(self) -> Rich:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def observe(self, scenario: str, event: Mapping[str, Any]) -> None:
        line, kind = describe_event(event), event["event"]
        if kind == "run-end":
            self._now.pop(scenario, None)
        elif kind == "run-start":
            self._now[scenario] = _Now("bringing the lab up", time.monotonic(), event.get("steps", 0))
        elif line is not None and scenario in self._now:
            now = self._now[scenario]
            if line.startswith("  "):
                now.seen = line.strip()
            else:
                now.what, now.since = line, time.monotonic()

    def _picture(self) -> RenderableType:
        lines: list[RenderableType] = []
        for scenario, now in list(self._now.items()):
            age = time.monotonic() - now.since
            head = Text.assemble(
                (scenario, "bold"), f"  {printable(now.what)}", no_wrap=True, overflow="ellipsis"
            )
            # A step that is over in a moment shows no moving picture.
            lines.append(Spinner("dots", head) if age >= LIVE_AFTER_S else Padding(head, (0, 0, 0, 2)))
            told = [f"{age:.0f} s"] * (age >= 1) + [f"last: {printable(now.seen)}"] * bool(now.seen)
            if told:
                lines.append(Text("    " + "   ".join(told), style="dim", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)


def summary(console: Console, value: Mapping[str, Any], path: Path) -> None:
    """One run: its verdict and reason, each step with what it saw, and where its page and the evidence are."""
    mark, style = MARK[value["verdict"]]
    console.print()
    console.print(
        Text.assemble(
            (f"{mark} {value['scenario']}: {value['verdict']}", style),
            "  not finished" if value["seconds"] is None else f"  in {value['seconds']:.1f} s",
        )
    )
    _print(console, Padding(Text(printable(value["reason"])), (0, 0, 0, 2)))
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(width=4, justify="right", no_wrap=True)
    table.add_column(ratio=1)
    for step in value["steps"]:
        if step["kind"] in ("run", "finish") or step["verdict"] != "pass":
            _step_row(table, step)
    _print(console, table)
    for capture in value["captures"]:
        if not capture["complete"]:
            console.print(Text(f"  capture of {capture['host']}: {capture['reason']}", style="red"))
    # Whole, however long: they are there to be copied.
    console.print(Text.assemble("  ", ("page      ", "dim"), str(path / "report.html")), soft_wrap=True)
    console.print(Text.assemble("  ", ("evidence  ", "dim"), str(path)), soft_wrap=True)


def _print(console: Console, what: RenderableType) -> None:
    """Print something that rich pads to the full width; a pipe or a log gets no padding."""
    if console.is_terminal:
        console.print(what)
        return
    with console.capture() as captured:
        console.print(what)
    console.print("\n".join(line.rstrip() for line in captured.get().splitlines()), markup=False, soft_wrap=True)


def _step_row(table: Table, step: Mapping[str, Any]) -> None:
    mark, style = MARK[step["verdict"]]
    took = f"  {step['seconds']:.2f} s"
    head = Text.assemble((f"{mark} ", style), printable(step["name"]), (took, "dim"))
    body = Text(printable(step["reason"]), style="" if step["verdict"] != "pass" else "dim")
    table.add_row(str(step["index"]), Group(head, Padding(body, (0, 0, 0, 2))))


def table(console: Console, values: Sequence[Mapping[str, Any]]) -> None:
    """Several runs: one line each, then how many of each verdict."""
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in (
        ("", "left"),
        ("scenario", "left"),
        ("verdict", "left"),
        ("seconds", "right"),
        ("reason", "left"),
    ):
        grid.add_column(name, justify=justify)  # type: ignore[arg-type]
    for value in values:
        mark, style = MARK[value["verdict"]]
        seconds = f"{value['seconds']:.1f}" if value.get("seconds") is not None else ""
        grid.add_row(
            Text(mark, style),
            escape(value["scenario"]),
            Text(value["verdict"], style),
            seconds,
            Text(printable(value["reason"])),
        )
    console.print()
    _print(console, grid)
    counts = {v: sum(r["verdict"] == v for r in values) for v in MARK}
    console.print("  " + ", ".join(f"{n} {v}" for v, n in counts.items() if n))
