"""Compose files as labs: hosts, addresses, routes, and the copy that a run brings up."""

from __future__ import annotations

import ipaddress
import itertools
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.errors import ScenarioError
from labctl.lab import BLOCKS, POOL, Lab, Route, addressed, from_compose, mentioned, read_lab, render
from labctl.runs import prepare
from labctl.scenario.yamltext import MAX_BYTES

OWN = Path(__file__).resolve().parents[2] / "docker-compose.yml"
CHAIN = """
services:
  a: {image: i, networks: [left]}
  r1: {image: i, networks: [left, middle], labels: {labctl.role: router}}
  r2: {image: i, networks: [middle, right], labels: [labctl.role=router]}
  b: {image: i, networks: [right]}
networks: {left: {}, middle: {}, right: {}}
"""


def lab_of(text: str) -> Lab:
    return from_compose(yaml.safe_load(text), Path("lab.yml"))


def test_our_own_lab_is_four_hosts_with_the_router_between() -> None:
    """The lab we ship: server, client and powerpc each on a network of their own, and the router on all three as .2."""
    lab = read_lab(OWN)
    assert list(lab.hosts) == ["server", "client", "powerpc", "router"]
    assert [n for n, host in lab.hosts.items() if host.is_router] == ["router"]
    assert lab.hosts["router"].networks == ("server-net", "client-net", "powerpc-net")
    assert lab.hosts["router"].all_addresses == ("198.18.0.2", "198.18.0.66", "198.18.0.130")
    assert lab.hosts["client"].all_addresses == ("198.18.0.68",)
    assert lab.hosts["client"].programs == "/opt/labctl/programs"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("{labctl.role: ruoter}", "labctl.role: ruoter, and there is no such role; did you mean router? A host that"),
        ("[labctl.role=Router]", "labctl.role: Router, and there is no such role; did you mean router?"),
        ("{labctl.role: switch}", "labctl.role: switch, and there is no such role; a host that forwards is a router, any"),
        ("{labctl.role: }", "labctl.role: , and there is no such role; a host that forwards"),
    ],
)  # fmt: skip
def test_a_role_that_is_none_is_told(labels: str, said: str) -> None:
    """A host that should forward and does not would make every scenario through it fail for another reason."""
    with pytest.raises(ScenarioError, match=re.escape(f"cannot be a lab: the service x has {said}")):
        lab_of(f"services: {{x: {{image: i, labels: {labels}}}}}")
    assert not lab_of("services: {x: {image: i, labels: {labctl.role: '${ROLE}'}}}").hosts["x"].is_router


def test_both_forms_of_labels_networks_and_dependencies_mean_the_same() -> None:
    """Compose allows lists and mappings; a lab is the same from either."""
    short = lab_of(
        "services: {x: {image: i, labels: [labctl.role=router, labctl.programs=/p], networks: [n], depends_on: [y]}, "
        "y: {image: i}}"
    )
    long = lab_of(
        "services: {x: {image: i, labels: {labctl.role: router, labctl.programs: /p}, networks: {n: null}, "
        "depends_on: {y: {condition: service_started}}}, y: {image: i}}"
    )
    assert short == long
    assert (short.hosts["x"].is_router, short.hosts["x"].programs, short.hosts["x"].depends_on) == (
        True,
        "/p",
        ("y",),
    )
    assert short.hosts["y"].networks == ("default",)


def test_what_has_no_namespace_of_its_own_or_waits_for_a_profile_is_no_host() -> None:
    """A service with network_mode or profiles is not part of the lab."""
    lab = lab_of(
        "services: {x: {image: i}, y: {image: i, network_mode: host}, z: {image: i, profiles: [tools]}}"
    )
    assert list(lab.hosts) == ["x"]


@pytest.mark.parametrize(
    "text",
    [
        "services: {}", "services:", "services: 5", "services: [a]", "services: {a: hello}", "services: {a: {networks: 5}}",
        "services: {a: {networks: [{b: c}]}}", "services: {a: {depends_on: 7}}", "services: {1: {image: x}}",
        "services: {a: {labels: 7}}\nnetworks: 3", "services: {a: {networks: [n]}}\nnetworks: {n: 4}", "[]", "text", "5", "",
        "services: {a: {profiles: 3, network_mode: 3}}", "a: [b", "a: \x00", "[" * 600,
        "services: {a: {networks: {n: 5}}}",
        "? {a: b}\n: c", "services: !!python/object:os.system {}",
    ],
)  # fmt: skip
def test_a_compose_file_that_cannot_be_a_lab_is_told_by_line(tmp_path: Path, text: str) -> None:
    """A compose file with something else where Compose has a mapping or a list is a ScenarioError that names the file."""
    path = tmp_path / "lab.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        read_lab(path)
    assert str(caught.value).startswith(f"{path}:")


@pytest.mark.parametrize(
    ("text", "column"), [("services: " + "[" * 300 + "]" * 300, 110), ("- " * 300 + "x", 201)], ids=["brackets", "dashes"]
)
def test_a_compose_file_that_is_nested_too_deeply_is_told(tmp_path: Path, text: str, column: int) -> None:
    """Depth is bounded before anything recurses, whichever way the file nests."""
    (tmp_path / "lab.yml").write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError, match=rf"lab.yml:1:{column}: .*it is nested more than 100 deep$"):
        read_lab(tmp_path / "lab.yml")


def test_a_compose_file_with_too_many_anchors_is_told(tmp_path: Path) -> None:
    """Their number is bounded, as that of the values they stand for is."""
    anchors = "\n".join(f"  - &a{number} x" for number in range(1001))
    (tmp_path / "lab.yml").write_text(f"services: {{a: {{image: i}}}}\nx-all:\n{anchors}\n", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"lab.yml:1003:\d+: .*it has more than 1000 anchors"):
        read_lab(tmp_path / "lab.yml")


def test_a_compose_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A missing compose file is a ScenarioError, with the nearest name that is there; so is one that is no text."""
    (tmp_path / "lab.yml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(
        ScenarioError, match=r"lob.yml:1:1: the lab's compose file cannot be read: there is no such file; did you mean lab.yml"
    ):
        read_lab(tmp_path / "lob.yml")
    with pytest.raises(ScenarioError, match=r"lab.yml:1:1: the lab's compose file is not YAML: byte 0xff is not UTF-8"):
        read_lab(tmp_path / "lab.yml")
    (tmp_path / "lab.yml").write_text("services: {a: {image: i}}\nx: '\x01'", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"lab.yml:2:5: the lab's compose file is not YAML: the character U\+0001 "):
        read_lab(tmp_path / "lab.yml")


def test_a_compose_file_that_is_no_file_is_not_read(tmp_path: Path) -> None:
    """A device would be read without end, and a pipe waited for."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(ScenarioError, match="the lab's compose file cannot be read: it is not a regular file"):
            read_lab(path)
    with pytest.raises(ScenarioError, match="cannot be read: it is a folder, not a compose file; name the YAML file in it"):
        read_lab(tmp_path)
    with (tmp_path / "big.yml").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ScenarioError, match=r"cannot be read: it is larger than 1 MiB$"):
        read_lab(tmp_path / "big.yml")


BOMB = "x-a: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"x-{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
MERGES = "x-a: &a0 {k: v}\n" + "".join(
    f"x-{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB + "services: {a: {image: i, network_mode: *a9}, b: {image: i}}",
        BOMB + "services: {a: {image: i, healthcheck: {test: *a9}}}", BOMB + "services: {a: {image: i, labels: {x: *a9}}}",
        MERGES + "services: {a: {image: i, labels: *a9}}",
    ],
    ids=["network_mode", "healthcheck", "labels", "merges"],
)  # fmt: skip
def test_a_small_compose_file_cannot_be_a_large_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Aliases are counted as written out, and refused before anything is made of them."""
    (tmp_path / "lab.yml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(yaml, "compose", lambda *_args, **_named: pytest.fail("nodes were made"))
    with pytest.raises(ScenarioError, match=r"cannot be a lab: it makes more than 100000 values, all aliases"):
        read_lab(tmp_path / "lab.yml")


@pytest.mark.parametrize("text", ["services: &s {a: {labels: *s}}", "services: {a: {healthcheck: {test: &t [*t]}}}"])
def test_an_alias_inside_what_it_names_is_told(tmp_path: Path, text: str) -> None:
    """Whoever followed it would never end."""
    (tmp_path / "lab.yml").write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"lab.yml:1:\d+: .* cannot be a lab: \*. stands inside what &. names"):
        read_lab(tmp_path / "lab.yml")


@pytest.mark.parametrize(
    "value",
    [
        "2001-99-99", "9" * 5000, "0x_", "0b", "!!int abc", "!!float abc", "!!bool abc", "!!timestamp abc", "190:20:30.15",
        "!reset null", "!!binary x", "!!set {a}", "&a !x {b: !y c}",
    ],
)  # fmt: skip
def test_what_is_not_asked_for_may_be_anything(tmp_path: Path, value: str) -> None:
    """Values of YAML 1.1 that are none, and tags, are no reason to refuse a file that Compose takes, nor to break."""
    text = f"%YAML 1.2\n---\nx-a: {value}\nservices: {{a: {{image: i, labels: {{x: !!int abc}}}}}}\n"
    (tmp_path / "lab.yml").write_text(text, encoding="utf-8")
    assert list(read_lab(tmp_path / "lab.yml").hosts) == ["a"]


@pytest.mark.parametrize(
    ("expose", "ports"),
    [
        (["9" * 5000], ()), (["99999"], ()), (["٣"], ()), (["²"], ()), (["80-90"], ()), (["0"], ()), (["65535", 1], (65535, 1)),
        (["80/udp"], ()), (["${PORT}"], ()),
    ],
)  # fmt: skip
def test_what_is_no_port_is_none(expose: list[object], ports: tuple[int, ...]) -> None:
    """A number that no port can be, or a range, is passed over; Compose says what is wrong with it."""
    check = f"curl http://localhost:{'9' * 5}/"
    service = {"image": "i", "expose": expose, "healthcheck": {"test": check}}
    assert from_compose({"services": {"a": service}}, Path("lab.yml")).hosts["a"].ports == ports


@pytest.mark.parametrize(
    ("written", "has"), [("true", True), ("yes", True), ('"on"', True), ("false", False), ("no", False), ("", False)]
)
def test_a_network_has_ipv6_by_any_word_that_compose_takes(tmp_path: Path, written: str, has: bool) -> None:
    """Compose reads a switch from text as well."""
    text = f"services: {{a: {{image: i, networks: [n]}}}}\nnetworks: {{n: {{enable_ipv6: {written}}}}}\n"
    (tmp_path / "lab.yml").write_text(text, encoding="utf-8")
    assert read_lab(tmp_path / "lab.yml").families == ((4, 6) if has else (4,))


def test_anchors_merges_and_defaults_of_a_compose_file_are_put_in(tmp_path: Path) -> None:
    """What is written once is there wherever it is merged, and what stands beside it wins."""
    (tmp_path / "lab.yml").write_text(
        "x-one: &one {networks: [n], labels: &l {labctl.programs: /p}}\n"
        "services:\n  a: {<<: *one, image: i}\n  b: {<<: [*one], networks: [m], labels: {<<: *l, labctl.role: router}}\n",
        encoding="utf-8",
    )
    hosts = read_lab(tmp_path / "lab.yml").hosts
    assert [(h.networks, h.programs, h.is_router) for h in hosts.values()] == [(("n",), "/p", False), (("m",), "/p", True)]


@pytest.mark.parametrize("services", ["", "services: {a: {image: i}}"])
def test_what_a_compose_file_includes_is_not_followed(tmp_path: Path, services: str) -> None:
    """It says so, and what to name instead; a host of it could neither be checked nor explained."""
    (tmp_path / "lab.yml").write_text(f"include: [other.yml]\n{services}\n", encoding="utf-8")
    said = r"`include:` is not followed here; name the included file itself, or one of all: `docker compose -f lab.yml config`"
    with pytest.raises(ScenarioError, match=said):
        read_lab(tmp_path / "lab.yml")


@pytest.mark.parametrize(
    ("lab", "why"),
    [
        ('""', "lab: is empty; name a compose file, or leave lab: out for our own"),
        (r'"a\0b"', "the lab's compose file cannot be read: the name holds a NUL"),
        ("round", "the lab's compose file cannot be read: "),
        ("a" * 300, "the lab's compose file cannot be read: File name too long"),
    ],
    ids=["empty", "NUL", "circle", "long"],
)  # fmt: skip
def test_a_lab_that_no_file_can_be_is_told_at_the_scenarios_key(tmp_path: Path, lab: str, why: str) -> None:
    """At `lab:`, whatever the name is."""
    (tmp_path / "round").symlink_to("round")
    path = tmp_path / "x.yaml"
    path.write_text(f"scenario: x\nlab: {lab}\nsteps:\n  - {{run: [true], on: a, expect: {{exit: 0}}}}\n")
    with pytest.raises(ScenarioError, match=r"x\.yaml:2:[16]: " + re.escape(why)):
        prepare(path, {})


def test_families_are_those_that_every_network_has() -> None:
    """A lab has IPv6 only when each of its networks has it."""
    one = "services: {a: {image: i, networks: [x, y]}}\nnetworks: {x: {enable_ipv6: true}, y: {enable_ipv6: %s}}"
    assert lab_of(one % "true").families == (4, 6)
    assert lab_of(one % "false").families == (4,)


@pytest.mark.parametrize("block", [0, 1, 255, 256, BLOCKS - 1])
@pytest.mark.parametrize("networks", [1, 2, 3, 5, 8, 16])
def test_every_block_holds_a_lab_and_none_meets_another(block: int, networks: int) -> None:
    """In each block every network has subnets, every host addresses in them, all different, none the bridge's, v4 and v6."""
    names = [f"n{i}" for i in range(networks)]
    config = {
        "services": {
            "r": {"image": "i", "networks": names, "labels": {"labctl.role": "router"}},
            "a": {"image": "i", "networks": names[:1]},
        },
        "networks": {name: {"enable_ipv6": True} for name in names},
    }
    lab = addressed(from_compose(config, Path("x")), block)
    whole = list(POOL.subnets(new_prefix=24))[block]
    subnets = [ipaddress.ip_network(s) for net in lab.networks.values() for s in (net.ipv4, net.ipv6 or "")]
    assert len(set(subnets)) == 2 * networks
    assert all(
        not a.overlaps(b) for a, b in itertools.combinations([s for s in subnets if s.version == 4], 2)
    )
    assert all(s.subnet_of(whole) for s in subnets if isinstance(s, ipaddress.IPv4Network))
    taken = [a for host in lab.hosts.values() for a in host.all_addresses]
    bridges = [g for net in lab.networks.values() for g in (net.gateway, net.gateway6)]
    assert len(set(taken) | set(bridges)) == len(taken) + len(bridges)
    for host in lab.hosts.values():
        for name, addresses in (host.addresses or {}).items():
            assert ipaddress.ip_address(addresses[0]) in ipaddress.ip_network(lab.networks[name].ipv4)
            assert ipaddress.ip_address(addresses[1]) in ipaddress.ip_network(lab.networks[name].ipv6 or "")


def test_no_two_blocks_share_an_ipv6_network() -> None:
    """Two runs in different blocks have different IPv6 networks."""
    lab = lab_of(
        "services: {a: {image: i, networks: [x, y]}}\nnetworks: {x: {enable_ipv6: true}, y: {enable_ipv6: true}}"
    )
    found = [net.ipv6 for block in range(BLOCKS) for net in addressed(lab, block).networks.values()]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(("networks", "hosts"), [(1, 254), (4, 62), (65, 1), (300, 1)])
def test_a_lab_that_does_not_fit_is_told(networks: int, hosts: int) -> None:
    """A lab with more hosts or networks than a block holds is a ScenarioError that says so."""
    names = [f"n{i}" for i in range(networks)]
    config = {"services": {f"h{i}": {"image": "i", "networks": names} for i in range(hosts)}}
    with pytest.raises(ScenarioError, match="do not fit"):
        from_compose(config, Path("x"))


@pytest.mark.parametrize("hosts", [1, 3, 61])
def test_no_flipped_bit_makes_one_host_another(hosts: int) -> None:
    """Where half of a network's addresses suffice, no bit makes one host's address, or the bridge's, another host's."""
    services = {f"h{i}": {"image": "i", "networks": ["a", "b"]} for i in range(hosts)}
    services["router"] = {"image": "i", "networks": ["a", "b"], "labels": {"labctl.role": "router"}}
    lab = addressed(from_compose({"services": services}, Path("x")), 5)
    for network in ("a", "b"):
        taken = [ipaddress.ip_address(dict(h.addresses or {})[network][0]) for h in lab.hosts.values()]
        taken.append(ipaddress.ip_address(lab.networks[network].gateway))
        assert len(taken) == hosts + 2
        for one, other in itertools.combinations(taken, 2):
            assert (int(one) ^ int(other)).bit_count() >= 2
        assert dict(lab.hosts["router"].addresses or {})[network][0].endswith((".2", ".130"))


def test_a_network_is_filled_to_its_last_address() -> None:
    """A network of 125 hosts gives each an address of its own, though flipped bits are then not told apart."""
    config = {"services": {f"h{i}": {"image": "i", "networks": ["a", "b"]} for i in range(125)}}
    lab = addressed(from_compose(config, Path("x")), 5)
    taken = {dict(h.addresses or {})["a"][0] for h in lab.hosts.values()}
    assert taken == {str(a) for a in list(ipaddress.ip_network(lab.networks["a"].ipv4).hosts())[1:]}


def test_needed_are_the_named_their_dependencies_and_the_routers_between() -> None:
    """Only what a scenario needs comes up: routers when more than one network is involved, dependencies of dependencies."""
    lab = read_lab(OWN)
    assert lab.needed(["client"]) == ("client",)
    assert lab.needed(["client", "server"]) == ("server", "client", "router")
    assert lab.needed(["nobody"]) == ()
    deep = lab_of(
        "services: {a: {image: i, depends_on: [b]}, b: {image: i, depends_on: [c]}, c: {image: i, depends_on: [a]}, "
        "d: {image: i}}"
    )
    assert deep.needed(["a"]) == ("a", "b", "c")


def test_routes_across_two_routers() -> None:
    """Hosts send all to their router; each router knows the far network by the other router's near address."""
    lab = lab_of(CHAIN)
    up = tuple(lab.hosts)
    address = {n: dict(h.addresses or {}) for n, h in lab.hosts.items()}
    assert lab.routes("a", up) == (Route("default", address["r1"]["left"][0]),)
    assert lab.routes("b", up) == (Route("default", address["r2"]["right"][0]),)
    assert lab.routes("r1", up) == (Route(lab.networks["right"].ipv4, address["r2"]["middle"][0]),)
    assert lab.routes("r2", up) == (Route(lab.networks["left"].ipv4, address["r1"]["middle"][0]),)
    assert lab.routes("a", ("a", "b")) == ()


def test_routes_are_per_family() -> None:
    """Where networks have IPv6 each route has its IPv6 twin."""
    lab = lab_of(
        CHAIN.replace(
            "{left: {}, middle: {}, right: {}}", "{left: &x {enable_ipv6: true}, middle: *x, right: *x}"
        )
    )
    assert [(":" in r.via, r.to) for r in lab.routes("a", lab.hosts)] == [
        (False, "default"),
        (True, "default"),
    ]
    assert [r.to for r in lab.routes("r1", lab.hosts)] == [
        lab.networks["right"].ipv4,
        lab.networks["right"].ipv6,
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=6))
def test_following_the_routes_always_arrives(routers: list[set[int]]) -> None:
    """In any lab where hosts and routers hang together, every host reaches every other hop by hop, and never in circles."""
    services: dict[str, Any] = {f"h{n}": {"image": "i", "networks": [f"n{n}"]} for n in range(6)}
    for index, attached in enumerate(routers):
        services[f"r{index}"] = {
            "image": "i",
            "networks": [f"n{n}" for n in sorted(attached)],
            "labels": {"labctl.role": "router"},
        }
    lab = from_compose({"services": services}, Path("x"))
    owner = {a: name for name, host in lab.hosts.items() for a in host.all_addresses}
    # What hangs together: networks joined by a chain of routers.
    groups = [{n} for n in range(6)]
    for attached in routers:
        joined = set().union(*(g for g in groups if g & attached))
        groups = [g for g in groups if not g & attached] + [joined]
    for a, b in itertools.permutations(range(6), 2):
        if not any({a, b} <= group for group in groups):
            continue
        target = (lab.hosts[f"h{b}"].addresses or {})[f"n{b}"][0]
        here, hops = f"h{a}", 0
        while here != f"h{b}":
            if f"n{b}" in lab.hosts[here].networks:
                here = f"h{b}"
                continue
            routes = lab.routes(here, lab.hosts)
            via = next(
                (
                    r.via
                    for r in routes
                    if r.to == "default" or ipaddress.ip_address(target) in ipaddress.ip_network(r.to)
                ),
                None,
            )
            assert via is not None, f"{here} knows no way to h{b}"
            here, hops = owner[via], hops + 1
            assert hops < 20, f"from h{a} to h{b} in circles"


def test_names_are_those_of_the_nearest_address() -> None:
    """A host finds another by its address on the network they share, or else by that on its first."""
    lab = lab_of(CHAIN)
    assert lab.names_for("r2", lab.hosts)["r1"] == (lab.hosts["r1"].addresses or {})["middle"]
    assert lab.names_for("b", lab.hosts)["r1"] == (lab.hosts["r1"].addresses or {})["left"]


RICH = """
name: mine
services:
  web:
    image: nginx
    build: .
    container_name: fixed
    hostname: other
    ports: ["80:80"]
    restart: always
    extra_hosts: ["x:1.2.3.4"]
    links: [db]
    command: [nginx, -g, daemon off]
    environment: {A: b}
    volumes: [{type: volume, source: data, target: /data}]
    healthcheck: {test: [CMD, "true"]}
    labels: {mine: kept, labctl.role: router}
    sysctls: [net.ipv4.tcp_syn_retries=2]
    depends_on: [db, gone]
    networks: {front: {aliases: [www], ipv4_address: 10.9.9.9}, back: null}
  db: {image: postgres, networks: {back: {priority: 5}}}
  gone: {image: x, networks: [back]}
networks:
  front: {external: true, name: theirs, driver: macvlan, internal: true, enable_ipv6: true}
  back: {driver_opts: {com.docker.network.driver.mtu: "1400"}, enable_ipv6: true}
volumes: {data: {name: fixed-volume, external: true}}
configs: {c: {file: ./c}}
secrets: {s: {file: ./s, name: theirs}}
"""


def rendered() -> dict[str, Any]:
    lab = addressed(lab_of(RICH), 3)
    return render(
        yaml.safe_load(RICH), lab, ("web", "db"), "labctl-x", {"labctl.run": "x"}, {"web": "built/web"}
    )


def test_a_rendered_copy_keeps_what_the_user_wrote_of_a_program() -> None:
    """Command, environment, volumes, health checks and labels are the user's; nothing of them is lost."""
    web = rendered()["services"]["web"]
    source = yaml.safe_load(RICH)["services"]["web"]
    for key in ("command", "environment", "volumes", "healthcheck"):
        assert web[key] == source[key]
    assert web["labels"] == {"mine": "kept", "labctl.role": "router", "labctl.run": "x", "labctl.host": "web"}
    assert web["networks"]["front"]["aliases"] == ["www"]
    assert rendered()["services"]["db"]["networks"]["back"]["priority"] == 5


def test_a_rendered_copy_has_nothing_that_two_runs_would_fight_over() -> None:
    """No fixed names, addresses, ports or external things, and no way out of the lab, are left in the copy."""
    copy = rendered()
    assert (copy["name"], set(copy["services"]), set(copy["networks"])) == (
        "labctl-x",
        {"web", "db"},
        {"front", "back"},
    )
    for service in copy["services"].values():
        assert {"container_name", "ports", "build", "links", "network_mode"}.isdisjoint(service)
        assert (service["restart"], service["pull_policy"], service["dns"]) == ("no", "never", ["127.0.0.1"])
    for kind in ("networks", "volumes", "configs", "secrets"):
        assert all({"name", "external", "internal"}.isdisjoint(value) for value in copy[kind].values())
    assert copy["services"]["web"]["image"] == "built/web"
    assert copy["services"]["db"]["image"] == "postgres"
    assert [copy["services"][name]["hostname"] for name in ("web", "db")] == ["other", "db"]


def test_a_service_of_several_replicas_is_one_host() -> None:
    """Every address and name is one host's: a service that is to be there several times is there once, within its limits."""
    text = """
services:
  a: {image: x, scale: 2, deploy: {replicas: 3, resources: {limits: {memory: 64M}}}}
"""
    lab = addressed(lab_of(text), 3)
    service = render(yaml.safe_load(text), lab, ("a",), "labctl-x", {}, {})["services"]["a"]
    assert "scale" not in service
    assert service["deploy"] == {"resources": {"limits": {"memory": "64M"}}}


def test_a_host_with_a_long_name_comes_up() -> None:
    """A service may have a longer name than the kernel lets a host have."""
    name = "a" * 80
    text = f"services:\n  {name}: {{image: x}}\n"
    service = render(yaml.safe_load(text), addressed(lab_of(text), 3), (name,), "labctl-x", {}, {})["services"][name]
    assert service["hostname"] == "a" * 63


@pytest.mark.parametrize(
    ("service", "why"),
    [("network_mode: none", "network_mode: none"), ("profiles: [debug, x]", "profiles: [debug, x]")],
)
def test_why_a_service_is_no_host_is_told(tmp_path: Path, service: str, why: str) -> None:
    """Whoever names a service that is no host of the lab hears what makes it none."""
    (tmp_path / "compose.yml").write_text(f"services:\n  a: {{image: x, {service}}}\n  b: {{image: x}}\n")
    path = tmp_path / "x.yaml"
    path.write_text("scenario: x\nlab: compose.yml\nsteps:\n  - {run: [true], on: a, expect: {exit: 0}}\n")
    with pytest.raises(ScenarioError, match=re.escape(f"the service a has {why}, so it is no host of the lab")):
        prepare(path, {})


def test_where_a_compose_file_is_wrong_is_told(tmp_path: Path) -> None:
    """A compose file that is no YAML is told at the scenario's `lab:`, and with its own line and column."""
    (tmp_path / "compose.yml").write_text("services:\n  a: [\n")
    path = tmp_path / "x.yaml"
    path.write_text("scenario: x\nlab: compose.yml\nsteps:\n  - {run: [true], on: a, expect: {exit: 0}}\n")
    with pytest.raises(ScenarioError, match=r"x\.yaml:2:6: the lab's compose file is not YAML.*compose\.yml:3:1\)"):
        prepare(path, {})


def test_a_rendered_copy_addresses_every_host_and_tells_each_of_all() -> None:
    """Addresses, subnets and names of the run are in the copy, for both families."""
    copy = rendered()
    web = copy["services"]["web"]
    lab = addressed(lab_of(RICH), 3)
    for name, fixed in web["networks"].items():
        assert [fixed["ipv4_address"], fixed["ipv6_address"]] == list(
            (lab.hosts["web"].addresses or {})[name]
        )
    for name, net in copy["networks"].items():
        assert [c["subnet"] for c in net["ipam"]["config"]] == [
            lab.networks[name].ipv4,
            lab.networks[name].ipv6,
        ]
        assert net["labels"] == {"labctl.run": "x"}
        assert (net["driver"], net["enable_ipv6"]) == ("bridge", True)
        assert net["driver_opts"] == {
            "com.docker.network.bridge.gateway_mode_ipv4": "routed",
            "com.docker.network.bridge.gateway_mode_ipv6": "routed",
            "com.docker.network.bridge.enable_ip_masquerade": "false",
        }
    db = (lab.hosts["db"].addresses or {})["back"]
    assert {f"db:{a}" for a in db} <= set(web["extra_hosts"])
    assert not any(entry.startswith("x:") for entry in web["extra_hosts"])
    assert copy["volumes"]["data"]["labels"] == {"labctl.run": "x"}


def test_a_router_forwards_and_a_host_keeps_its_own_sysctls() -> None:
    """A router's copy turns forwarding on beside the user's own sysctls; other hosts get none of it."""
    services = rendered()["services"]
    sysctls = services["web"]["sysctls"]
    assert {k: str(v) for k, v in sysctls.items()} == {
        "net.ipv4.tcp_syn_retries": "2", "net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1",
    }  # fmt: skip
    assert "net.ipv4.ip_forward" not in services["db"].get("sysctls", {})


def test_a_dependency_that_does_not_come_up_is_dropped() -> None:
    """A service waits only for those that are part of this run."""
    assert rendered()["services"]["web"]["depends_on"] == {"db": {"condition": "service_started"}}


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("server", ["server"]),
        ("http://server:80/", ["server"]),
        ("server.lab", ["server"]),
        ("servers", []),
        ("a=server,client", ["server", "client"]),
        ("", []),
    ],
)
def test_a_host_is_mentioned_by_whole_words(word: str, found: list[str]) -> None:
    """A host named in a command's argument comes up; a word that only contains its name does not count."""
    assert list(mentioned(word, ["server", "client"])) == found


def test_the_way_between_two_hosts_is_that_of_their_routes() -> None:
    """Through each router once, in order; none on one network, and no way at all where no router leads."""
    services = {
        "a": {"networks": ["one"]}, "b": {"networks": ["one"]}, "c": {"networks": ["three"]}, "lost": {"networks": ["four"]},
        "r": {"networks": ["one", "two"], "labels": {"labctl.role": "router"}},
        "s": {"networks": ["two", "three"], "labels": {"labctl.role": "router"}},
    }  # fmt: skip
    lab = from_compose({"services": services}, Path("compose.yml"))
    ways = {("a", "b"): (), ("a", "c"): ("r", "s"), ("c", "a"): ("s", "r"), ("a", "lost"): None, ("r", "c"): ("s",)}
    assert {pair: lab.between(*pair) for pair in ways} == ways
    assert [lab.way("r", peer) for peer in ("a", "c", "lost")] == ["one", "two", None]
    assert lab.way("a", "c") == "one"
