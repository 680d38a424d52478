"""One run as one HTML file: opens offline, loads nothing, and lets nothing from the run act on the reader's machine."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
import shlex
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from labctl.errors import EvidenceError
from labctl.report import plain
from labctl.report.ladder import Ladder, ladder
from labctl.report.pagedata import embed, page_data
from labctl.report.series import MAX_SOCKETS, SocketSeries, sockets
from labctl.verdict.judge import RunVerdict, StepVerdict, result, what_it_did

LATE_S = 0.005  # a fault on a timeline is in place, and gone, within this of its time
# A page stays readable and small whatever a program said; its whole output is in the run directory.
OUTPUT_LIMIT = 16_000
OUTPUTS_LIMIT = 800_000
SCENARIO_LIMIT = 100_000
# By this in its first HEAD_BYTES a page of ours is known.
GENERATOR = '<meta name="generator" content="labctl">'
HEAD_BYTES = 4096


def render(run: RunVerdict, plan: Mapping[str, Any], scenario_text: str) -> str:
    """The report of one run.

    Arguments: the verdict with its evidence, what plan.json holds (empty when the run broke before it was planned), and
    the scenario as written. Evidence that cannot be read is named on the page; this raises nothing for it.
    """
    notes: list[str] = []
    drawn = _ladder(run, notes)
    series = _sockets(run, notes)
    told = result(run)
    data = embed(page_data(run, drawn, series))
    return page(
        "report.html",
        script="report.js",
        data=Markup(data),
        run=told,
        traffic=run.evidence.traffic if drawn is not None else None,
        steps=[_step(step, _output_limit(run)) for step in run.steps],
        others=_background(run),
        drawn=drawn,
        sockets=series[:MAX_SOCKETS],
        sockets_left_out=max(0, len(series) - MAX_SOCKETS),
        addresses={host: ", ".join(a) for host, a in run.evidence.addresses.items()},
        lab=plan.get("lab"),
        notes=notes,
        scenario_text=plain.shorten(scenario_text, SCENARIO_LIMIT),
        has_merged=len(run.evidence.captures) > 1,
    )


def page(template: str, script: str | None = None, **context: Any) -> str:
    """A template with the one style sheet and at most one script inlined, and a policy that allows these and no more."""
    style = _asset("report.css")
    code = _asset(script) if script else ""
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    policy += f"; script-src {_hash(code)}" if code else ""
    html = _environment().get_template(template).render(
        css=Markup(style), js=Markup(code), policy=policy, generator=Markup(GENERATOR), **context
    )
    return html.encode("utf-8", "replace").decode("utf-8")


def make_ready() -> None:
    """Compile what a run's page is made from, which is half of what the first page takes."""
    for name in ("base.html", "report.html"):
        _environment().get_template(name)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("labctl.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    environment.filters |= {
        "command": lambda argv: shlex.join(map(str, argv)),
        "seconds": plain.seconds,
        "size": plain.size,
        "plural": plain.plural,
        "late": _late,
        "what_it_did": what_it_did,
    }
    return environment


def _late(span: Mapping[str, Any]) -> str:
    """How late a fault was this time, where it was: `begun 12 ms and ended 8 ms after it was asked for`; else nothing."""
    moments = (("begun", span["asked"], span["applied"]), ("ended", span["end_asked"], span["removed"]))
    late = [(what, then - asked) for what, asked, then in moments if asked is not None and then is not None]
    said = [f"{what} {plain.seconds(by_s)}" for what, by_s in late if by_s > LATE_S]
    return f"{' and '.join(said)} after it was asked for" if said else ""


def _harmless(value: object) -> object:
    """What every expression of a template passes through before it is escaped."""
    return plain.printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@lru_cache(maxsize=4)
def _asset(name: str) -> str:
    return importlib.resources.files("labctl.report").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _ladder(run: RunVerdict, notes: list[str]) -> Ladder | None:
    try:
        return ladder(run.evidence)
    except EvidenceError as error:
        notes.append(f"The packets cannot be shown: {error}")
        return None


def _sockets(run: RunVerdict, notes: list[str]) -> list[SocketSeries]:
    try:
        return sockets(run.evidence)
    except (EvidenceError, KeyError, TypeError, ValueError) as error:
        notes.append(f"The socket samples cannot be shown: {error}")
        return []


def _output_limit(run: RunVerdict) -> int:
    return min(OUTPUT_LIMIT, OUTPUTS_LIMIT // max(1, 2 * len(run.evidence.programs)))


def _step(step: StepVerdict, limit: int) -> dict[str, Any]:
    """One step as the template wants it."""
    failing = [f for f in step.findings if f.verdict != "pass"]
    return {
        "step": step,
        "loud": bool(step.findings) or step.verdict != "pass",
        "failing": failing,
        "why": _why(step),
        "output": _output(step, limit) if step.program and step.kind != "start" else None,
        "title": plain.shorten(step.name, 300),
    }


def _why(step: StepVerdict) -> str:
    """The reason without the findings that stand in the table right below it."""
    text = step.reason
    for finding in step.findings:
        if finding.verdict != "pass":
            text = text.removeprefix(f"{finding}; ")
    return text


def _background(run: RunVerdict) -> list[dict[str, Any]]:
    """Programs that ran beside the steps, like servers: their output belongs to no single step."""
    limit = _output_limit(run)
    steps = {s.index: s for s in run.steps}
    return [
        {"program": p, "output": _texts({"stdout": p.stdout, "stderr": p.stderr}, limit)}
        for p in run.evidence.programs.values()
        if p.step in steps and steps[p.step].kind == "start"
    ]


def _output(step: StepVerdict, limit: int) -> list[tuple[str, str, int]]:
    if step.program is None:
        return []
    outcome = json.dumps(step.program.outcome, indent=1, ensure_ascii=False) if step.program.outcome else ""
    return _texts({"stdout": step.program.stdout, "stderr": step.program.stderr, "outcome": outcome}, limit)


def _texts(texts: Mapping[str, str], limit: int) -> list[tuple[str, str, int]]:
    """Each non-empty text: its name, its end, and how many characters before that are left out."""
    return [
        (name, text[-limit:], max(0, len(text) - limit))
        for name, text in texts.items()
        if text.strip()
    ]
