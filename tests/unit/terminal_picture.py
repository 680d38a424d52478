"""docs/img/terminal.svg, what a terminal shows of the recorded run of the firewall scenario.

As a program (script/docs) it draws the picture anew.
"""

from __future__ import annotations

import html
import io
import re
import tempfile
from pathlib import Path

from recorded import ROOT, Shipped, unpack
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from labctl.report import terminal
from labctl.runs import judge_run
from labctl.verdict.judge import result

PICTURE = ROOT / "docs/img/terminal.svg"
SCENARIO = Shipped(ROOT / "scenarios/firewall.yaml", None)
TITLE = "$ labctl run scenarios/firewall.yaml"
WIDTH = 102
_TEXT = re.compile(r'<text [^>]*x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>')


def shown() -> Console:
    """A terminal that has shown the summary of the recorded run."""
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False
    )
    with tempfile.TemporaryDirectory() as folder:
        value = result(judge_run(unpack(SCENARIO, Path(folder))))
    terminal.summary(console, value, Path("runs") / value["run"])
    return console


def draw() -> str:
    """The picture, which loads nothing from anywhere."""
    plain = re.sub(r"<!--.*?-->|@font-face \{\{.*?\n    \}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    fonts = plain.replace("Fira Code, monospace", "DejaVu Sans Mono, Menlo, Consolas, monospace")
    return shown().export_svg(title=TITLE, code_format=fonts, unique_id="terminal")


def lines(svg: str) -> list[str]:
    """What a picture says, line by line, without its title and its white space."""
    rows: dict[float, list[tuple[float, str]]] = {}
    for x, y, text in _TEXT.findall(svg):
        rows.setdefault(float(y), []).append((float(x), html.unescape(text).replace("\xa0", " ")))
    said = (" ".join("".join(text for _, text in sorted(row)).split()) for _, row in sorted(rows.items()))
    return [line for line in said if line and line != TITLE]


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
