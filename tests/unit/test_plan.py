"""Scenario × Lab → Plan: every host, command and fault of a run, decided before anything is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from labctl.catalogue import catalogue
from labctl.faults.base import Impossible
from labctl.lab import read_lab
from labctl.plan import Plan, command, plan
from labctl.report.explain import explain
from labctl.scenario.files import summary_of
from labctl.scenario.loader import from_source
from labctl.scenario.yamltext import Source

OWN = Path(__file__).resolve().parents[2] / "docker-compose.yml"


def planned(steps: str, head: str = "") -> Plan:
    """The plan of a scenario with these steps in our own lab."""
    text = f"scenario: x\n{head}steps:\n{steps}"
    loaded = from_source(Source("x.yaml", text))
    return plan(loaded.scenario, read_lab(OWN))


RUN = "  - {run: [probe, connect, server, 1], on: client, expect: {errno: null}}\n"


def test_hosts_that_are_only_spoken_of_come_up_too() -> None:
    """A host in a command, a peer of a fault, the place of an expectation: each needs the host up, and the router between."""
    assert planned(RUN).hosts == ("server", "client", "router")
    assert planned("  - {run: [probe, listen, '1'], on: client, expect: {errno: null}}\n").hosts == (
        "client",
    )
    packets = "  - {run: [x], on: client, expect: {exit: 0, packets: [{at: powerpc, filter: tcp}]}}\n"
    assert planned(packets).hosts == ("client", "powerpc", "router")
    fault = "  - {fault: a, at: client, drop: {to: powerpc}}\n" + RUN
    assert planned(fault).hosts == ("server", "client", "powerpc", "router")


def test_bundled_programs_run_on_any_host(tmp_path: Path) -> None:
    """On a host whose image has none they run beside it; its own commands run on it."""
    (tmp_path / "c.yml").write_text("services: {web: {image: some/image}}\n", encoding="utf-8")
    text = "scenario: x\nsteps:\n  - {run: [probe, bind, '1'], on: web, expect: {errno: null}}\n"
    text += "  - {run: [ls, /], on: web, expect: {exit: 0}}\n"
    bundled, own = plan(from_source(Source("x.yaml", text)).scenario, read_lab(tmp_path / "c.yml")).steps
    assert (bundled.beside, bundled.argv) == (True, ("python3", "/opt/labctl/programs/probe.py", "bind", "1"))
    assert (own.beside, own.argv) == (False, ("ls", "/"))
    (here,) = planned(RUN).steps
    assert not here.beside


def test_a_bundled_program_is_python_and_its_path_and_all_else_is_as_written() -> None:
    """A program's word becomes its path on that host; a command of the image's own stays."""
    (step,) = planned(RUN).steps
    assert step.argv == ("python3", "/opt/labctl/programs/probe.py", "connect", "server", "1")
    assert command(("curl", "x"), "/p") == ("curl", "x")
    assert command(("probe",), None) == ("probe",)


def test_steps_are_numbered_titled_and_timed() -> None:
    """Steps count from 1; a step's own words are its title when it has no name; its timeout is its own or the scenario's."""
    steps = planned(
        '  - {start: [echo-server, "", 7], on: server, as: srv}\n' + RUN.replace("{run", "{name: the name, timeout: 5s, run")
        + "  - {fault: a, at: server, drop: {protocol: tcp}}\n  - {wait: 1s}\n  - {heal: a}\n  - {stop: srv}\n",
        "timeout: 9s\n",
    ).steps  # fmt: skip
    assert [s.index for s in steps] == [1, 2, 3, 4, 5, 6]
    assert [s.kind for s in steps] == ["start", "run", "fault", "wait", "heal", "stop"]
    assert steps[1].title == "the name"
    assert all(s.title for s in steps)
    assert [s.timeout_s for s in steps][:2] == [9.0, 5.0]
    assert (steps[0].handles, steps[4].handles, steps[5].handles) == (("srv",), ("a",), ("srv",))


def test_a_title_is_a_line_however_long_the_command_is() -> None:
    """Its beginning is enough to know it by; what is run stays whole."""
    script = "echo a\\n  exit\\n" + "x" * 200_000
    long = f"  - {{run: [ls, {'a' * 200_000}], on: client, expect: {{exit: 1}}}}\n"
    start, run = planned(f'  - {{start: [sh, -c, "{script}"], on: server}}\n' + long).steps
    assert start.title.startswith("start sh -c echo a exit xxx")
    assert start.title.endswith("xxx… on server")
    assert run.title == f"run ls {'a' * 196}… on client"
    assert (len(start.argv[2]), len(run.argv[1])) == (200_014, 200_000)


def test_heal_all_is_every_fault_in_place_at_that_point() -> None:
    """`heal: all` stands for the faults that are in place there: not for those healed before or put later."""
    steps = planned(
        "".join(f"  - {{fault: {n}, at: server, drop: {{protocol: tcp}}}}\n" for n in "abc")
        + "  - {heal: b}\n  - {heal: all}\n  - {fault: d, at: server, drop: {}}\n  - {heal: all}\n" + RUN
    ).steps  # fmt: skip
    assert [s.handles for s in steps if s.kind == "heal"] == [("b",), ("a", "c"), ("d",)]


def test_a_fault_at_several_hosts_is_planned_at_each() -> None:
    """One fault step makes one plan for each host it is put at."""
    (step, _) = planned("  - {fault: a, at: [server, router], drop: {protocol: tcp, dport: 1}}\n" + RUN).steps
    assert [(f.host, f.name, f.kind) for f in step.faults] == [
        ("server", "a", "drop"),
        ("router", "a", "drop"),
    ]
    assert ["INPUT" in c.do for c in step.faults[0].changes][-1]
    assert ["FORWARD" in c.do for c in step.faults[1].changes][-1]


def test_a_fault_that_cannot_be_is_impossible() -> None:
    """A plan for what cannot be raises Impossible; `labctl check` has said so before."""
    with pytest.raises(Impossible):
        planned("  - {fault: a, at: server, drop: {protocol: icmpv6}}\n" + RUN)


def test_each_packet_filter_is_tried_once_at_its_host() -> None:
    """Filters are collected by host, each once, in the order they are written."""
    two = "[{at: client, filter: tcp}, {at: server, filter: udp}, {at: client, filter: tcp}, {at: client, filter: arp}]"
    filters = planned(RUN.replace("errno: null", f"errno: null, packets: {two}")).filters
    assert filters == {"server": ("udp",), "client": ("tcp", "arp"), "router": ()}


def test_a_plan_is_json_and_has_every_command() -> None:
    """plan.json can be written and has hosts with addresses and routes, and steps with argv and fault commands."""
    value: dict[str, Any] = json.loads(
        json.dumps(planned("  - {fault: a, at: server, drop: {protocol: tcp}}\n" + RUN).as_json())
    )
    assert [h["name"] for h in value["hosts"]] == ["server", "client", "router"]
    assert value["hosts"][1]["routes"] == [{"to": "default", "via": "198.18.0.66"}]
    assert value["steps"][0]["faults"][0]["changes"][0]["do"][0] == "iptables"
    assert value["steps"][1]["argv"][0] == "python3"


def test_explaining_shows_every_command_and_its_undo() -> None:
    """`explain` has each command as it would be typed, quoted, and what takes it back."""
    steps = "  - {fault: a, at: server, drop: {protocol: tcp, dport: 80}}\n" + RUN
    steps += "  - {run: [sh, -c, 'a b'], on: client, expect: {exit: 0}}\n"
    words = explain(planned(steps))
    assert "client$ sh -c 'a b'" in words
    assert "server# iptables -w 5 -N LABCTL-a\n" in words
    assert "server# iptables -w 5 -X LABCTL-a   (when taken back)" in words
    assert "expect: its last call ends in " in words


def test_the_catalogue_has_what_scenarios_produce() -> None:
    """An entry has name, first sentence, errnos, faults and programs of its scenario."""
    (entry,) = catalogue([OWN.parent / "scenarios/firewall.yaml"])
    assert entry.name == "firewall"
    assert {"ECONNREFUSED", "EHOSTUNREACH", "ETIMEDOUT"} <= set(entry.errnos)
    assert set(entry.faults) == {"drop", "reject"}
    assert {"echo-server", "echo-client", "probe"} <= set(entry.programs)
    assert entry.as_json()["path"].endswith("firewall.yaml")


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("# yaml-language-server: x\n# One. Two.\nscenario: x", "One."), ("# One\n# goes on. Two", "One goes on."),
        ("scenario: x\n# late", ""), ("", ""), ("# no full stop", "no full stop"),
    ],
)  # fmt: skip
def test_a_scenarios_summary_is_the_first_sentence_of_its_first_comment(text: str, summary: str) -> None:
    """Editors' directives are passed over, lines are joined, and the first sentence counts."""
    assert summary_of(text) == summary
    yaml.safe_load(text)
