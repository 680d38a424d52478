# ruff: noqa: E501  messages stand here as they are shown, on one line
"""What only the lab or another step can show is found before the run, at its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from bad_scenarios import HEAD, RUN
from test_scenario_loader import GOOD

from labctl.lab import Lab, from_compose
from labctl.scenario.check import check
from labctl.scenario.loader import from_source
from labctl.scenario.yamltext import Source

PROGRAMS = {"labels": {"labctl.programs": "/opt/labctl/programs"}}
LAB: Lab = from_compose(
    {
        "services": {
            "server": {**PROGRAMS, "networks": ["near"]},
            "client": {**PROGRAMS, "networks": ["far"]},
            "db": {"networks": ["near"]},
            "router": {"labels": {"labctl.role": "router"}, "networks": ["near", "far"]},
        }
    },
    Path("compose.yml"),
)
HAS = "it has server, client, db and router"
HAS_ALSO = "It has server, client, db and router"


def problems(text: str) -> list[str]:
    return [str(problem) for problem in check(from_source(Source("f.yaml", text)), LAB)]


def probe(expect: str, more: str = "") -> str:
    return f"  - run: [probe, connect, server, 80]\n    on: client\n    expect: {expect}\n{more}"


def test_a_good_scenario_has_no_problem() -> None:
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (
            "  - {start: app-server, on: sever}\n",
            [f"6:29: the lab has no host 'sever'; did you mean server? {HAS_ALSO}"],
        ),
        ("  - {until: {listen: 80}, on: moon}\n", [f"6:31: the lab has no host 'moon'; {HAS}"]),
        ("  - {start: app-server, on: moon}\n", [f"6:29: the lab has no host 'moon'; {HAS}"]),
        (
            "  - {start: app-sever, on: server}\n",
            ["6:13: there is no bundled program 'app-sever'; did you mean app-server?"],
        ),
        ("  - {start: app-sever, on: db}\n", []),
        (
            "  - {start: app-server, on: server}\n  - {start: app-server, on: client}\n",
            ["7:13: app-server has been running since line 6; stop it first, or name this one with as:"],
        ),
        (
            "  - {start: app-server, on: server}\n  - {start: echo-server, on: client, as: app-server}\n",
            ["7:42: app-server has been running since line 6; stop it first, or name this one with as:"],
        ),
        (
            "  - {start: app-server, on: server}\n  - stop: app-server\n  - {start: app-server, on: server}\n",
            [],
        ),
        (
            "  - {start: app-server, on: server}\n  - stop: app-sever\n",
            [
                "7:11: no program 'app-sever' runs at this point; did you mean app-server? Running here: app-server"
            ],
        ),
        (
            "  - stop: app-server\n",
            ["6:11: no program 'app-server' runs at this point; nothing runs here; start it first"],
        ),
        (
            "  - {start: echo-server, on: server}\n  - stop: echo-server\n  - {finish: echo-server, expect: {errno: null}}\n",
            ["8:14: echo-server has ended already, in line 7; remove this step, or start it again"],
        ),
        (
            "  - {fault: wall, at: [router, routr, router], drop: {to: servr, from: [db, x]}}\n",
            [
                f"6:32: the lab has no host 'routr'; did you mean router? {HAS_ALSO}",
                "6:39: router stands here twice; one fault is put once at each host",
                f"6:59: the lab has no host 'servr'; did you mean server? {HAS_ALSO}",
                f"6:77: the lab has no host 'x'; {HAS}",
            ],
        ),
        (
            "  - {fault: wall, at: router, drop: {}}\n  - {fault: wall, at: db, drop: {}}\n",
            ["7:13: a fault wall is in place since line 6; heal it first, or choose another name"],
        ),
        (
            "  - {fault: wall, at: router, drop: {}}\n  - heal: wall\n  - {fault: wall, at: db, drop: {}}\n",
            [],
        ),
        (
            "  - fault: wall\n    at: router\n    drop: {protocol: icmpv6}\n",
            [
                "8:5: protocol icmpv6 needs IPv6, and this lab has only IPv4; write protocol: icmp, or give its networks enable_ipv6: true"
            ],
        ),
        (
            "  - {fault: all, at: router, drop: {}}\n",
            ["6:13: no fault can be called all: heal: all removes every fault; choose another name"],
        ),
        (
            "  - {fault: wall, at: router, drop: {}}\n  - heal: [wal, wall, wall, all]\n",
            [
                "7:12: no fault 'wal' is in place at this point; did you mean wall? In place here: wall",
                "7:23: wall stands here twice; name each fault once",
                "7:29: all stands alone: write heal: all, or the names",
            ],
        ),
        (
            "  - {start: '', on: server, as: none}\n  - {run: ['', x], on: db, expect: {exit: 0}}\n",
            [
                "6:6: no program is called ''; write one, like [probe, connect, server, 65432]",
                "7:12: no program is called ''; write one, like [probe, connect, server, 65432]",
            ],
        ),
        ("  - heal: all\n", ["6:11: no fault is in place here, so there is nothing to heal"]),
        ("  - heal: wall\n", ["6:11: no fault 'wall' is in place at this point; none is"]),
        (
            "  - {run: curl, on: db, expect: {errno: null, exit: 0}}\n",
            [
                "6:41: curl reports no outcome, only bundled programs do; "
                "ask for exit:, stdout:, stderr:, packets: or sockets:, or use probe"
            ],
        ),
        (
            "  - {start: curl, on: db}\n  - {finish: curl, expect: {sent: 3}}\n",
            [
                "7:35: curl reports no outcome, only bundled programs do; "
                "ask for exit:, stdout:, stderr:, packets: or sockets:, or use probe"
            ],
        ),
        (
            probe("{errno: ECONREFUSED}"),
            ["8:21: Linux has no errno ECONREFUSED; did you mean ECONNREFUSED? See errno(3)"],
        ),
        (probe("{errno: [EAI_AGAIN, null, EFOO]}"), ["8:39: Linux has no errno EFOO; see errno(3)"]),
        (
            probe("{errno: EWOULDBLOCK}"),
            ["8:21: EWOULDBLOCK is EAGAIN on Linux and is reported so; write EAGAIN"],
        ),
        (probe("{errno: EOPNOTSUPP}"), []),
        (
            probe("{elapsed: {min: 40s}}"),
            ["8:29: this step is ended after its timeout of 30s; write a longer timeout: at the step"],
        ),
        (probe("{elapsed: {min: 40s}}", "    timeout: 60s\n"), []),
        ("  - {start: [probe, recv, '', 80], on: db}\n  - {finish: probe, expect: {elapsed: {min: 40s}}}\n", []),
        (
            probe("{stdout: '', stderr: {contains: '', lacks: ''}}"),
            [
                "8:14: every text contains the empty one, so this could never fail; write stdout: {exact: ''} for no output",
                "8:35: every text contains the empty one, so this could never fail; write exact: '' for no output",
                "8:49: no text lacks the empty one, so this never holds; write what must not be there",
            ],
        ),
        (
            probe("{sockets: [{at: x, port: 1}], queues: {of: [{at: y, port: 1, queue: recv_q}]}}"),
            [f"8:29: the lab has no host 'x'; {HAS}", f"8:62: the lab has no host 'y'; {HAS}"],
        ),
    ],
)
def test_problems(steps: str, expected: list[str]) -> None:
    assert problems(HEAD + RUN + steps) == [f"f.yaml:{line}" for line in expected]


@pytest.mark.parametrize(
    ("display_filter", "expected"),
    [
        ("tcp.port == 80", None),
        (
            'http contains "(a=\\"" || tcp.port in {80, 81} || ip.src === ip.dst || ip.ttl ~= 3 || udp.port != 1 || eth.src[0:2] == 1:2',
            None,
        ),
        (
            "tcp.port = 80 && a == 1",
            "a display filter compares with ==, not =; write tcp.port == 80 && a == 1",
        ),
        (
            "tcp port 80",
            "this is a capture filter (pcap-filter(7)), not a display filter; write tcp.port == 80",
        ),
        (
            "host 10.0.0.1",
            "this is a capture filter (pcap-filter(7)), not a display filter; write ip.addr == 10.0.0.1",
        ),
        ("(tcp.port == 80", "a ( in this filter is never closed"),
        ("tcp.port == 80)", "a ) in this filter closes nothing"),
        ("tcp.port in {80]", "a ] in this filter closes nothing"),
        ('http contains "a', "a quote in this filter is never closed"),
        (" ", "an empty filter selects every packet; write one, like tcp, or frame for all of them"),
    ],
)
def test_filters_that_are_obviously_broken(display_filter: str, expected: str | None) -> None:
    quoted = display_filter.replace("'", "''")
    text = HEAD + probe(f"\n      packets:\n        - at: client\n          filter: '{quoted}'")
    assert problems(text) == ([f"f.yaml:8:19: {expected}"] if expected else [])


def test_a_capture_is_switched_off_by_any_word_for_it() -> None:
    """`off` and `false` are no capture, `on` and `true` are one."""
    texts = [f"capture: {word}\n" + HEAD + probe("{errno: null}") for word in ("off", "false", "on", "true")]
    found = [from_source(Source("f.yaml", text)).scenario.capture.enabled for text in texts]
    assert found == [False, False, True, True]


def test_packets_need_the_capture() -> None:
    text = "capture: false\n" + HEAD + probe("{packets: [{at: client, filter: tcp}]}")
    assert problems(text) == [
        "f.yaml:6:14: capture: is off, so there will be no packets to look at; remove the one or the other"
    ]


def test_a_problem_in_a_parameter_is_shown_where_it_is_used() -> None:
    text = "params: {peer: sever}\n" + HEAD + RUN + '  - {fault: w, at: router, drop: {to: "${peer}"}}\n'
    assert problems(text) == [f"f.yaml:7:39: the lab has no host 'sever'; did you mean server? {HAS_ALSO}"]


START = "  - {start: app-server, on: server}\n"
SECOND = "  - {start: app-server, on: server, as: second}\n"
KILL = "  - {fault: cut, at: server, kill: {}}\n"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (START + KILL + SECOND, ["8:29: server is dead since line 7, by the fault cut; write heal: cut first"]),
        (START + KILL + "  - heal: cut\n" + START, []),
        (START + KILL + "  - {finish: app-server, expect: {exit: 137}}\n", []),
        (START + KILL.replace("{}}", "{}, for: 1s}") + SECOND, []),
        (START + "  - {fault: oom, at: server, kill: {program: app-server}}\n" + START, []),
        (START + "  - {fault: oom, at: client, kill: {program: app-server}}\n", ["7:22: app-server runs on server; write at: server"]),
        (START + "  - {fault: oom, at: server, kill: {program: app-sever}}\n",
         ["7:46: no program 'app-sever' runs at this point; did you mean app-server? Running here: app-server"]),
        (START + "  - {fault: oom, at: server, for: 1s, kill: {program: app-server}}\n",
         ["7:35: a program that was killed does not come back by itself; leave for: out, and start it again in a step"]),
        (START + "  - {fault: oom, at: server, kill: {program: app-server}}\n  - {fault: more, at: server, kill: {program: app-server}}\n",
         ["8:47: no program 'app-server' runs at this point; nothing runs here; start it first"]),
    ],
)  # fmt: skip
def test_what_a_kill_ends(steps: str, expected: list[str]) -> None:
    """Nothing is started on a host that a fault keeps dead; a program that was killed can be waited for and started anew."""
    assert problems(HEAD + RUN + steps) == [f"f.yaml:{message}" for message in expected]


PAUSE = "  - {fault: ice, at: server, pause: {}}\n"
DEAD_SERVER = "server is dead since line 6, by the fault cut; write heal: cut first"
FROZEN_SERVER = "server is frozen since line 6, by the fault ice; write heal: ice first"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (KILL + "  - {fault: wall, at: [client, server], drop: {}}\n", f"7:32: {DEAD_SERVER}"),
        (KILL + "  - {fault: wall, at: server, after: 1s, drop: {}}\n", f"7:23: {DEAD_SERVER}"),
        (KILL + "  - {fault: again, at: server, kill: {}}\n", f"7:24: {DEAD_SERVER}"),
        (KILL + "  - {fault: again, at: server, for: 1s, kill: {}}\n", f"7:24: {DEAD_SERVER}"),
        (KILL + "  - {fault: again, at: server, after: 1s, kill: {}}\n  - heal: cut\n", None),
        (KILL + "  - {until: {listen: 80}, on: server}\n", f"7:31: {DEAD_SERVER}"),
        (KILL + "  - heal: cut\n  - {fault: wall, at: server, drop: {}}\n  - {until: {listen: 80}, on: server}\n" + PAUSE, None),
        (KILL.replace("{}}", "{}, for: 1s}") + "  - {fault: wall, at: server, drop: {}}\n" + PAUSE, None),
        (PAUSE + "  - {fault: again, at: server, pause: {}}\n", f"7:24: {FROZEN_SERVER}"),
        (PAUSE + "  - {fault: again, at: server, for: 1s, pause: {}}\n", f"7:24: {FROZEN_SERVER}"),
        (PAUSE + "  - {fault: again, at: server, kill: {}}\n", f"7:24: {FROZEN_SERVER}"),
        (PAUSE + "  - heal: all\n" + PAUSE, None),
        (PAUSE + START, f"7:29: {FROZEN_SERVER}"),
        (PAUSE + "  - {run: [probe, connect, client, 80], on: server, expect: {errno: null}}\n", f"7:45: {FROZEN_SERVER}"),
        (PAUSE.replace("{}}", "{}, for: 1s}") + START, None),
        (PAUSE + "  - {fault: wall, at: server, drop: {}}\n  - {until: {listen: 80}, on: server}\n", None),
        (PAUSE.replace("server", "db") + "  - {run: [probe, connect, client, 80], on: db, expect: {errno: null}}\n", None),
        (PAUSE.replace("server", "db") + "  - {run: psql, on: db, expect: {exit: 0}}\n",
         "7:21: db is frozen since line 6, by the fault ice; write heal: ice first"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_to_a_host_that_is_dead_or_frozen(steps: str, expected: str | None) -> None:
    """A dead host takes no fault and is not waited for, a frozen one is neither frozen nor killed and runs nothing new.

    What a timeline ends by itself may be over, a kernel goes on while its host is frozen, and so does what runs beside it.
    """
    assert problems(HEAD + RUN + steps) == ([f"f.yaml:{expected}"] if expected else [])


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("link: {rate: 1mbit}", None),
        ("link: {delay: 9ms, distribution: normal, jitter: 1ms}", None),
        ("link: {rate: 2mbit, toward: server}", None),
        ("link: {rate: 2mbit, direction: ingress}", None),
        ("link: {rate: 2mbit}, for: 1s", None),
        ("link: {rate: 2mbit, delay: 1ms}", "f.yaml:7:30: at client: one and two: two rates on one link have no joint meaning"),
    ],
)
def test_link_faults_that_contradict_each_other_are_refused_where_the_second_stands(steps: str, expected: str | None) -> None:
    """Two rates on one interface and direction, and the like, are found before the run; one that is healed first is not."""
    one = "  - {fault: one, at: client, link: {delay: 1ms, rate: 1mbit}}\n"
    two = f"  - {{fault: two, at: client, {steps}}}\n"
    found = problems(HEAD + RUN + one + two)
    is_same = "rate" in steps and "ingress" not in steps and "for" not in steps
    assert bool(found) == is_same, found
    if expected:
        assert found[0].startswith(expected)
    assert problems(HEAD + RUN + one + "  - heal: one\n" + two) == []
    assert problems(HEAD + RUN + one + "  - heal: all\n" + two) == []


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ("loss: 5%, seed: 7", "duplicate: 5%", None),
        ("loss: 5%, loss_correlation: 25%", "delay: 5ms, ramp: {over: 1s, delay: 9ms}", None),
        ("loss: 5%, loss_correlation: 25%", "delay: 5ms, ramp: {over: 1s, loss: 10%}", "loss_correlation 0% and 25% on one link have no joint meaning; give both faults the same"),
        ("delay: 5ms, ramp: {over: 1s, loss: 10%}", "loss_state: {p13: 5%, p31: 25%}", "a 4-state loss model and another loss have no joint meaning; heal one of the faults first"),
        ("loss: 5%, seed: 7", "duplicate: 5%, seed: 7", None),
        ("loss: 5%, seed: 7", "duplicate: 5%, seed: 8, to: server", "two seeds on one link have no joint meaning; heal one of the faults first, or give both the same"),
    ],
)  # fmt: skip
def test_what_two_link_faults_cannot_have_together(one: str, two: str, expected: str | None) -> None:
    steps = "".join(f"  - {{fault: {name}, at: client, link: {{{keys}}}}}\n" for name, keys in (("one", one), ("two", two)))
    assert problems(HEAD + RUN + steps) == ([f"f.yaml:7:30: at client: one and two: {expected}"] if expected else [])


@pytest.mark.parametrize(
    ("for_", "expected"),
    [("", None), ("for: 4s, ", None), ("for: 1500ms, ", "this ramp takes 4s, and the fault ends after 1.5s; write over: 1.5s or less, or a longer for:")],
)
def test_a_ramp_ends_with_its_fault(for_: str, expected: str | None) -> None:
    """A line that cannot reach the value that it is to reach is found before the run."""
    text = f"  - {{fault: x, at: client, {for_}link: {{delay: 1ms, ramp: {{delay: 9ms, over: 4s}}}}}}\n"
    found = problems(HEAD + RUN + text)
    assert found == ([f"f.yaml:6:{text.index('4s}') + 1}: {expected}"] if expected else [])


FAR: Lab = from_compose(
    {
        "services": {
            "server": {**PROGRAMS, "networks": ["near"]},
            "db": {**PROGRAMS, "networks": ["near"]},
            "client": {**PROGRAMS, "networks": ["far"]},
            "lost": {**PROGRAMS, "networks": ["island"]},
            "router": {"labels": {"labctl.role": "router"}, "networks": ["near", "far"]},
        }
    },
    Path("compose.yml"),
)


@pytest.mark.parametrize(
    ("at", "fault", "expected"),
    [
        ("router", "drop: {from: server, to: db}", "no packet from server to db comes by router: the two are on one network; put the fault at server, db"),
        ("router", "drop: {from: client, to: server}", None),
        ("router", "reject: {to: lost}", "no packet from any host to lost comes by router: there is no path between them"),
        ("client", "drop: {from: lost}", "no packet from lost to client comes by client: there is no path between the two"),
        ("client", "drop: {to: lost}", "no packet from client to lost comes by client: there is no path between the two"),
        ("router", "ttl: {set: 1, from: server, to: db}", "no packet from server to db comes by router"),
        ("client", "ttl: {set: 1, to: lost}", "no packet from client to lost comes by client"),
        ("router", "expire: {protocol: tcp, from: server, to: db}", "no packet from server to db comes by router"),
        ("router", "reset: {port: 80, from: server, to: db}", "no packet from server to db comes by router"),
        ("router", "partition: {between: [server, db]}", "none of these hosts reaches another by way of router"),
        ("router", "partition: {between: [[server, client], db]}", None),
        ("client", "link: {delay: 1ms, to: lost}", "no interface of client leads to lost: there is no path between the two"),
        ("router", "link: {delay: 1ms, toward: lost}", "no interface of router leads to lost: there is no path between the two"),
        ("router", "link: {delay: 1ms, network: far, to: server}", "the interface on far does not lead to server; write network: near, or leave it out"),
        ("router", "link: {delay: 1ms, network: near, to: server}", None),
        ("router", "link: {delay: 1ms, from: server, to: db}", "no packet from server to db comes by router"),
        ("client", "link: {delay: 1ms, direction: both, to: server}", None),
        ("client", "link: {delay: 1ms, from: server, direction: ingress}", None),
        ("client", "link: {delay: 1ms, from: server}", None),
        ("client", "link: {delay: 1ms, from: server, direction: egress}", "no packet from server to any host leaves client: write direction: ingress"),
        ("client", "link: {delay: 1ms, to: server, direction: ingress}", "no packet from any host to server arrives at client: write direction: egress"),
        ("client", "link: {delay: 1ms, from: server, direction: both}", "no packet from server to any host leaves client: write direction: ingress"),
        ("client", "link: {delay: 1ms, from: client, network: far}", None),
        ("client", "link: {delay: 1ms, from: server, to: db, direction: ingress}", "no packet from server to db comes by client"),
        ("router", "link: {delay: 1ms, toward: server, to: client}",
         "no packet from any host to client leaves router by near: they leave by far; write network: far instead of toward:"),
        ("router", "link: {delay: 1ms, toward: server, to: [client, db]}", None),
        ("router", "link: {delay: 1ms, toward: server, from: client}",
         "no packet from client to any host arrives at router by near: they arrive by far; write network: far instead of toward:"),
        ("router", "link: {delay: 1ms, toward: server, from: client, direction: egress}", None),
        ("router", "link: {delay: 1ms, toward: server, from: server}", None),
        ("router", "link: {delay: 1ms, toward: server, direction: ingress, from: client}",
         "no packet from client to any host arrives at router by near: they arrive by far; write network: far instead of toward:"),
        ("router", "link: {delay: 1ms, toward: server, direction: both, to: server}", None),
        ("router", "link: {delay: 1ms, from: client, to: server, network: far}",
         "no packet from client to server leaves router by far: they leave by near; write network: near"),
        ("router", "link: {delay: 1ms, from: client, to: server, network: far, direction: ingress}", None),
        ("router", "link: {delay: 1ms, from: client, to: server, network: near}", None),
        ("router", "link: {delay: 1ms, from: client, to: server, direction: both}", None),
        ("router", "link: {delay: 1ms, from: client, direction: egress}", None),
        ("router", "link: {delay: 1ms, from: router, to: server}", None),
        ("router", "link: {delay: 1ms, from: router}", None),
        ("router", "link: {delay: 1ms, from: router, direction: ingress}", "no interface of router leads to router itself"),
        ("router", "link: {delay: 1ms, to: router, direction: ingress}", None),
        ("router", "link: {delay: 1ms, network: near, to: router, direction: ingress}", None),
        ("router", "ttl: {set: 1, from: router}",
         "at a router ttl is about what is forwarded, and what router sends itself is not; name another host in from:, or leave it out"),
        ("router", "ttl: {set: 1, from: [router, client]}", None),
    ],
)  # fmt: skip
def test_a_peer_on_no_path_is_refused_with_its_place(at: str, fault: str, expected: str | None) -> None:
    """A fault about packets that never come by its host is refused before the run, and told where they go instead."""
    text = HEAD + RUN + f"  - {{fault: x, at: {at}, {fault}}}\n"
    found = [str(p) for p in check(from_source(Source("f.yaml", text)), FAR)]
    assert len(found) == (expected is not None), found
    if expected:
        assert found[0].startswith(f"f.yaml:6:{text.splitlines()[5].index(fault) + 1}: ")
        assert expected in found[0]


TWICE: Lab = from_compose(
    {
        "services": {
            "server": {**PROGRAMS, "networks": ["left", "right"]},
            "client": {**PROGRAMS, "networks": ["left", "right"]},
            "other": {**PROGRAMS, "networks": ["right"]},
        }
    },
    Path("compose.yml"),
)


@pytest.mark.parametrize("direction", ["egress", "ingress", "both"])
@pytest.mark.parametrize("where", ["network: left", "network: right", "toward: server"])
def test_hosts_that_share_two_networks_may_use_either(where: str, direction: str) -> None:
    """Which address a program is given nobody knows before the run, so nothing is refused that may be."""
    peer = "from: server" if direction == "ingress" else "to: server"
    text = HEAD + RUN + f"  - {{fault: x, at: client, link: {{delay: 1ms, {where}, {peer}, direction: {direction}}}}}\n"
    assert check(from_source(Source("f.yaml", text)), TWICE) == []


@pytest.mark.parametrize(
    "fault", [f"{kind}protocol: icmpv6}}" for kind in ("drop: {", "reject: {", "ttl: {set: 1, ", "link: {delay: 1ms, ")]
)
def test_ipv6_in_a_lab_without_it_is_refused_at_its_place(fault: str) -> None:
    """A fault about ICMPv6 can touch nothing in a lab that has IPv4 only."""
    text = f"  - {{fault: x, at: client, {fault}}}\n"
    assert problems(HEAD + RUN + text)[0].startswith("f.yaml:6:28: protocol icmpv6 needs IPv6, and this lab has only IPv4")
