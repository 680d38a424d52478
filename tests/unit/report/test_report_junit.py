"""JUnit XML that CI systems read: nothing looks better than it was, nothing breaks the XML."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st
from reporting import edited, evidence_of, recorded, verdict_of

from labctl.report.junit import junit
from labctl.verdict.judge import result


def suite(*runs: dict[str, Any]) -> ET.Element:
    return ET.fromstring(junit(runs))


def step(verdict: str, name: str = "a step", **more: Any) -> dict[str, Any]:
    findings = [{"check": "errno", "expected": "success", "actual": "EPIPE", "verdict": verdict}]
    return {"index": 1, "name": name, "verdict": verdict, "reason": "because", "seconds": 0.5, "findings": findings} | more


def run_of(verdict: str, *steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"scenario": "s", "run": "r", "verdict": verdict, "reason": "why", "seconds": 2.0, "seed": 7,
            "engine": "docker", "started": "2027-01-15T08:00:00.123456Z", "steps": list(steps), "faults": [],
            "captures": [], "environment": {"kernel": "6.1"}} | more  # fmt: skip


def test_the_recorded_run_has_a_case_per_step_that_expects_something() -> None:
    run = result(recorded("firewall"))
    root = suite(run)
    (found,) = root.findall("testsuite")
    assert (found.get("tests"), found.get("failures"), found.get("errors")) == ("8", "4", "0")
    failure = found.find("testcase[@name='08 rejected with \"port unreachable\", it is refused as well']/failure")
    assert failure is not None
    (step_,) = [s for s in run["steps"] if s["index"] == 8]
    assert failure.get("message") == step_["reason"]
    (late,) = [f for f in step_["findings"] if f["check"] == "elapsed"]
    assert f"fail: elapsed: expected {late['expected']}, got {late['actual']}" in (failure.text or "")
    properties = {p.get("name"): p.get("value") for p in found.iter("property")}
    assert properties["seed"] == "1"
    assert properties["engine"] == "docker"
    assert properties["backend"] == "iptables"
    assert "kernel" in properties
    out = found.find("system-out")
    assert out is not None
    assert "[[ATTACHMENT|20261123T150406Z-firewall-62dc/pcap/client.pcapng]]" in (out.text or "")
    assert [root.get(key) for key in ("name", "tests", "failures", "errors", "skipped")] == ["labctl", "8", "4", "0", "0"]


def test_attachments_follow_the_directory_that_the_caller_names() -> None:
    assert "[[ATTACHMENT|runs/x/report.html]]" in junit([run_of("pass", step("pass"), directory="runs/x")])


def test_each_verdict_has_its_own_element() -> None:
    found = suite(run_of("error", step("pass"), step("fail"), step("error")), run_of("skip"))
    assert [[child.tag for child in case] for case in found.iter("testcase")] == [
        ["system-out"], ["failure"], ["error"], ["skipped"],
    ]  # fmt: skip
    assert (found.get("tests"), found.get("failures"), found.get("errors"), found.get("skipped")) == ("4", "1", "1", "1")


def test_a_run_that_no_step_explains_has_a_case_of_its_own() -> None:
    (case,) = [c for c in suite(run_of("error", step("pass"))).iter("testcase") if c.find("error") is not None]
    assert case.get("name") == "the run as a whole"
    error = case.find("error")
    assert error is not None
    assert error.get("message") == "why"


def test_an_empty_run_and_an_interrupted_one_are_no_pass(tmp_path: Path) -> None:
    empty = suite(result(verdict_of(evidence_of({}))))
    assert empty.get("tests") == "1"
    gone = edited("firewall", tmp_path, lambda e: {"t": 5.0, "event": "interrupted"} if e["t"] > 5 else e)
    assert suite(result(gone)).get("errors") != "0"


def test_no_runs_are_an_empty_file() -> None:
    assert suite().get("tests") == "0"


@given(st.text(st.characters() | st.sampled_from("\x00\x1b\ufffe\ud800<&]]>\"'")))
def test_any_text_makes_well_formed_xml_and_no_markup(text: str) -> None:
    more = {"name": text, "reason": text}
    run = run_of("fail", step("fail", **more), scenario=text, reason=text, directory=text, environment={text: text})
    found = ET.fromstring(junit([run]).encode("utf-8"))
    assert {element.tag for element in found.iter()} <= {
        "testsuites", "testsuite", "properties", "property", "testcase", "failure", "system-out",
    }  # fmt: skip
