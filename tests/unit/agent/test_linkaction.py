"""Link faults that come, change and go, with ports that remember what they were told."""

from __future__ import annotations

from typing import Any

import pytest

from labctl.agent.action import Proof
from labctl.agent.command import Ran
from labctl.agent.journal import Journal
from labctl.agent.link import LinkAction, Links
from labctl.agent.linkclass import LinkClass, LinkFault, Match, classes
from labctl.agent.linkport import Effect, LinkRefused, Where
from labctl.agent.linkqueue import rules
from labctl.agent.linkspec import Spec

EGRESS = Where("lo", "egress")


class FakePort:
    backend = "nfqueue"

    def __init__(self) -> None:
        self.told: list[tuple[LinkClass, ...]] = []
        self.staged: list[tuple[LinkClass, ...]] = []
        self.refuse = False
        self.closed = False
        self.now: dict[str, Effect] = {}

    def stage(self, classes: tuple[LinkClass, ...]) -> None:
        self.staged.append(classes)
        self._may_refuse()

    def set(self, classes: tuple[LinkClass, ...]) -> list[Ran]:
        self.told.append(classes)
        self._may_refuse()
        return [Ran(("set",), 0, "", "", 1.0)]

    def _may_refuse(self) -> None:
        if self.refuse:
            self.refuse = False
            raise LinkRefused("no")

    def effects(self) -> dict[str, Effect]:
        return self.now

    def close(self, drain_s: float) -> list[Ran]:
        self.closed = drain_s > 0
        return [Ran(("close",), 0, "", "", 1.0)]


@pytest.fixture
def port() -> FakePort:
    return FakePort()


@pytest.fixture
def links(port: FakePort) -> Links:
    made = Links(probe=lambda: "none")
    made._ports[EGRESS] = port
    return made


def action(links: Links, name: str, ramp: dict[str, Any] | None = None, **spec: Any) -> LinkAction:
    part = {"device": "lo", "direction": "egress", "spec": spec, "target": []}
    request = {"type": "link", "name": name, "parts": [part], "seed": 1}
    return LinkAction(links, {**request, "ramp": ramp} if ramp else request)


def specs(port: FakePort) -> list[Spec]:
    return [c.spec for c in port.told[-1]]


def test_faults_on_one_interface_are_merged_and_leave_one_by_one(links: Links, port: FakePort) -> None:
    journal = Journal()
    journal.apply("slow", action(links, "slow", delay_s=0.1))
    journal.apply("lossy", action(links, "lossy", loss=5))
    assert specs(port) == [Spec(delay_s=0.1, loss=5)]
    journal.undo("slow")
    assert specs(port) == [Spec(loss=5)]
    assert not port.closed
    journal.undo("lossy")
    assert port.closed


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakePort]:
    """The ports that were made of the nfqueue backend, in turn."""
    ports: list[FakePort] = []

    def make(*_: Any) -> FakePort:
        ports.append(FakePort())
        return ports[-1]

    monkeypatch.setattr("labctl.agent.link.QueuePort", make)
    return ports


def test_what_a_fault_made_ready_is_used_by_it_and_goes_with_it(made: list[FakePort]) -> None:
    """One that is taken back before its time leaves nothing either."""
    journal, links = Journal(), Links(probe=lambda: "none")
    slow = action(links, "slow", delay_s=0.1)
    journal.stage("slow", slow)
    assert [c.spec for c in made[0].staged[0]] == [Spec(delay_s=0.1)]
    assert made[0].told == []
    journal.apply("slow", slow)
    assert (len(made), specs(made[0])) == (1, [Spec(delay_s=0.1)])
    journal.undo("slow")
    assert made[0].closed
    journal.stage("later", action(links, "later", delay_s=0.1))
    journal.undo("later")
    assert (len(made), made[1].told, made[1].closed) == (2, [], True)


def test_what_is_ready_for_one_fault_serves_another_of_its_seed(made: list[FakePort]) -> None:
    """Whichever comes first; when that goes, the one that made it ready makes its own anew."""
    links = Links(probe=lambda: "none")
    slow, lossy = action(links, "slow", delay_s=0.1), action(links, "lossy", loss=5)
    slow.stage()
    lossy.stage()
    lossy.do()
    assert (len(made), specs(made[0])) == (1, [Spec(loss=5)])
    lossy.undo()
    assert made[0].closed
    slow.do()
    assert (len(made), specs(made[1])) == (2, [Spec(delay_s=0.1)])


def test_what_is_ready_with_one_seed_is_of_no_use_to_another(made: list[FakePort]) -> None:
    """A backend's chances are those of its seed."""
    links = Links(probe=lambda: "none")
    action(links, "slow", delay_s=0.1).stage()
    part = {"device": "lo", "direction": "egress", "spec": {"loss": 5}, "target": []}
    LinkAction(links, {"type": "link", "name": "lossy", "parts": [part], "seed": 2}).do()
    assert [(port.told == [], port.closed) for port in made] == [(True, True), (False, False)]


def test_what_cannot_be_made_ready_is_told_when_it_is_due(made: list[FakePort], monkeypatch: pytest.MonkeyPatch) -> None:
    """If it is impossible still: an interface may be back by then."""

    def refuse(_: FakePort) -> None:
        raise LinkRefused("no")

    monkeypatch.setattr(FakePort, "_may_refuse", refuse)
    slow = action(Links(probe=lambda: "none"), "slow", delay_s=0.1)
    slow.stage()
    assert made[0].closed
    with pytest.raises(LinkRefused, match="no"):
        slow.do()


def test_a_fault_that_contradicts_another_is_refused_and_nothing_changes(links: Links, port: FakePort) -> None:
    journal = Journal()
    journal.apply("narrow", action(links, "narrow", rate_bps=1000))
    with pytest.raises(LinkRefused, match="narrow and narrower: two rates"):
        journal.apply("narrower", action(links, "narrower", rate_bps=500))
    assert len(port.told) == 1
    assert journal.names() == ["narrow"]


def test_a_port_that_refuses_is_brought_back_to_what_it_was(links: Links, port: FakePort) -> None:
    journal = Journal()
    journal.apply("slow", action(links, "slow", delay_s=0.1))
    port.refuse = True
    with pytest.raises(LinkRefused):
        journal.apply("lossy", action(links, "lossy", loss=5))
    assert specs(port) == [Spec(delay_s=0.1)]


def test_a_ramp_moves_in_a_straight_line_while_the_others_stay(links: Links, port: FakePort) -> None:
    ramp = {"over_s": 5.0, "spec": {"rate_bps": 100_000, "loss": 10.0}}
    moving = action(links, "moving", ramp, rate_bps=1_000_000)
    other = action(links, "slow", delay_s=0.1)
    other.do()
    moving.do()
    assert moving.ramp_s == 5.0
    assert specs(port) == [Spec(delay_s=0.1, rate_bps=1_000_000)]
    moving.progress(0.5)
    assert specs(port) == [Spec(delay_s=0.1, rate_bps=550_000, loss=5.0)]
    moving.progress(1.0)
    assert specs(port) == [Spec(delay_s=0.1, rate_bps=100_000, loss=10.0)]


def test_each_fault_counts_what_happened_while_it_was_there(links: Links, port: FakePort) -> None:
    slow, lossy = action(links, "slow", delay_s=0.1), action(links, "lossy", loss=5)
    slow.do()
    port.now = {"all": Effect(seen=10, delayed=10)}
    lossy.do()
    port.now = {"all": Effect(seen=30, delayed=28, lost=2)}
    assert (slow.count(), lossy.count()) == (30, 2)
    slow.undo()
    port.now = {"all": Effect(seen=40, delayed=28, lost=5)}
    assert lossy.count() == 5
    assert links.effect(lossy)[EGRESS].seen == 30


@pytest.mark.parametrize(
    ("ramp", "spec"), [({"loss": 100.0}, {}), ({"loss": 50.0}, {"delay_s": 0.0}), ({"loss": 0.0}, {"loss": 5.0})]
)
def test_a_ramp_counts_what_it_does_anywhere_on_its_way(
    links: Links, port: FakePort, ramp: dict[str, float], spec: dict[str, float]
) -> None:
    moving = action(links, "moving", {"over_s": 1.0, "spec": ramp}, **spec)
    moving.do()
    port.now = {"all": Effect(seen=10, lost=3)}
    assert moving.count() == 3


@pytest.mark.parametrize(
    ("spec", "did"),
    [
        ({"loss": 5}, {"lost": 2}), ({"delay_s": 0.1}, {"delayed": 25}), ({"duplicate": 1}, {"duplicated": 3}),
        ({"corrupt": 1, "loss_gemodel": {"p": 1}}, {"lost": 2, "corrupted": 4}), ({"reorder": 5}, {}), ({"loss": 0}, {}),
    ],
)  # fmt: skip
def test_what_a_fault_did_is_told_when_it_goes(links: Links, port: FakePort, spec: dict[str, Any], did: dict[str, int]) -> None:
    """Of what it asks for; not what others did to the same packets, nor what nobody counted. Dropped ones are told anyway."""
    journal = Journal()
    journal.apply("line", action(links, "line", **spec))
    port.now = {"all": Effect(seen=30, delayed=25, lost=2, duplicated=3, corrupted=4)}
    assert LinkAction.proof(journal._applied["line"]).effect == {"seen": 30, **did}  # type: ignore[arg-type]
    port.now = {"all": Effect(seen=40, delayed=25, lost=2, duplicated=3, corrupted=4, over_limit=5, unsent=1)}
    _, proof = journal.undo("line")
    assert proof.effect == {"seen": 40, **did, "over_limit": 5, "unsent": 1}


def test_what_a_fault_did_at_its_places_is_one_sum(port: FakePort) -> None:
    """A line may be bad both ways."""
    links, back = Links(probe=lambda: "none"), FakePort()
    links._ports = {EGRESS: port, Where("lo", "ingress"): back}
    parts = [{"device": "lo", "direction": d, "spec": {"loss": 5}, "target": []} for d in ("egress", "ingress")]
    both = LinkAction(links, {"type": "link", "name": "both", "parts": parts, "seed": 1})
    both.do()
    port.now, back.now = {"all": Effect(seen=10, lost=1)}, {"all": Effect(seen=20, lost=2)}
    assert both.proof() == Proof(3, {"seen": 30, "lost": 3})


def test_backends_are_not_mixed_on_one_interface(links: Links) -> None:
    action(links, "slow", delay_s=0.1).do()
    part = {"device": "lo", "direction": "egress", "spec": {"loss": 5}}
    with pytest.raises(LinkRefused, match="by nfqueue; it cannot have another by netem"):
        LinkAction(links, {"type": "link", "name": "x", "backend": "netem", "parts": [part]}).do()


@pytest.mark.parametrize(("support", "backend"), [("none", "nfqueue"), ("plain", "netem"), ("seed", "netem")])
def test_the_backend_follows_the_kernel_unless_it_is_forced(support: Any, backend: str) -> None:
    links = Links(probe=lambda: support)
    assert links.backend("auto") == backend
    assert links.backend("nfqueue") == "nfqueue"


def test_an_interface_that_is_not_there_is_named(links: Links) -> None:
    part = {"device": "nowhere0", "direction": "egress", "spec": {"loss": 5}}
    with pytest.raises(LinkRefused, match="no interface nowhere0"):
        LinkAction(links, {"type": "link", "name": "x", "parts": [part]}).do()


def test_a_request_with_a_field_that_does_not_exist_is_refused_when_it_is_made(links: Links) -> None:
    with pytest.raises(TypeError):
        action(links, "x", dely_s=1)


def test_the_rules_lead_the_most_specific_class_first() -> None:
    target = (Match(4, destination="10.0.0.1", protocol="tcp", dport="80"), Match(6, protocol="tcp"))
    divided = classes([LinkFault("a", Spec(loss=5), target), LinkFault("b", Spec(delay_s=1))])
    queues = {c.key: n for n, c in enumerate(divided)}
    assert [" ".join(r) for r in rules(EGRESS, 4, divided, queues, marked=False)] == [
        "-A LABCTL-E-lo -m conntrack --ctstate RELATED ! --ctstatus CONFIRMED -j RETURN",  # a queue would drop it
        "-A LABCTL-E-lo -d 10.0.0.1 -p tcp --dport 80 -j NFQUEUE --queue-num 0 --queue-bypass",
        "-A LABCTL-E-lo -j NFQUEUE --queue-num 1 --queue-bypass",
    ]
    assert [" ".join(r) for r in rules(Where("lo", "ingress"), 6, divided, queues, marked=True)] == [
        "-A LABCTL-I-lo -m mark --mark 0x1ab00000 -j RETURN",
        "-A LABCTL-I-lo -p tcp -j NFQUEUE --queue-num 0 --queue-bypass",
        "-A LABCTL-I-lo -j NFQUEUE --queue-num 1 --queue-bypass",
    ]


@pytest.mark.parametrize(
    ("spec", "effect", "touched"),
    [
        (Spec(delay_s=1), Effect(seen=5, delayed=5), 5),
        (Spec(loss=5), Effect(seen=100, lost=4), 4),
        (Spec(loss=5, duplicate=1), Effect(seen=100, lost=4, duplicated=2), 6),
        (Spec(corrupt=5), Effect(seen=100), 100),  # netem does not count corruption
        (Spec(loss=5), Effect(seen=100), 0),
    ],
)
def test_what_a_fault_touched(spec: Spec, effect: Effect, touched: int) -> None:
    assert effect.touched(spec) == touched
