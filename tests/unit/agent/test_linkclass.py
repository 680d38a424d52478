"""How faults with different targets divide one link."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.agent.linkclass import ALL, LinkFault, Match, classes, masks
from labctl.agent.linkspec import Contradiction, Spec

PEER = (Match(4, destination="198.18.0.3"),)
WEB = (Match(4, protocol="tcp", dport="80"),)
OTHER = (Match(4, destination="198.18.0.4"),)


def test_faults_for_everything_make_one_class() -> None:
    found = classes([LinkFault("a", Spec(delay_s=0.1)), LinkFault("b", Spec(loss=5))])
    assert [(c.key, c.spec, c.faults) for c in found] == [(ALL, Spec(delay_s=0.1, loss=5), ("a", "b"))]


def test_a_target_gets_its_own_faults_and_those_for_everything() -> None:
    found = classes([LinkFault("slow", Spec(delay_s=0.1)), LinkFault("lossy", Spec(loss=5), PEER)])
    assert [(c.target, c.spec) for c in found] == [(PEER, Spec(delay_s=0.1, loss=5)), ((), Spec(delay_s=0.1))]


def test_overlapping_targets_act_together_on_what_they_share() -> None:
    found = classes([LinkFault("a", Spec(delay_s=0.1), PEER), LinkFault("b", Spec(loss=5), WEB)])
    both = Match(4, destination="198.18.0.3", protocol="tcp", dport="80")
    assert [(c.target, c.faults, c.depth) for c in found] == [
        ((both,), ("a", "b"), 2), (PEER, ("a",), 1), (WEB, ("b",), 1), ((), (), 0),
    ]  # fmt: skip


def test_disjoint_targets_share_nothing() -> None:
    found = classes([LinkFault("a", Spec(rate_bps=1000), PEER), LinkFault("b", Spec(rate_bps=2000), OTHER)])
    assert [c.faults for c in found] == [("a",), ("b",), ()]


def test_a_rate_for_everything_is_shared_by_the_classes() -> None:
    found = classes([LinkFault("narrow", Spec(rate_bps=1000)), LinkFault("b", Spec(loss=5), PEER)])
    assert [c.shares_rate for c in found] == [True, True]


def test_two_rates_that_meet_are_refused_with_the_names_of_the_faults() -> None:
    with pytest.raises(Contradiction, match="narrow and narrower: two rates"):
        classes([LinkFault("narrow", Spec(rate_bps=1000)), LinkFault("narrower", Spec(rate_bps=500), PEER)])


def test_a_targets_rate_is_not_split_again() -> None:
    with pytest.raises(Contradiction, match="part of the traffic"):
        classes([LinkFault("a", Spec(rate_bps=1000), PEER), LinkFault("b", Spec(loss=5), WEB)])


def test_too_many_targets_are_refused() -> None:
    faults = [LinkFault(f"f{n}", Spec(loss=1), (Match(4, destination=f"10.0.0.{n}"),)) for n in range(5)]
    with pytest.raises(Contradiction, match="at most 4"):
        classes(faults)


@pytest.mark.parametrize(
    ("match", "iptables", "u32"),
    [
        (Match(4, source="10.0.0.1"), "-s 10.0.0.1", ["match ip src 10.0.0.1/32"]),
        (
            Match(4, destination="10.0.0.1", protocol="tcp", dport="80"),
            "-d 10.0.0.1 -p tcp --dport 80",
            ["match ip dst 10.0.0.1/32 match ip protocol 6 0xff match ip dport 80 0xffff"],
        ),
        (
            Match(6, destination="fd00::1", protocol="udp", sport="53"),
            "-d fd00::1 -p udp --sport 53",
            ["match ip6 dst fd00::1/128 match ip6 protocol 17 0xff match ip6 sport 53 0xffff"],
        ),
        (
            Match(4, protocol="tcp", dport="8000:8010"),
            "-p tcp --dport 8000:8010",
            [
                "match ip protocol 6 0xff match ip dport 8000 0xfff8",
                "match ip protocol 6 0xff match ip dport 8008 0xfffe",
                "match ip protocol 6 0xff match ip dport 8010 0xffff",
            ],
        ),
        (Match(4, protocol="icmp"), "-p icmp", ["match ip protocol 1 0xff"]),
        (Match(6), "", ["match u32 0 0"]),
    ],
)
def test_a_match_in_both_languages(match: Match, iptables: str, u32: list[str]) -> None:
    assert " ".join(match.iptables()) == iptables
    assert [" ".join(args) for args in match.u32()] == u32


def test_port_ranges_that_overlap_share_the_overlap() -> None:
    a, b = Match(4, protocol="tcp", dport="80:90"), Match(4, protocol="tcp", dport="85:100")
    assert a.both(b) == Match(4, protocol="tcp", dport="85:90")
    assert a.both(Match(4, protocol="tcp", dport="91")) is None
    assert a.both(Match(6, protocol="tcp")) is None


@given(st.integers(1, 65535), st.integers(0, 300))
def test_masks_cover_a_range_exactly(low: int, more: int) -> None:
    high = min(65535, low + more)
    covered = [port for value, mask in masks(f"{low}:{high}") for port in range(value, value + 0x10000 - mask)]
    assert covered == list(range(low, high + 1))
    assert all(value & mask == value for value, mask in masks(f"{low}:{high}"))
