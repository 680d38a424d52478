"""The page is one file that loads nothing, says what the run was, and lets nothing from the run act on its reader."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from reporting import across, edited, evidence_of, packet, plan_of, recorded, together, verdict_of

from labctl.evidence.record import ProgramRecord, Sample, StepRecord
from labctl.report.html import render
from labctl.report.pagedata import embed
from labctl.report.series import MAX_POINTS, Point, thin
from labctl.verdict.finding import Finding
from labctl.verdict.judge import RunVerdict, StepVerdict, result

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&{{7*7}}<!--\x1b[31m\u202e\u2028\0\ud800"


class Page(HTMLParser):
    """Every element of a page with its attributes, every id, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 (the base class names it)
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found


def hostile_run() -> RunVerdict:
    """A run in which every text that a scenario, a program or a packet can choose is hostile."""
    seen = across(1, 1.0, protocol=HOSTILE, info=HOSTILE, flags=None, sport=None, dport=None)
    socket = {"protocol": "tcp", "state": HOSTILE, "local": HOSTILE, "port": 1, "remote": HOSTILE, "peer": 2, "recv_q": 5}
    evidence = evidence_of(seen, {"client": [Sample(1.0, (socket,)), Sample(2.0, ())]})
    evidence.scenario = evidence.run = evidence.engine = HOSTILE
    evidence.environment = {HOSTILE: HOSTILE}
    evidence.steps[1] = StepRecord(1, 0.5, 2.0, None, "1")
    program = ProgramRecord(HOSTILE, HOSTILE, (HOSTILE, "a b"), 1, 0.5, 2.0, 1, {"op": HOSTILE}, HOSTILE, HOSTILE)
    evidence.programs["1"] = program
    finding = Finding(HOSTILE, HOSTILE, HOSTILE, "fail")
    step = StepVerdict(1, "run", HOSTILE, HOSTILE, "fail", HOSTILE, (finding,), 0.5, 1.5, program)
    return RunVerdict("fail", HOSTILE, (step,), evidence)


@pytest.fixture(scope="module")
def firewall() -> Page:
    run = recorded("firewall")
    return Page(render(run, plan_of(run), (run.evidence.path / "scenario.yaml").read_text(encoding="utf-8")))


def test_verdict_and_why_come_first(firewall: Page) -> None:
    assert re.search(r"firewall\s*fail\s*step 8 \(rejected with", re.sub(r"\s+", " ", firewall.text))


def test_every_step_finding_fault_capture_and_output_is_on_the_page(firewall: Page) -> None:
    run = recorded("firewall")
    for step in run.steps:
        assert " ".join(step.name.split()) in " ".join(firewall.text.split())
        for finding in step.findings:
            assert finding.actual in firewall.text
    assert "iptables -w 5 -A LABCTL-wall -p tcp --dport 65432 -j DROP" in firewall.text
    assert "received b'Hello, world'" in firewall.text
    assert "A firewall that drops says nothing" in firewall.text
    links = [a.get("href") for tag, a in firewall.elements if tag == "a"]
    assert {"pcap/client.pcapng", "pcap/router.pcapng", "pcap/server.pcapng", "pcap/merged.pcapng"} <= set(links)


def test_the_packets_of_a_step_that_ends_a_program_are_those_since_its_start() -> None:
    """What is expected of it is looked for in these."""
    run = hostile_run()
    run.evidence.steps[2] = StepRecord(2, 1.5, 2.0, None, "1")
    finish = StepVerdict(2, "finish", HOSTILE, HOSTILE, "pass", HOSTILE, (), 1.5, 0.5, run.steps[0].program)
    page = Page(render(RunVerdict("pass", HOSTILE, (*run.steps, finish), run.evidence), {}, ""))
    assert [(step["t"], step["since"]) for step in page.data()["steps"]] == [(0.5, 0.5), (1.5, 0.5)]


def test_the_page_loads_nothing(firewall: Page) -> None:
    loads = {"src", "srcset", "data", "poster", "action", "formaction", "background"}
    for tag, attributes in firewall.elements:
        assert tag not in ("iframe", "object", "embed", "base", "img", "video", "audio")
        assert not loads & attributes.keys()
        href = attributes.get("href") or ""
        assert not re.match(r"[a-z]+://|//", href), href
        assert tag != "link" or href.startswith("data:")


def test_the_policy_allows_exactly_the_inlined_style_and_script(firewall: Page) -> None:
    run = recorded("firewall")
    text = render(run, {}, "")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    policy = policy.replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for pattern, kind in ((r"<style>(.*?)</style>", "style-src"), (r"<script>(.*?)</script>", "script-src")):
        (inlined,) = re.findall(pattern, text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inlined.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert not [a for _, a in firewall.elements if "style" in a or any(k.startswith("on") for k in a)]


def test_it_can_be_used_without_a_mouse_and_without_eyes(firewall: Page) -> None:
    tags = [tag for tag, _ in firewall.elements]
    assert tags.count("h1") == tags.count("main") == tags.count("header") == tags.count("footer") == tags.count("nav") == 1
    ids = [a["id"] for _, a in firewall.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in firewall.elements:
        for name in ("aria-labelledby", "aria-controls"):
            assert attributes.get(name) is None or attributes[name] in ids
    for tag, attributes in firewall.elements:
        if tag == "a" and (attributes.get("href") or "").startswith("#"):
            assert (attributes["href"] or "")[1:] in ids
        if tag == "th":
            assert attributes.get("scope") in ("row", "col")


def test_hostile_text_stays_text_everywhere() -> None:
    text = render(hostile_run(), {"lab": HOSTILE}, HOSTILE)
    page = Page(text)
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert "img" not in [tag for tag, _ in page.elements]
    assert "<!--" not in text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\u2028\ud800]", text)
    assert "{{7*7}}" in text
    assert "49" not in re.findall(r"<h1.*?</h1>", text, re.DOTALL)[0]
    assert "\\x1b[31m\\u202e\\u2028\\0\\ud800" in page.text
    (row,) = page.data()["rows"]
    assert row["p"]["info"].startswith("</script><script>alert(1)</script>")
    text.encode("utf-8")


def test_what_is_embedded_cannot_end_its_script_and_reads_back() -> None:
    value = {"<": HOSTILE.replace("\ud800", "")}
    text = embed(value)
    assert not re.search(r"[<>&\u2028\u2029]", text)
    assert json.loads(text) == value


def test_a_run_without_packets_steps_or_plan_still_has_its_page(tmp_path: Path) -> None:
    run = edited("firewall", tmp_path, lambda e: e if e["event"] == "run-start" else None)
    text = render(run, {}, "")
    assert "No step was taken." in text
    assert "No packet was captured." in text
    assert "not finished" in text


def test_an_interrupted_run_says_so(tmp_path: Path) -> None:
    def cut(event: dict[str, Any]) -> dict[str, Any] | None:
        return event if event["t"] < 8 else {"t": 8.0, "event": "interrupted"} if event["event"] == "run-end" else None

    run = edited("firewall", tmp_path, cut)
    page = Page(render(run, plan_of(run), ""))
    assert run.verdict == "error"
    assert "interrupted before it was finished" in page.text
    assert "to the end" in " ".join(page.text.split())


def test_an_error_run_shows_its_error(tmp_path: Path) -> None:
    def broken(event: dict[str, Any]) -> dict[str, Any]:
        if event["event"] == "step-end" and event["index"] == 4:
            event["error"] = "iptables said no"
        return event

    run = edited("firewall", tmp_path, broken)
    page = Page(render(run, plan_of(run), ""))
    assert run.verdict == "error"
    assert "iptables said no" in page.text
    assert any("step-error" in (a.get("class") or "") for _, a in page.elements)


def test_packets_that_cannot_be_read_are_named_and_the_rest_stays(tmp_path: Path) -> None:
    run = edited("backpressure", tmp_path, lambda e: e)
    run.evidence.__dict__.pop("packets")
    (run.evidence.path / "pcap/client.tsv").unlink()
    text = render(run, {}, "")
    assert "The packets cannot be shown: " in text
    assert "client.tsv cannot be read" in text
    assert "a server that never reads makes send() say EAGAIN" in text


def test_sockets_that_filled_are_plotted_and_told_as_a_table() -> None:
    run = recorded("backpressure")
    page = Page(render(run, {}, ""))
    plotted = page.data()["sockets"]
    assert max(point[1] or 0 for s in plotted for point in s["p"] if s["host"] == "server") > 32_000
    assert any("ESTAB" in line for line in page.text.splitlines())


def test_long_output_is_cut_at_its_beginning() -> None:
    run = hostile_run()
    program = replace(run.steps[0].program, stdout="x" * 100_000 + "the end")  # type: ignore[type-var]
    run = replace(run, steps=(replace(run.steps[0], program=program),))
    text = render(run, {}, "")
    assert "the end" in text
    assert "84,007 characters before it are in the run directory" in text
    assert len(text) < 200_000


def test_twenty_thousand_packets_make_a_page_of_bounded_size() -> None:
    ways = []
    for n in range(5000):
        ways.append(across(n, 1 + n * 0.002, payload=1448, raw_seq=n * 1448, ip_id=f"0x{n:04x}", info="i" * 400))
    ways += [across(n, 12 + n * 0.01, sport=n, flags=2, ip_id=f"0x{n:04x}", info="i" * 400) for n in range(1, 3000)]
    text = render(verdict_of(evidence_of(together(*ways))), {}, "")
    assert len(text.encode()) < 3_000_000
    assert Page(text).data()["rows"]


def test_a_series_is_thinned_but_keeps_its_peaks() -> None:
    points = [Point(n / 10, 5 if n != 777 else 90_000, 0, 10, None) for n in range(5000)]
    kept = thin(points)
    assert len(kept) <= MAX_POINTS
    assert max(p.recv_q or 0 for p in kept) == 90_000
    assert kept[-1] == points[-1]


def test_a_packet_to_an_address_of_no_host_is_drawn() -> None:
    run = verdict_of(evidence_of({"client": [packet(1, 1.0, destination="192.0.2.1", flags=2)]}))
    (row,) = Page(render(run, {}, "")).data()["rows"]
    assert (row["a"], row["b"], row["f"]) == (0, -1, 2)


@pytest.mark.parametrize(
    ("applied", "removed", "said"),
    [
        (1.012, 2.0081, "begun 12 ms and ended 8.1 ms after it was asked for"),
        (1.012, 2.004, "begun 12 ms after it was asked for"),
        (1.004, 2.03, "ended 30 ms after it was asked for"), (1.004, None, None), (1.005, 2.005, None),
    ],
)  # fmt: skip
def test_a_fault_that_was_late_says_so(tmp_path: Path, applied: float, removed: float | None, said: str | None) -> None:
    """More than 5 ms after its time, at its beginning or its end; one that kept its time says nothing."""

    def edit(event: dict[str, Any]) -> dict[str, Any] | None:
        if event["event"] == "fault-applied":
            return {**event, "asked": 1.0, "t": applied}
        if event["event"] == "fault-removed":
            return None if removed is None else {**event, "asked": 2.0, "t": removed}
        return event

    run = edited("firewall", tmp_path, edit)
    text = Page(render(run, plan_of(run), "")).text
    assert ("after it was asked for" in text) == (said is not None)
    if said:
        assert said in text


def test_what_a_fault_did_stands_beside_its_packets(tmp_path: Path) -> None:
    """On the page, in the result and in the reason of the step that ends it; each time together, and only what is known."""

    def edit(effect: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda event: {**event, "effect": effect} if event["event"] == "fault-removed" else event

    run = edited("firewall", tmp_path, edit({"seen": 1200, "lost": 3, "over_limit": 1, "another": 7}))
    said = "of 1,200 it lost 3, dropped 1 over the limit"
    assert said in Page(render(run, plan_of(run), "")).text
    assert result(run)["faults"][0]["effect"] == {"seen": 1200, "lost": 3, "over_limit": 1, "another": 7}
    assert [s.reason for s in run.steps if s.reason.endswith(f"packets: {said}") and " touched " in s.reason]
    run = edited("firewall", tmp_path / "2", edit(None))
    assert " it lost " not in Page(render(run, plan_of(run), "")).text
    assert result(run)["faults"][0]["effect"] is None
