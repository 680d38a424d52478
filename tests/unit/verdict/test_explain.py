"""Why: right or silent. What the packets do not say is not said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_up import SERVER, evidence, fault, packet, socket

from labctl.evidence.record import Evidence, Sample
from labctl.verdict.explain import explain

SYNS = [packet(1, 1.5), packet(2, 2.5, retransmission=True)]
RESET = packet(3, 2.6, back=True, flags=0x14)
NO_PORT = packet(4, 2.7, back=True, flags=None, sport=None, dport=None, icmp=(3, 3))
ON_80 = ["-p", "tcp", "--dport", "80"]
ON_90 = ["-p", "tcp", "--dport", "90"]
LISTENS = {"server": [Sample(0.5, (socket("LISTEN"),))]}
NOBODY = {"server": [Sample(0.5, ())]}


def why(run: Evidence) -> str | None:
    return explain(run, 1, run.programs["1"])


def of(errno: str, packets: list[Any], **more: Any) -> str | None:
    """Why, from the client's capture alone."""
    run = evidence({"client": packets}, outcome={"errno": errno}, **more)
    run.captures.pop("server")
    return why(run)


def test_silence_is_told_as_silence() -> None:
    """SYNs and nothing else, and ETIMEDOUT: the kernel gave up; the drop that touched them is named."""
    said = "2 SYNs to server port 80 (#1, #2), no answer, no reset, no ICMP: the kernel gave up after 1.5 s"
    assert of("ETIMEDOUT", SYNS) == f"{said}."
    assert (
        of("ETIMEDOUT", SYNS, faults=[fault("wall", "drop", ON_80, 2)])
        == f"{said}; the fault wall on server dropped 2 packets."
    )


def test_a_drop_of_the_answers_is_the_cause_too() -> None:
    """A rule about what comes back from the port explains the silence as well as one about the SYN."""
    assert "the fault wall" in str(
        of("ETIMEDOUT", SYNS, faults=[fault("wall", "drop", ["-p", "tcp", "--sport", "80"])])
    )


@pytest.mark.parametrize(
    "faults",
    [
        [fault("other", "drop", ON_90)],
        [fault("udp", "drop", ["-p", "udp"])],
        [fault("elsewhere", "drop", ["-d", "198.18.0.99/32", *ON_80])],
        [fault("idle", "drop", ON_80, 0)],
        [fault("uncounted", "drop", ON_80, None)],
        [fault("before", "drop", ON_80, 5, (0.1, 0.9))],
        [fault("after", "drop", ON_80, 5, (10.5, 11.0))],
        [fault("one", "drop", ON_80), fault("two", "drop", ["-d", SERVER])],
        [fault("answers", "reject", ON_80)],
    ],
)  # fmt: skip
def test_a_drop_that_may_not_be_the_cause_is_not_named(faults: list[Any]) -> None:
    """A fault on other packets, at another time, that touched nothing, or one of several: no cause is named."""
    said = of("ETIMEDOUT", SYNS, faults=faults)
    assert said is not None
    assert "fault" not in said


def test_a_reset_where_nothing_listens() -> None:
    """A reset from a port on which nothing listened, by the host's own samples, is told so."""
    said = of("ECONNREFUSED", [*SYNS, RESET], samples=NOBODY)
    assert (
        said
        == "2 SYNs to server port 80 (#1, #2); server answered with a reset (#3): nothing listens on port 80 there."
    )


@pytest.mark.parametrize("samples", [LISTENS, {}])
def test_a_reset_that_nobody_can_explain_has_no_cause(samples: Any) -> None:
    """A reset from a port on which something listened, or of which nothing is known: the reset is told, and no cause."""
    assert (
        of("ECONNREFUSED", [*SYNS, RESET], samples=samples)
        == "2 SYNs to server port 80 (#1, #2); server answered with a reset (#3)."
    )


def test_a_reset_by_a_fault_names_it() -> None:
    """A reject on this port that touched packets is what answered."""
    said = of("ECONNREFUSED", [*SYNS, RESET], samples=LISTENS, faults=[fault("shut", "reject", ON_80)])
    assert said is not None
    assert said.endswith("answered with a reset (#3): the fault shut on server rejected 1 packet.")


def test_a_reset_by_a_fault_on_the_way_is_not_the_peers() -> None:
    """A reject at a router answers in the peer's name, and that is said."""
    on_the_way = replace(fault("shut", "reject", ON_80), host="router")
    passing = {"client": [*SYNS, RESET], "router": SYNS}
    run = evidence(passing, outcome={"errno": "ECONNREFUSED"}, faults=[on_the_way])
    run.captures.pop("server")
    run.captures["router"] = replace(run.captures["client"], host="router")
    run.packets["router"] = list(SYNS)
    said = why(run)
    assert said is not None
    assert said.endswith("a reset came in server's name (#3): the fault shut on router rejected 1 packet.")


def test_a_reject_on_another_port_is_not_blamed() -> None:
    """A reject that touched packets of another port while nothing listened on this one: nothing listens is the reason."""
    said = of("ECONNREFUSED", [*SYNS, RESET], samples=NOBODY, faults=[fault("shut", "reject", ON_90)])
    assert said is not None
    assert said.endswith("nothing listens on port 80 there.")


def test_two_rejects_that_may_both_be_it_are_not_told_apart() -> None:
    """With two faults that could have answered nobody is blamed, and nothing else is claimed."""
    faults = [fault("a", "reject", ON_80), fault("b", "reject", ["-p", "tcp"])]
    said = of("ECONNREFUSED", [*SYNS, RESET], samples=NOBODY, faults=faults)
    assert said == "2 SYNs to server port 80 (#1, #2); server answered with a reset (#3)."


def test_an_icmp_error_is_an_answer_when_the_errno_follows_from_it() -> None:
    """Port unreachable explains ECONNREFUSED; it does not explain EHOSTUNREACH, and then nothing is said."""
    assert of("ECONNREFUSED", [*SYNS, NO_PORT]) == (
        "2 SYNs to server port 80 (#1, #2); server answered ICMP port unreachable (#4)."
    )
    assert of("EHOSTUNREACH", [*SYNS, NO_PORT]) is None
    assert of("ETIMEDOUT", [*SYNS, NO_PORT]) is None


def test_an_icmp_error_from_before_is_no_answer() -> None:
    """What came before the first SYN answers something else."""
    early = packet(9, 1.2, back=True, flags=None, sport=None, dport=None, icmp=(3, 3))
    assert of("ECONNREFUSED", [early, *SYNS]) is None


def test_what_is_not_known_is_not_explained() -> None:
    """No outcome, no SYN, an incomplete or missing capture, an answer beside ETIMEDOUT, another call: nothing is said."""
    answered = [*SYNS, packet(3, 2.6, back=True, flags=0x12)]
    assert of("ETIMEDOUT", answered) is None
    assert of("ETIMEDOUT", []) is None
    run = evidence({"client": SYNS}, outcome={"errno": "ETIMEDOUT"})
    run.captures.pop("client")
    assert why(run) is None
    assert why(evidence({"client": SYNS}, outcome={"errno": "ETIMEDOUT", "op": "recv"})) is None
    assert why(evidence({"client": SYNS})) is None
