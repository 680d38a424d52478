"""A compose file as a lab: which hosts there are, on which networks, with which addresses; and its copy for one run.

Everything here is pure. `Lab` knows nothing of Docker beyond the compose format; engines bring a rendered lab up.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.composefile import read
from labctl.errors import Problem, ScenarioError
from labctl.scenario.words import did_you_mean, shorten

if TYPE_CHECKING:
    from labctl.faults.base import Family, Site

# RFC 2544 sets 198.18.0.0/15 aside for benchmarking networks, so it meets no real one. One /24 a run: 512 of them.
POOL = ipaddress.ip_network("198.18.0.0/15")
BLOCK_PREFIX = 24
BLOCKS = 2 ** (BLOCK_PREFIX - POOL.prefixlen)
# RFC 4193 unique local addresses; the global id is fixed (ASCII "labct"), the subnet id is block and network.
POOL6 = "fd6c:6162:6374"

ROLE = "labctl.role"
ROUTER = "router"
PROGRAMS = "labctl.programs"

_OWN_PORT = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\]|0\.0\.0\.0):(\d{1,5})\b")
_MAX_PORT = 2**16 - 1
_OFF = frozenset({"false", "no", "n", "off", "0", ""})


@dataclass(frozen=True)
class Host:
    """One service of the lab.

    `networks` are in the compose file's order; `addresses` maps each to its addresses; `ports` are the TCP ports that the file
    says it serves (`expose:`, the container's side of `ports:`, and what its health check asks).
    """

    name: str
    networks: tuple[str, ...]
    is_router: bool = False
    programs: str | None = None
    depends_on: tuple[str, ...] = ()
    addresses: Mapping[str, tuple[str, ...]] | None = None
    ports: tuple[int, ...] = ()

    @property
    def all_addresses(self) -> tuple[str, ...]:
        """Every address, in the order of the networks."""
        return tuple(a for network in self.networks for a in (self.addresses or {}).get(network, ()))


@dataclass(frozen=True)
class Subnet:
    """One network's part of the pool. `gateway` is the bridge on the machine itself, which no host may use."""

    ipv4: str
    gateway: str
    ipv6: str | None = None
    gateway6: str | None = None


@dataclass(frozen=True)
class Route:
    """What a host must know to reach beyond its own networks: `to` is a subnet or `default`."""

    to: str
    via: str


@dataclass(frozen=True)
class Lab:
    """Hosts and networks of one compose file, with addresses from one block of the pool.

    `no_hosts` are its services that are no hosts, each with what makes it none.
    """

    path: Path
    hosts: Mapping[str, Host]
    networks: Mapping[str, Subnet]
    no_hosts: Mapping[str, str] = field(default_factory=dict)

    @property
    def families(self) -> tuple[Family, ...]:
        """4, and 6 when every network of the lab has IPv6."""
        return (4, 6) if self.networks and all(net.ipv6 for net in self.networks.values()) else (4,)

    @property
    def addresses(self) -> dict[str, tuple[str, ...]]:
        """Every host's addresses."""
        return {name: host.all_addresses for name, host in self.hosts.items()}

    def site(self, name: str, seed: int = 0) -> Site:
        """The named host as a place for faults, in a run with this seed. Raises KeyError when there is none."""
        from labctl.faults.base import Site  # its models take longer to import than all else that a lab needs

        host = self.hosts[name]
        return Site(name, host.is_router, host.networks, self.addresses, self.families, self, seed)

    def between(self, source: str, destination: str) -> tuple[str, ...] | None:
        """The routers that a packet between two hosts passes, in order, as `routes` sets them; None when there is no path."""
        first, last = self.hosts[source], self.hosts[destination]
        if set(first.networks) & set(last.networks):
            return ()
        routers = [h for h in self.hosts.values() if h.is_router and h.name not in (source, destination)]
        near = [r for r in routers if set(r.networks) & set(first.networks)]
        queue: deque[tuple[Host, tuple[str, ...]]] = deque(
            (r, (r.name,)) for r in (near if first.is_router else near[:1])
        )
        seen = {router.name for router, _ in queue}
        while queue:
            router, path = queue.popleft()
            if set(router.networks) & set(last.networks):
                return path
            for other in routers:
                if other.name not in seen and set(other.networks) & set(router.networks):
                    seen.add(other.name)
                    queue.append((other, (*path, other.name)))
        return None

    def way(self, host: str, peer: str) -> str | None:
        """The network of a host by which it reaches a peer; None when there is no path."""
        path = self.between(host, peer)
        if path is None:
            return None
        first = self.hosts[path[0] if path else peer]
        return next((n for n in self.hosts[host].networks if n in first.networks), None)

    def needed(self, named: Iterable[str]) -> tuple[str, ...]:
        """The hosts that must be up for the named ones to work: they, what they depend on, and the routers between."""
        wanted: dict[str, None] = {}
        queue = deque(named)
        while queue:
            name = queue.popleft()
            if name not in wanted and name in self.hosts:
                wanted[name] = None
                queue.extend(self.hosts[name].depends_on)
        networks = {network for name in wanted for network in self.hosts[name].networks}
        if len(networks) > 1:
            wanted |= dict.fromkeys(name for name, host in self.hosts.items() if host.is_router)
        return tuple(name for name in self.hosts if name in wanted)

    def routes(self, name: str, up: Iterable[str]) -> tuple[Route, ...]:
        """How the named host reaches the networks it is not on, through routers that are up; the nearest router first.

        A host sends everything to its router (`default`); a router knows each far network by name of its subnet.
        """
        host = self.hosts[name]
        routers = [self.hosts[n] for n in up if self.hosts[n].is_router and n != name]
        if not host.is_router:
            near = next((r for r in routers if set(r.networks) & set(host.networks)), None)
            return self._routes_via(host, near, ("default", "default")) if near else ()
        found: list[Route] = []
        reached = set(host.networks)
        queue: deque[tuple[Host, Host]] = deque((r, r) for r in routers if set(r.networks) & reached)
        while queue:
            router, first = queue.popleft()
            for network in router.networks:
                if network not in reached:
                    reached.add(network)
                    subnet = self.networks[network]
                    found += self._routes_via(host, first, (subnet.ipv4, subnet.ipv6 or ""))
                    queue.extend((r, first) for r in routers if network in r.networks and r is not router)
        return tuple(found)

    def gateways(self, name: str) -> tuple[str, ...]:
        """The addresses of the machine's own ends of a host's networks, Docker's bridges: those that nothing may be sent to."""
        subnets = [self.networks[network] for network in self.hosts[name].networks]
        return tuple(gateway for subnet in subnets for gateway in (subnet.gateway, subnet.gateway6) if gateway)

    def _routes_via(self, host: Host, router: Host, to: tuple[str, str]) -> tuple[Route, ...]:
        shared = next(network for network in host.networks if network in router.networks)
        addresses = (router.addresses or {}).get(shared, ())
        return tuple(Route(to[":" in address], address) for address in addresses if to[":" in address])

    def names_for(self, name: str, up: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """What the named host must find in its hosts file: every other host by the address nearest to it."""
        own = self.hosts[name]
        found = {}
        for other in up:
            host = self.hosts[other]
            network = next((n for n in host.networks if n in own.networks), host.networks[0])
            found[other] = (host.addresses or {}).get(network, ())
        return found


def block_subnets(networks: Mapping[str, bool], hosts: Iterable[Host], block: int) -> dict[str, Subnet]:
    """Cut block `block` (0 to 511) of the pool into one subnet for each network (name -> whether it has IPv6).

    Raises ValueError when the lab does not fit into one block.
    """
    base = int(POOL.network_address) + block * 2 ** (32 - BLOCK_PREFIX)
    prefix = BLOCK_PREFIX + max(0, math.ceil(math.log2(max(1, len(networks)))))
    fullest = max((sum(n in h.networks for h in hosts) for n in networks), default=0)
    if fullest + 3 > 2 ** (32 - prefix):
        raise ValueError(
            f"{fullest} hosts on each of {len(networks)} networks do not fit into a /{BLOCK_PREFIX}"
        )
    found = {}
    for index, (name, ipv6) in enumerate(networks.items()):
        net = ipaddress.ip_network((base + index * 2 ** (32 - prefix), prefix))
        six = f"{POOL6}:{block << 7 | index:x}" if ipv6 else None
        found[name] = Subnet(
            str(net), str(net[1]), f"{six}::/64" if six else None, f"{six}::1" if six else None
        )
    return found


def addressed(lab: Lab, block: int) -> Lab:
    """The same lab with every host's addresses taken from block `block` of the pool. Raises ValueError."""
    subnets = block_subnets(
        {n: s.ipv6 is not None for n, s in lab.networks.items()}, list(lab.hosts.values()), block
    )
    hosts = {}
    free = {name: _host_numbers(ipaddress.ip_network(subnet.ipv4)) for name, subnet in subnets.items()}
    # Routers first, so that a router is .2 on every network and a reader of a capture knows it by sight.
    for host in sorted(lab.hosts.values(), key=lambda h: not h.is_router):
        addresses = {}
        for network in host.networks:
            number, subnet = next(free[network]), subnets[network]
            cut = [s for s in (subnet.ipv4, subnet.ipv6) if s]
            addresses[network] = tuple(str(ipaddress.ip_network(s)[number]) for s in cut)
        hosts[host.name] = replace(host, addresses=addresses)
    return replace(lab, hosts={name: hosts[name] for name in lab.hosts}, networks=subnets)


def _host_numbers(subnet: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Iterator[int]:
    """The numbers that hosts may have in a subnet, in order of use: 2, 4, 7, 8, 11, ..., then those between.

    Before version 28 Docker's engine makes a MAC address of the IPv4 address. `link: {corrupt}` flips one bit, and if that
    made one host's MAC address another's, the bridge would learn that the other is behind the first's port, and send it
    nothing until it speaks. So hosts differ in two bits at least, as long as half of the numbers suffice.
    """
    numbers = range(2, subnet.num_addresses - 1)  # 1 is the gateway's
    return iter(sorted(numbers, key=lambda number: number.bit_count() % 2 == 0))


def from_compose(config: Mapping[str, Any], path: Path) -> Lab:
    """A lab from a compose file's content, as written or as `docker compose config --format json` gives it.

    Addresses are those of block 0, good for explaining; a run takes a free block with `addressed`.
    Services that have no network namespace of their own (`network_mode`), or that come up only when a profile is asked
    for, are no hosts. A service of several replicas is one host. Raises ScenarioError.
    """
    services = config.get("services")
    if not isinstance(services, Mapping) or not services:
        raise ScenarioError(
            [Problem(str(path), 1, 1, "this compose file has no services, so the lab would have no hosts")]
        )
    hosts, no_hosts = {}, {}
    for name, raw in services.items():
        service = {} if raw is None else raw
        if not isinstance(name, str) or not isinstance(service, Mapping):
            raise _unusable(path, f"the service {name} must be a mapping under a name")
        if why := next((key for key in ("network_mode", "profiles") if service.get(key)), None):
            no_hosts[name] = f"{why}: {_shown(service[why])}"
            continue
        labels = from_label_list(service.get("labels"))
        role = labels.get(ROLE)
        if role not in (None, ROUTER) and "$" not in str(role):  # Compose alone knows what a variable is
            near = did_you_mean(str(role), [ROUTER], "a host that forwards is a router, any other has no role", cutoff=0.5)
            raise _unusable(path, f"the service {name} has {ROLE}: {shorten(str(role))}, and there is no such role{near}")
        hosts[name] = Host(
            name=name,
            networks=_words(service.get("networks"), path, f"networks: of the service {name}") or ("default",),
            is_router=role == ROUTER,
            programs=labels.get(PROGRAMS),
            depends_on=_words(service.get("depends_on"), path, f"depends_on: of the service {name}"),
            ports=tuple(dict.fromkeys(
                _ports(service.get("expose")) + _ports(service.get("ports")) + _asked(service.get("healthcheck"))
            )),
        )
    if not hosts:
        raise _unusable(path, "every service here has a network_mode or a profile, so the lab would have no hosts")
    defined = config.get("networks") or {}
    if not isinstance(defined, Mapping) or not all(v is None or isinstance(v, Mapping) for v in defined.values()):
        raise _unusable(path, "networks: must be a mapping of names to mappings")
    used = dict.fromkeys(network for host in hosts.values() for network in host.networks)
    networks = {
        name: Subnet("", "", "yes" if _is_on((defined.get(name) or {}).get("enable_ipv6")) else None) for name in used
    }
    try:
        return addressed(Lab(path, hosts, networks, no_hosts), 0)
    except ValueError as error:
        raise _unusable(path, str(error)) from None


def _shown(value: object) -> str:
    return shorten(f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value))


def _is_on(value: object) -> bool:
    """Whether a switch is, as Compose reads one from a boolean or from text."""
    return value is not None and str(value).lower() not in _OFF


def _ports(value: object) -> tuple[int, ...]:
    """The TCP ports inside the container, of compose's short ("8080:80/tcp", 80) and long ({target: 80}) forms."""
    found: list[int] = []
    for item in value if isinstance(value, list) else ():
        long = item if isinstance(item, Mapping) else {}
        text = str(long.get("target", "") if long else item)
        port, _, protocol = text.rpartition(":")[2].partition("/")
        if (long.get("protocol") or protocol or "tcp") == "tcp":
            found += _port(port)
    return tuple(found)


def _port(text: str) -> tuple[int, ...]:
    """The port that a text is; none where it is no port, but a range or a variable."""
    number = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    return (number,) if 0 < number <= _MAX_PORT else ()


def _asked(healthcheck: object) -> tuple[int, ...]:
    """The ports of its own that a service's health check speaks to, as in `curl http://localhost:8080/`."""
    test = healthcheck.get("test") if isinstance(healthcheck, Mapping) else None
    text = " ".join(map(str, test)) if isinstance(test, list) else str(test or "")
    return tuple(port for written in _OWN_PORT.findall(text) for port in _port(written))


def _unusable(path: Path, why: str) -> ScenarioError:
    return ScenarioError([Problem(str(path), 1, 1, f"this compose file cannot be a lab: {why}")])


def _words(value: object, path: Path, what: str) -> tuple[str, ...]:
    """The names in a list or the keys of a mapping, as Compose allows either."""
    if value is None:
        return ()
    if not isinstance(value, list | Mapping) or not all(isinstance(word, str) for word in value):
        raise _unusable(path, f"{what} must be a list of names or a mapping")
    if isinstance(value, Mapping) and not all(v is None or isinstance(v, Mapping) for v in value.values()):
        raise _unusable(path, f"{what} must be a mapping of names to mappings")
    return tuple(value)


def read_lab(path: Path) -> Lab:
    """The lab in a compose file, read without Docker, as far as planning needs it. Raises ScenarioError."""
    config = read(path)
    if "include" in config:  # what it adds is known to Compose alone, so nobody could name it or say what it is
        whole = f"`docker compose -f {path.name} config` prints one file of all"
        raise _unusable(path, f"`include:` is not followed here; name the included file itself, or one of all: {whole}")
    return from_compose(config, path)


def from_label_list(raw: object) -> dict[str, str]:
    """Labels (or sysctls) from either of the two forms Compose allows."""
    if isinstance(raw, Mapping):
        return {str(key): "" if value is None else str(value) for key, value in raw.items()}
    if isinstance(raw, list):
        return dict(str(item).partition("=")[::2] for item in raw)
    return {}


# A host's own name may have 64 bytes in the kernel (HOST_NAME_MAX, gethostname(2)), 63 as a label (RFC 1035).
HOSTNAME_MAX = 63
# What a run's copy must not keep: names and ports that two runs would fight over, ways out of the lab, how often it is there.
_DROPPED = (
    "container_name",
    "ports",
    "build",
    "restart",
    "extra_hosts",
    "network_mode",
    "links",
    "external_links",
    "scale",
)


def render(
    config: Mapping[str, Any],
    lab: Lab,
    up: Iterable[str],
    project: str,
    labels: Mapping[str, str],
    images: Mapping[str, str],
) -> dict[str, Any]:
    """The compose file for one run: its own project name, subnets, addresses, names and labels.

    `config` is the whole file as Compose resolved it, `lab` has the run's addresses, `up` are the hosts to keep,
    `labels` go onto everything that is created, `images` names the image to use for services that had none.
    """
    up = tuple(up)
    services = {}
    for name in up:
        host = lab.hosts[name]
        service = {key: value for key, value in config["services"][name].items() if key not in _DROPPED}
        service["image"] = images.get(name, service.get("image"))
        service["pull_policy"] = "never"
        service["restart"] = "no"
        service.setdefault("hostname", name[:HOSTNAME_MAX])
        if isinstance(deploy := service.get("deploy"), Mapping):
            service["deploy"] = {key: value for key, value in deploy.items() if key != "replicas"}
        service["labels"] = {**from_label_list(service.get("labels")), **labels, "labctl.host": name}
        service["networks"] = {
            network: _attachment(config["services"][name], network, (host.addresses or {})[network])
            for network in host.networks
        }
        service["extra_hosts"] = [
            f"{other}:{address}" for other, found in lab.names_for(name, up).items() for address in found
        ]
        # Names that are no host of the lab must not be asked of the machine's own resolver: nothing leaves the lab.
        service["dns"] = ["127.0.0.1"]
        service["dns_opt"] = ["timeout:1", "attempts:1"]
        service["depends_on"] = {k: v for k, v in _depends(service.get("depends_on")).items() if k in up}
        if host.is_router:
            service["sysctls"] = {**from_label_list(service.get("sysctls")), "net.ipv4.ip_forward": "1"}
            if 6 in lab.families:
                service["sysctls"]["net.ipv6.conf.all.forwarding"] = "1"
        services[name] = service
    networks = {
        n: _network(lab.networks[n], labels)
        for n in dict.fromkeys(n for name in up for n in lab.hosts[name].networks)
    }
    rendered: dict[str, Any] = {"name": project, "services": services, "networks": networks}
    for kind in ("volumes", "configs", "secrets"):
        if config.get(kind):
            rendered[kind] = {
                n: _private(value, labels if kind == "volumes" else None) for n, value in config[kind].items()
            }
    return rendered


def _attachment(service: Mapping[str, Any], network: str, addresses: tuple[str, ...]) -> dict[str, Any]:
    networks = service.get("networks")
    given = (networks.get(network) or {}) if isinstance(networks, Mapping) else {}
    fixed = {"ipv6_address" if ":" in address else "ipv4_address": address for address in addresses}
    return {**{k: v for k, v in given.items() if k in ("aliases", "priority")}, **fixed}


def _network(subnet: Subnet, labels: Mapping[str, str]) -> dict[str, Any]:
    config = [{"subnet": subnet.ipv4, "gateway": subnet.gateway}]
    if subnet.ipv6 and subnet.gateway6:
        config.append({"subnet": subnet.ipv6, "gateway": subnet.gateway6})
    return {
        "driver": "bridge",
        # Docker 28 drops bridged transit to container addresses unless the gateway mode is "routed" (troubleshooting.md).
        "driver_opts": {
            "com.docker.network.bridge.gateway_mode_ipv4": "routed",
            **({"com.docker.network.bridge.gateway_mode_ipv6": "routed"} if subnet.ipv6 else {}),
            # Until a host has its routes, what it sends goes to its bridge. Older engines then let it through for an instant,
            # whenever they make another network, and a connection that was made so from an address that is not the host's is
            # no one's when the router takes over (troubleshooting.md). `routed` implies this on Docker 28.
            "com.docker.network.bridge.enable_ip_masquerade": "false",
        },
        "enable_ipv6": bool(subnet.ipv6),
        "ipam": {"config": config},
        "labels": dict(labels),
    }


def _private(value: Mapping[str, Any] | None, labels: Mapping[str, str] | None) -> dict[str, Any]:
    kept = {key: item for key, item in (value or {}).items() if key not in ("name", "external")}
    return {**kept, "labels": dict(labels)} if labels is not None else kept


def _depends(raw: object) -> dict[str, Any]:
    if isinstance(raw, Mapping):
        return dict(raw)
    return {str(name): {"condition": "service_started"} for name in raw} if isinstance(raw, list) else {}


def mentioned(text: str, names: Iterable[str]) -> tuple[str, ...]:
    """Which of the host names stand as whole words in a command's argument (`server`, `http://server:80/`)."""
    words = set(re.findall(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", text))
    words |= {part for word in words for part in word.split(".")}
    return tuple(name for name in names if name in words)
