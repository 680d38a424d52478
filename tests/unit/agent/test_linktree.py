"""The tc commands of a tree: made, changed and taken away, exactly."""

from __future__ import annotations

from labctl.agent.linkclass import LinkFault, Match, classes
from labctl.agent.linkspec import Spec
from labctl.agent.linktree import Tree, commands, ingress, removals, teardown, tree
from labctl.agent.readback import differences

FREE = "rate 100gbit ceil 100gbit burst 10mb cburst 10mb quantum 60000"
PEER = (Match(4, destination="198.18.0.3"),)


def planted(*faults: LinkFault, device: str = "eth0") -> Tree:
    divided = classes(faults)
    return tree(device, divided, {c.key: len(divided) - 1 - i for i, c in enumerate(divided)})


def words(found: list[tuple[str, ...]]) -> list[str]:
    return [" ".join(argv) for argv in found]


def test_one_fault_for_everything() -> None:
    assert words(commands(None, planted(LinkFault("slow", Spec(delay_s=0.1))))) == [
        "tc qdisc add dev eth0 root handle 1ab: htb default 10",
        f"tc class add dev eth0 parent 1ab: classid 1ab:1 htb {FREE}",
        f"tc class add dev eth0 parent 1ab:1 classid 1ab:10 htb {FREE}",
        "tc qdisc add dev eth0 parent 1ab:10 handle 1b0: netem limit 1000 delay 100ms",
    ]


def test_another_fault_changes_the_netem_and_touches_nothing_else() -> None:
    before = planted(LinkFault("slow", Spec(delay_s=0.1)))
    after = planted(LinkFault("slow", Spec(delay_s=0.1)), LinkFault("lossy", Spec(loss=5)))
    assert words(commands(before, after)) == [
        "tc qdisc change dev eth0 parent 1ab:10 handle 1b0: netem limit 1000 delay 100ms loss random 5%"
    ]
    assert words(commands(after, before)) == [
        "tc qdisc change dev eth0 parent 1ab:10 handle 1b0: netem limit 1000 delay 100ms"
    ]


def test_a_target_gets_a_class_a_netem_and_filters_and_the_rest_stays() -> None:
    slow = LinkFault("slow", Spec(delay_s=0.1))
    before, after = planted(slow), planted(slow, LinkFault("lossy", Spec(loss=5), PEER))
    assert words(commands(before, after)) == [
        f"tc class add dev eth0 parent 1ab:1 classid 1ab:11 htb {FREE}",
        "tc qdisc add dev eth0 parent 1ab:11 handle 1b1: netem limit 1000 delay 100ms loss random 5%",
        "tc filter add dev eth0 parent 1ab: protocol ip prio 802 u32 match ip dst 198.18.0.3/32 flowid 1ab:11",
    ]
    assert words(commands(after, before)) == ["tc filter del dev eth0 parent 1ab: protocol ip prio 802"]
    assert words(removals("eth0", [leaf for leaf in after.leaves if leaf.number])) == [
        "tc class del dev eth0 classid 1ab:11"
    ]


def test_only_a_target_leaves_the_rest_without_a_netem() -> None:
    found = words(commands(None, planted(LinkFault("lossy", Spec(loss=5), PEER))))
    assert [line for line in found if "netem" in line] == [
        "tc qdisc add dev eth0 parent 1ab:11 handle 1b1: netem limit 1000 loss random 5%"
    ]


def test_a_rate_is_netems_own_when_nobody_shares_it() -> None:
    found = words(commands(None, planted(LinkFault("narrow", Spec(rate_bps=10**6)))))
    assert found[-1] == "tc qdisc add dev eth0 parent 1ab:10 handle 1b0: netem limit 1000 rate 1mbit"


def test_a_rate_with_a_burst_is_htbs() -> None:
    found = words(commands(None, planted(LinkFault("narrow", Spec(rate_bps=10**6, burst_bytes=32768, delay_s=0.01)))))
    assert found[1] == (
        "tc class add dev eth0 parent 1ab: classid 1ab:1 htb rate 1mbit ceil 1mbit burst 32768b cburst 32768b quantum 2000"
    )
    assert found[-1] == "tc qdisc add dev eth0 parent 1ab:10 handle 1b0: netem limit 1000 delay 10ms"


def test_a_rate_moves_to_the_wire_when_a_target_comes_to_share_it() -> None:
    narrow = LinkFault("narrow", Spec(rate_bps=10**6))
    found = words(commands(planted(narrow), planted(narrow, LinkFault("lossy", Spec(loss=5), PEER))))
    shaped = "ceil 1mbit burst 2000b cburst 2000b quantum 2000"
    assert found == [
        f"tc class change dev eth0 parent 1ab: classid 1ab:1 htb rate 1mbit {shaped}",
        f"tc class add dev eth0 parent 1ab:1 classid 1ab:11 htb rate 10kbit {shaped}",
        "tc qdisc add dev eth0 parent 1ab:11 handle 1b1: netem limit 1000 loss random 5%",
        "tc filter add dev eth0 parent 1ab: protocol ip prio 802 u32 match ip dst 198.18.0.3/32 flowid 1ab:11",
        f"tc class change dev eth0 parent 1ab:1 classid 1ab:10 htb rate 10kbit {shaped}",
        "tc qdisc change dev eth0 parent 1ab:10 handle 1b0: netem limit 1000 rate 0bit",
    ]


def test_what_arrives_goes_through_an_ifb_and_the_undo_is_exact() -> None:
    make, divert, undo = ingress("eth0", "lci7")
    assert words([*make, *divert]) == [
        "ip link add lci7 type ifb",
        "ip link set lci7 up",
        "tc qdisc add dev eth0 handle ffff: ingress",
        "tc filter add dev eth0 parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev lci7",
    ]
    assert words([*undo, *teardown("eth0")]) == ["tc qdisc del dev eth0 ingress", "tc qdisc del dev eth0 root handle 1ab:"]


# `tc -j qdisc show` of iproute2 6.15 (tc/q_netem.c, netem_print_opt) for
# netem delay 100ms 10ms 25% loss 5% 20% duplicate 1% corrupt 2% reorder 3% rate 1mbit 14
SHOWN = {
    "limit": 1000,
    "delay": {"delay": 0.1, "jitter": 0.01, "correlation": 0.25},
    "loss-random": {"loss": 0.05, "correlation": 0.2},
    "duplicate": {"duplicate": 0.01, "correlation": 0},
    "reorder": {"reorder": 0.03, "correlation": 0},
    "corrupt": {"corrupt": 0.02, "correlation": 0},
    "rate": {"rate": 125000, "packetoverhead": 14, "cellsize": 0, "celloverhead": 0},
    "ecn": False,
    "gap": 1,
}
ASKED = Spec(
    delay_s=0.1, jitter_s=0.01, delay_correlation=25, loss=5, loss_correlation=20, duplicate=1, corrupt=2, reorder=3,
    rate_bps=10**6, overhead_bytes=14,
)  # fmt: skip


def test_what_the_kernel_holds_is_compared_with_what_was_asked() -> None:
    assert differences(ASKED, SHOWN) == []
    assert differences(Spec(delay_s=0.2), {"limit": 1000, "delay": {"delay": 0.1, "jitter": 0.0}, "gap": 0}) == [
        "delay was asked as 0.2 and the kernel holds 0.1"
    ]
    assert differences(Spec(loss=1, seed=7), {"limit": 1000, "loss-random": {"loss": 0.01, "correlation": 0}}) == [
        "seed was asked as 7 and the kernel holds -1"
    ]
