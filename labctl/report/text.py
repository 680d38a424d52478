"""The ladder in a terminal: the same model as the page's, in characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from labctl.report import plain
from labctl.report.bursts import Burst, Row
from labctl.report.ladder import Band, Ladder, label, ladder, ports, trouble
from labctl.verdict.judge import RunVerdict, StepVerdict

MAX_TEXT_ROWS = 400
GAP_S = 0.25
_TIME = 9
_LEAST_WIDTH = 60
# Words where there is little room, and words that the label has already.
_SHORT = {"lost": "stopped", "retransmission": "resent"}
_SHOWN = ("reset", "ICMP error")


def show(run: RunVerdict, width: int = 100) -> str:
    """The run as text: verdict, then packets between hosts with steps and faults where they happened.

    `width` is the terminal's in columns; nothing is wider, and less than 60 counts as 60. A `░` beside a lifeline means
    that a fault is in place at that host. Control characters from the run are written out, so it is safe to print.
    Raises EvidenceError when a capture cannot be read.
    """
    width = max(width, _LEAST_WIDTH)
    drawn = ladder(run.evidence, MAX_TEXT_ROWS)
    head = [f"{run.verdict}: {run.reason}"] if run.reason else [run.verdict]
    lines = [*_wrapped(plain.one_line(head[0]), width), ""]
    if not drawn.hosts:
        return "\n".join([*lines, "no host took part"]) + "\n"
    return "\n".join([*lines, *_Drawing(drawn, run.steps, width).lines()]) + "\n"


class _Drawing:
    """One ladder at one width. Every line is built on a row of cells, then the label is put behind it."""

    def __init__(self, drawn: Ladder, steps: Sequence[StepVerdict], width: int) -> None:
        self.drawn = drawn
        self.steps = {step.index: step for step in steps}
        self.width = width
        hosts = len(drawn.hosts)
        self.label_width = max(20, min(40, width // 3))
        space = width - _TIME - self.label_width - 4
        self.between = max(7, min(22, space // max(1, hosts - 1))) if hosts > 1 else 1
        self.at = {host: 2 + number * self.between for number, host in enumerate(drawn.hosts)}
        self.room = 3 + self.between * (hosts - 1) + 2
        self.label_width = max(12, width - _TIME - self.room)

    def lines(self) -> Iterator[str]:
        """The whole drawing, line by line."""
        yield self._names()
        before: float | None = None
        for t, thing in self._events():
            if before is not None and t - before > GAP_S:
                yield self._line("", self._lifelines(t), f"… {plain.seconds(t - before)} …")
            if isinstance(thing, StepVerdict):
                yield self._step(thing)
            elif isinstance(thing, tuple):
                yield self._fault(t, *thing)
            else:
                yield self._row(thing)
            before = max(before or 0.0, t)
        noise = f"{plain.plural(self.drawn.noise, 'packet')} of ARP and multicast not drawn"
        yield from ["", noise] if self.drawn.noise else []

    def _events(self) -> list[tuple[float, StepVerdict | tuple[Band, bool] | Row]]:
        found: list[tuple[float, int, StepVerdict | tuple[Band, bool] | Row]] = []
        found += [(s.started, 0, s) for s in self.steps.values()]
        for band in self.drawn.bands:
            found.append((band.start, 1, (band, True)))
            if band.end is not None:
                found.append((band.end, 1, (band, False)))
        found += [(row.t, 2, row) for row in self.drawn.rows if isinstance(row, Burst) or not row.noise]
        found.sort(key=lambda event: event[:2])
        return [(t, thing) for t, _, thing in found]

    def _names(self) -> str:
        cells = [" "] * (self.room + self.between)
        for host, at in self.at.items():
            name = plain.shorten(plain.one_line(host), self.between - 1 if self.between > 1 else 20)
            start = max(0, min(at - len(name) // 2, self.room - len(name)))
            cells[start : start + len(name)] = name
        return (" " * _TIME + "".join(cells)).rstrip()[: self.width]

    def _lifelines(self, t: float) -> list[str]:
        cells = [" "] * self.room
        for host, at in self.at.items():
            cells[at] = "│"
            if any(b.host == host and b.start <= t and (b.end is None or t < b.end) for b in self.drawn.bands):
                cells[at - 1] = cells[at + 1] = "░"
        return cells

    def _line(self, time: str, cells: Sequence[str], text: str) -> str:
        text = plain.fit(plain.one_line(text), self.label_width).rstrip()
        return f"{time:>{_TIME - 1}} {''.join(cells)}{text}".rstrip()

    def _step(self, step: StepVerdict) -> str:
        start = f"── {step.index}. {plain.one_line(step.name)} "
        end = f" {step.verdict}" if step.verdict != "pass" or step.findings else ""
        start = plain.fit(start, min(plain.columns(start), self.width - len(end) - 1)).rstrip() + " "
        return start + "─" * (self.width - plain.columns(start) - len(end)) + end

    def _fault(self, t: float, band: Band, begins: bool) -> str:
        touched = "" if band.packets is None else f": {plain.plural(band.packets, 'packet')}"
        text = f"▼ {band.name} ({band.kind})" if begins else f"▲ {band.name} ends{touched}"
        cells = self._lifelines(t)
        if band.host in self.at:
            cells[self.at[band.host]] = "▼" if begins else "▲"
        return self._line(f"{t:.4f}", cells, text)

    def _row(self, row: Row) -> str:
        cells = self._lifelines(row.t)
        if isinstance(row, Burst):
            self._arrow(cells, [h for h in (row.source, row.target) if h in self.at], "═", row)
        else:
            self._arrow(cells, [hop.host for hop in row.hops if hop.host in self.at], _stroke(row), row)
        wrong = ", ".join(_SHORT.get(w, w) for w in trouble(row) if isinstance(row, Burst) or w not in _SHOWN)
        text = label(row) + (f" [{wrong}]" if wrong else "")
        numbered = text if isinstance(row, Burst) else f"{text}  {ports(row.packet)}"
        return self._line(f"{row.t:.4f}", cells, numbered if plain.columns(numbered) <= self.label_width else text)

    def _arrow(self, cells: list[str], hosts: Sequence[str], stroke: str, row: Row) -> None:
        path = list(dict.fromkeys(hosts))
        if not path:
            return
        start, end = self.at[path[0]], self.at[path[-1]]
        stops = "lost" in row.traits and not isinstance(row, Burst)
        if stops and row.target in self.at:
            step = 1 if self.at[row.target] >= end else -1
            left = path[-1] == row.source or sum(hop.host == path[-1] for hop in row.hops) > 1
            end += step * (self.between // 2) if left else -step
        if start == end:
            cells[start] = "•"
            return
        low, high = sorted((start, end))
        for i in range(low + 1, high):
            cells[i] = "┼" if cells[i] == "│" else stroke
        cells[start] = "├" if end > start else "┤"
        tip = ">" if end > start else "<"
        if stops:
            cells[end] = "✗"
        else:
            cells[end - 1 if end > start else end + 1] = tip
            if isinstance(row, Burst) and row.back:
                cells[start + 1 if end > start else start - 1] = "<" if end > start else ">"


def _stroke(row: Row) -> str:
    traits = row.traits
    if "rst" in traits:
        return "━"
    if "icmp" in traits:
        return "·"
    return "╌" if "retransmission" in traits else "─"


def _wrapped(text: str, width: int) -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and plain.columns(line) + 1 + plain.columns(word) > width:
            yield line
            line = ""
        line = f"{line} {word}" if line else word
        while plain.columns(line) > width:
            cut = line[:width] if plain.columns(line) == len(line) else line[: width // 2]
            yield cut
            line = line[len(cut) :]
    yield line
