"""Several runs as Markdown: for a pull request or a CI job summary (GitHub, GitLab, Gitea)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from labctl.report import plain

_SIGN = {"pass": "✅", "fail": "❌", "error": "💥", "skip": "⏭️"}
_ORDER = ("error", "fail", "skip", "pass")
# What means something to CommonMark, GFM tables, mentions, math, bare links or HTML.
_ACTIVE = re.compile(r"([\\`*_\[\]<>#!|&~@$]|:(?=//)|(?<=www)\.)", re.IGNORECASE)
_REASON_LIMIT = 400


def markdown(runs: Sequence[Mapping[str, Any]]) -> str:
    """A headline, one table row per run (what went wrong first), and the failed steps of each in a fold.

    Arguments: what result.json holds of each run. Nothing a run says can become markup, a mention or a link.
    """
    counts = Counter(str(run.get("verdict")) for run in runs)
    told = [f"{counts[v]} {v}" for v in _ORDER if counts[v]] or ["nothing was run"]
    lines = [f"### labctl: {', '.join(told)}", ""]
    if runs:
        lines += ["| | scenario | why | took | packets |", "|---|---|---|--:|--:|"]
        ordered = sorted(runs, key=lambda run: (_rank(run), str(run.get("scenario"))))
        lines += [_row(run) for run in ordered]
        for run in ordered:
            lines += _details(run)
    return "\n".join(lines) + "\n"


def _rank(run: Mapping[str, Any]) -> int:
    verdict = str(run.get("verdict"))
    return _ORDER.index(verdict) if verdict in _ORDER else 0


def _row(run: Mapping[str, Any]) -> str:
    took = run.get("seconds")
    packets = sum(int(c.get("packets") or 0) for c in run.get("captures", ()))
    cells = [
        _SIGN.get(str(run.get("verdict")), "❔"),
        f"**{inert(str(run.get('scenario', '?')))}**",
        inert(plain.shorten(plain.one_line(str(run.get("reason") or "")), _REASON_LIMIT)),
        plain.seconds(took) if isinstance(took, int | float) else "not finished",
        f"{packets:,}",
    ]
    return f"| {' | '.join(cells)} |"


def _details(run: Mapping[str, Any]) -> Iterator[str]:
    steps = [s for s in run.get("steps", ()) if s["verdict"] in ("fail", "error")]
    if not steps:
        return
    title = f"{inert(str(run.get('scenario', '?')))}: {plain.plural(len(steps), 'step')}"
    yield from ("", f"<details><summary>{title}</summary>", "")
    for step in steps:
        yield f"- **{step.get('index', '')} {inert(plain.one_line(step['name']))}** ({step['verdict']})"
        bad = [f for f in step["findings"] if f["verdict"] != "pass"]
        for finding in bad:
            said = f"{finding['check']}: expected {finding['expected']}, got {finding['actual']}"
            yield f"  - {inert(plain.shorten(plain.one_line(said), _REASON_LIMIT))}"
        if not bad:
            yield f"  - {inert(plain.shorten(plain.one_line(step['reason']), _REASON_LIMIT))}"
    yield from ("", "</details>")


def inert(text: str) -> str:
    """Text that shows as itself: control characters written out, everything Markdown or HTML would act on escaped."""
    return _ACTIVE.sub(r"\\\1", plain.one_line(text)).replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")
