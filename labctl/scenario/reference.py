"""The tables and the error sample of docs/scenarios.md, made from the models so that they cannot lie.

`python -m labctl.scenario.reference docs/scenarios.md` writes what stands between each pair of markers anew.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from labctl.errors import ScenarioError
from labctl.faults import FAULTS
from labctl.scenario.loader import from_source
from labctl.scenario.model import (
    STEPS,
    Capture,
    CountRange,
    Expectation,
    IcmpExpectation,
    PacketExpectation,
    QueueOf,
    QueueSum,
    Ready,
    RetransmissionExpectation,
    SameExpectation,
    Scenario,
    SocketExpectation,
    TextMatch,
)
from labctl.scenario.shape import default_of, fields_of, shape_at
from labctl.scenario.yamltext import Source
from labctl.units import DURATION_S, RATE_BPS, SIZE_BYTES, format_duration

_MARKED = re.compile(r"(<!-- begin (\w+)[^>]*-->\n).*?(<!-- end \2 -->)", re.DOTALL)

SAMPLE = """\
scenario: firewall
steps:
  - start: app-server
    on: server
    ready: {listen: 65432, timeout: 5}
  - fault: wall
    at: router
    dorp: {protocol: tcp, to: server}
  - run: [probe, connect, server, 65432]
    on: client
    expect:
      erno: ETIMEDOUT
      elapsed: 3s
      packets:
        - {at: client, filter: tcp.flags.syn == 1, count: three}
"""


def render(page: str) -> str:
    """The page with every marked section made anew. Raises KeyError for a section that nothing makes."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{SECTIONS[found[2]]()}\n{found[3]}", page)


def _steps() -> str:
    parts = []
    for kind, step in STEPS.items():
        parts.append(f"### {kind}\n\n{_summary(step)}\n\n{_table(step)}")
        if kind == "start":
            parts.append(f"`ready:` {_lower(_summary(Ready))}\n\n{_table(Ready)}")
    return "\n\n".join(parts) + "\n"


def _expectations() -> str:
    parts = [_table(Expectation)]
    for title, model in (
        ("`stdout:` and `stderr:` as a mapping", TextMatch),
        ("An entry of `packets:`", PacketExpectation),
        ("`count:` as a mapping (`elapsed:`, `sent:` and the other ranges likewise)", CountRange),
        ("An entry of `icmp:`", IcmpExpectation),
        ("An entry of `retransmissions:`", RetransmissionExpectation),
        ("An entry of `same:`", SameExpectation),
        ("An entry of `sockets:`", SocketExpectation),
        ("`queues:`", QueueSum),
        ("An entry of `of:`", QueueOf),
    ):
        parts.append(f"#### {title}\n\n{_summary(model)}\n\n{_table(model)}")
    return "\n\n".join(parts) + "\n"


def _faults() -> str:
    parts = [f"#### {kind}\n\n{model.summary}\n\n{_table(model)}" for kind, model in FAULTS.items()]
    return "\n\n".join(parts) + "\n"


def _top() -> str:
    return f"{_table(Scenario)}\n\n`capture:` as a mapping:\n\n{_table(Capture)}\n"


def _units() -> str:
    durations = ", ".join(f"`{unit}`" for unit in DURATION_S)
    sizes = ", ".join(f"`{unit}` ({count})" for unit, count in SIZE_BYTES.items())
    rates = ", ".join(f"`{unit}`" for unit in RATE_BPS)
    return f"""\
| quantity | units | like |
|---|---|---|
| duration | {durations} | `250us`, `100ms`, `1.5s`, `{format_duration(60)}` |
| size | {sizes} bytes | `1500B`, `64KiB`, `1MB` |
| rate | {rates}; as in tc(8), `bit` means bits and `bps` **bytes** per second | `10mbit` |
| percentage | `%` | `5%`, `0.1%` |
"""


def _errors() -> str:
    try:
        from_source(Source("firewall.yaml", SAMPLE))
    except ScenarioError as error:
        return f"```yaml\n{SAMPLE}```\n\n```text\n{error}\n```\n"
    raise AssertionError("the sample of bad input is good")


def _summary(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _table(model: type[BaseModel]) -> str:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, info in fields_of(model).items():
        default = "**required**" if info.is_required() else ""
        if (shown := default_of(info)) is not None:
            default = f"`{str(shown).lower() if isinstance(shown, bool) else shown}`"
        value = re.sub(r"a mapping \([^)]*\)", "a mapping", shape_at(model, (key,)).words)
        rows.append(f"| `{key}` | {value} | {default} | {info.description or ''} |".replace("  ", " "))
    return "\n".join(rows)


SECTIONS: dict[str, Callable[[], str]] = {
    "top": _top,
    "steps": _steps,
    "faults": _faults,
    "expectations": _expectations,
    "units": _units,
    "errors": _errors,
}


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(render(page.read_text(encoding="utf-8")), encoding="utf-8")
