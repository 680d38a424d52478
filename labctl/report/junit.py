"""JUnit XML of one or several runs, as CI systems read it (Jenkins xunit, GitLab, GitHub actions, Buildkite)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from labctl.report.plain import printable
from labctl.verdict.finding import worst

_ELEMENT = {"fail": "failure", "error": "error", "skip": "skipped"}


def junit(runs: Sequence[Mapping[str, Any]]) -> str:
    """One testsuite per run, one testcase per step that expects something or went wrong.

    Arguments: what result.json holds of each run. A run whose verdict none of its steps explains (an interrupted one,
    one whose fault touched nothing, one without steps) has one more case, named `the run as a whole`, so no run looks
    better than it was and none is empty. Attachments are named relative to the folder of the runs, or to the run's key
    `directory` where the caller added it.
    """
    suites = [_suite(run) for run in runs]
    root = ET.Element("testsuites", {"name": "labctl", **_sums(suites)})
    root.extend(suites)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(run: Mapping[str, Any]) -> ET.Element:
    scenario = printable(str(run.get("scenario", "?")))
    cases = list(_cases(run, scenario))
    suite = ET.Element(
        "testsuite",
        name=scenario,
        tests=str(len(cases)),
        failures=_count(cases, "failure"),
        errors=_count(cases, "error"),
        skipped=_count(cases, "skipped"),
        time=_time(run.get("seconds")),
        timestamp=printable(str(run.get("started") or ""))[:19],
        hostname=printable(str((run.get("environment") or {}).get("hostname", "localhost"))),
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(run):
        ET.SubElement(properties, "property", name=printable(name), value=printable(value))
    suite.extend(cases)
    ET.SubElement(suite, "system-out").text = "\n".join(_attachments(run))
    return suite


def _cases(run: Mapping[str, Any], scenario: str) -> Iterator[ET.Element]:
    told = []
    for step in run.get("steps", ()):
        if step["findings"] or step["verdict"] != "pass":
            told.append(step["verdict"])
            name = f"{step.get('index', len(told)):02d} {step['name']}"
            findings = [_line(f) for f in step["findings"]]
            yield _case(scenario, name, step.get("seconds"), step["verdict"], step["reason"], findings)
    verdict = run.get("verdict", "error")
    if not told or worst(told) != verdict:
        yield _case(scenario, "the run as a whole", run.get("seconds"), verdict, run.get("reason") or "", [])


def _case(
    scenario: str, name: str, seconds: float | None, verdict: str, reason: str, findings: Sequence[str]
) -> ET.Element:
    case = ET.Element("testcase", classname=scenario, name=printable(name), time=_time(seconds))
    if verdict in _ELEMENT:
        told = ET.SubElement(case, _ELEMENT[verdict], message=printable(reason))
        if verdict != "skip":
            told.set("type", verdict)
            told.text = printable("\n".join([reason, "", *findings] if findings else [reason]))
    elif findings:
        ET.SubElement(case, "system-out").text = printable("\n".join([reason, "", *findings]))
    return case


def _line(finding: Mapping[str, Any]) -> str:
    return f"{finding['verdict']}: {finding['check']}: expected {finding['expected']}, got {finding['actual']}"


def _properties(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("run", "engine", "seed", "verdict", "reason"):
        if run.get(key) is not None:
            yield key, str(run[key])
    for key, value in sorted((run.get("environment") or {}).items()):
        yield key, str(value)
    backends = {fault.get("backend") for fault in run.get("faults", ()) if fault.get("backend")}
    if backends:
        yield "backend", ",".join(sorted(map(str, backends)))
    for fault in run.get("faults", ()):
        yield f"fault {fault['name']}", f"{fault['kind']} on {fault['host']}: {fault.get('packets')} packets"


def _attachments(run: Mapping[str, Any]) -> Iterator[str]:
    where = run.get("directory") or run.get("run")
    if where is None:  # it could not be begun
        return
    base = printable(str(where)).replace("]]", "] ]")
    yield f"[[ATTACHMENT|{base}/report.html]]"
    yield f"[[ATTACHMENT|{base}/result.json]]"
    for capture in run.get("captures", ()):
        yield f"[[ATTACHMENT|{base}/{printable(str(capture['file']))}]]"


def _sums(suites: Sequence[ET.Element]) -> dict[str, str]:
    sums = {key: str(sum(int(s.get(key, "0")) for s in suites)) for key in ("tests", "failures", "errors", "skipped")}
    return sums | {"time": _time(sum(float(s.get("time", "0")) for s in suites))}


def _count(cases: Sequence[ET.Element], element: str) -> str:
    return str(sum(case.find(element) is not None for case in cases))


def _time(seconds: float | None) -> str:
    return f"{seconds or 0.0:.3f}"
