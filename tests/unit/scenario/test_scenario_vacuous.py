# ruff: noqa: E501  messages stand here as they are shown, on one line
"""Expectations that could never fail, or never hold, or hold only because nobody looks, are told before the run."""

from __future__ import annotations

import pytest
from test_scenario_check import HEAD, probe, problems

ALL = "every number is at least 0, so this could never fail; write a larger min:, or a max:"
LEAVE = "leave one of the two out"


def told(expect: str, top: str = "") -> list[str]:
    """What is said of one expectation of a probe."""
    return [said.partition(": ")[2] for said in problems(HEAD.replace("steps:", f"{top}steps:") + probe(expect))]


@pytest.mark.parametrize(
    "expect",
    [
        "elapsed: {min: 0s}", "sent: {min: 0}", "received: {min: 0B}", "throughput: {min: 0bit}",
        "packets: [{at: client, filter: tcp, count: {min: 0}}]", "packets: [{at: client, filter: tcp, apart: {min: 0s}}]",
        "packets: [{at: client, filter: tcp, after: udp, delay: {min: 0ms}}]",
        "icmp: [{at: client, type: echo-request, count: {min: 0}}]", "retransmissions: [{at: client, count: {min: 0}}]",
        "sockets: [{at: client, port: 80, recv_q: {min: 0}}]",
    ],
)  # fmt: skip
def test_a_range_without_an_end_is_told(expect: str) -> None:
    """At least 0 is every number; with a larger beginning, or an end, it says something."""
    assert told(f"{{{expect}}}") == [ALL]
    assert told(f"{{{expect.replace('min: 0', 'min: 1')}}}") == []
    assert told(f"{{{expect.replace('min: 0', 'max: 7')}}}") == []


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("lost: {min: 0}, added: {min: 0}", ["any number lost or added, so this could never fail; write how many of one there may be"]),
        ("lost: {min: 0}", []),
        ("lost: {min: 0}, added: {max: 3}", []),
    ],
)  # fmt: skip
def test_of_lost_and_added_one_may_be_any_number(pair: str, expected: list[str]) -> None:
    """To say of one of the two that it does not matter is no vacuous expectation, as the other can fail."""
    assert told(f"{{same: [{{at: [client, server], filter: tcp, {pair}}}]}}") == expected


@pytest.mark.parametrize("pattern", [".*", "x*", "^", "$", "(?s).*", "^.*$", "[^a]*", ".|^$"])
def test_a_regular_expression_that_is_found_in_every_text_is_told(pattern: str) -> None:
    """What is found in texts that have nothing in common is found in any text."""
    said = told(f"{{stdout: {{matches: '{pattern}'}}}}")
    assert said == [f"/{pattern}/ is found in every text, so this could never fail; write what must be there"]


@pytest.mark.parametrize("pattern", ["ok", "^$", r"\\A\\Z", ".+", r"^\d*$", "[a-z]"])
def test_a_regular_expression_that_some_text_lacks_is_none_of_those(pattern: str) -> None:
    assert told(f"{{stdout: {{matches: '{pattern}'}}}}") == []


@pytest.mark.parametrize(
    ("expect", "expected"),
    [
        ("exit: 0, signal: KILL", [f"what SIGKILL ends has the exit status 137, so this never holds; {LEAVE}"]),
        ("exit: 137, signal: KILL", []),
        ("errno: null, signal: TERM", [f"what SIGTERM ends reports no outcome any more, so this never holds; {LEAVE}"]),
        ("errno: ETIMEDOUT, timed_out: true", [f"a call that the program's own limit ends (timed_out: true) has no errno, so this never holds; {LEAVE}"]),
        ("errno: [ETIMEDOUT, null], timed_out: true", []),
        ("errno: ETIMEDOUT, timed_out: false", []),
        ("errno: null, outcome: {returned: false}", [f"a call that has not returned (returned: false) has neither succeeded nor failed, so this never holds; {LEAVE}"]),
        ("errno: null, outcome: {returned: true}", []),
        ("stdout: {exact: a b, lacks: b}", [f"exact: has what lacks: forbids, so this never holds; {LEAVE}"]),
        ("stderr: {contains: a b, lacks: b}", [f"contains: has what lacks: forbids, so this never holds; {LEAVE}"]),
        ("stdout: {exact: a b, contains: c}", [f"exact: has not what contains: asks for, so this never holds; {LEAVE}"]),
        ("stdout: {exact: a b, contains: b, lacks: c}", []),
        ('stdout: {exact: "a\\n", contains: "a ", lacks: "\\n"}', []),
        ("outcome: {ms: .nan}", ['ms is a number, and ".nan" is not, so this never holds; write a number']),
        ("outcome: {sent: true, received: null}", ["sent is a number, and true is not, so this never holds; write a number", "received is a number, and null is not, so this never holds; write a number"]),
        ("outcome: {returned: 0}", ["returned is true or false, and 0 is not, so this never holds; write true or false"]),
        ("outcome: {op: 5}", ["op is text, and 5 is not, so this never holds; write text"]),
        ("outcome: {op: recv, ms: 1.5, returned: false, values: [1], stopped: SIGTERM}", []),
        ("within: 0s", ["nothing is done in no time, so this never holds"]),
        ("elapsed: {max: 0s}", ["nothing is done in no time, so this never holds"]),
        ("sockets: [{at: client, peer: 81, state: ESTAB, never: ESTAB}]", [f"in state ESTAB and never in it, so this never holds; {LEAVE}"]),
        ("sockets: [{at: client, peer: 81, state: SYN-SENT, never: ESTAB}]", []),
    ],
)  # fmt: skip
def test_two_things_that_cannot_be_so_together_are_told(expect: str, expected: list[str]) -> None:
    assert told(f"{{{expect}}}") == expected


@pytest.mark.parametrize("timeout", ["    timeout: 1s\n", ""], ids=["the step's", "the scenario's"])
@pytest.mark.parametrize(("within", "is_told"), [("5s", True), ("1.1s", True), ("1s", False), ("500ms", False)])
def test_a_program_that_its_timeout_ends_first_is_never_too_late(timeout: str, within: str, is_told: bool) -> None:
    """Of a started program the time before the step counts as well, so there it can be."""
    head = HEAD if timeout else HEAD.replace("steps:", "timeout: 1s\nsteps:")
    said = [
        f"f.yaml:{5 if timeout else 6}:22: within: {within} is longer than the step's timeout: 1s, which ends the program before, "
        "so this could never fail; write a longer timeout: at the step"
    ]
    step = f"    on: client\n    expect: {{within: {within}}}\n{timeout}"
    assert problems(head + "  - run: [probe, ping, server]\n" + step) == (said if is_told else [])
    finish = f"  - {{finish: a, timeout: 1s, expect: {{within: {within}}}}}\n"
    assert problems(head + "  - {start: [probe, ping, server], on: client, as: a}\n" + finish) == []


HIDDEN = "this may be none, and the capture's own filter ({}) may hide what there is; ask here for nothing but what it keeps, or leave it out"


@pytest.mark.parametrize(
    ("kept", "expect", "is_hidden"),
    [
        ("udp", "packets: [{at: client, filter: tcp, count: 0}]", True),
        ("udp", "packets: [{at: client, filter: tcp, count: {max: 3}}]", True),
        ("udp", "packets: [{at: client, filter: tcp, count: 1}]", False),
        ("udp", "packets: [{at: client, filter: tcp}]", False),
        ("tcp", "packets: [{at: client, filter: tcp.flags.reset == 1, count: 0}]", False),
        ("tcp port 80", "packets: [{at: client, filter: tcp.flags.reset == 1, count: 0}]", True),
        ("tcp port 80", "packets: [{at: client, filter: tcp.dstport == 80 && tcp.flags.reset == 1, count: 0}]", False),
        ("port 80", "packets: [{at: client, filter: tcp.port == 80, count: 0}]", False),
        ("tcp dst port 80", "packets: [{at: client, filter: tcp.port == 80, count: 0}]", True),
        ("tcp and src port 80", "packets: [{at: client, filter: (tcp.srcport == 80), count: 0}]", False),
        ("tcp port 80 or icmp", "packets: [{at: client, filter: icmp.type == 3, count: 0}]", False),
        ("tcp port 80 or icmp", "packets: [{at: client, filter: udp, count: 0}]", True),
        ("tcp port 80", "packets: [{at: client, filter: tcp.port == 80 || udp, count: 0}]", True),
        ("tcp port 80", "packets: [{at: client, filter: icmp && tcp.port == 80, count: 0}]", True),
        ("host 10.0.0.1", "packets: [{at: client, filter: tcp, count: 0}]", True),
        ("tcp", "icmp: [{at: client, type: host-unreachable, count: 0}]", True),
        ("icmp", "icmp: [{at: client, type: host-unreachable, count: 0}]", False),
        ("icmp", "icmp: [{at: client, type: address-unreachable, count: 0}]", True),
        ("tcp port 80", "retransmissions: [{at: client, count: 0}]", True),
        ("tcp port 80", "retransmissions: [{at: client, port: 80, count: 0}]", False),
        ("udp", "same: [{at: [client, server], filter: udp, lost: 0}]", False),
    ],
)  # fmt: skip
def test_what_a_capture_filter_may_hide_cannot_be_asked_to_be_none(kept: str, expect: str, is_hidden: bool) -> None:
    """That nothing was captured proves nothing where the capture kept nothing of the kind; what it keeps may be counted."""
    said = told(f"{{{expect}}}", f"capture: {{filter: '{kept}'}}\n")
    assert said == ([HIDDEN.format(kept)] if is_hidden else [])
    assert told(f"{{{expect}}}") == []
