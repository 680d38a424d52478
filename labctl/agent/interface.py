"""An interface that is taken down or gets another MTU, and afterwards is exactly as it was.

Taking an interface down deletes every route that uses it, and its IPv6 addresses (net/ipv4/fib_frontend.c, net/ipv6/addrconf.c;
an MTU below 1280 does the same to IPv6). So routes and addresses are read before, and what is missing afterwards, but for
what the kernel makes itself, is added again.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .action import ActionFailed, Commands, Impossible, failed
from .claims import is_held
from .command import Ran, Runner, run

ROUTE_ATTEMPTS = 3
CARRIER_TIMEOUT_S = 2.0
POLL_S = 0.001
PERMANENT = 0xFFFFFFFF
NOTE = "labctl has changed it; its MTU was "
LEAST_V6 = 1280
# What `ip route show` says of a route and `ip route add` does not take.
_STATES = ("dead", "linkdown", "offload", "trap", "rt_offload", "rt_trap", "offload_failed")


Route = tuple[str, tuple[str, ...]]  # -4 or -6, and its words as `ip route add` takes them
Address = tuple[str, ...]


@dataclass
class Changed:
    """An interface that faults have changed: what it was before, and by which of them it is changed now.

    It is down as long as one wants that, and carries what the smallest MTU allows; the last to go leaves it as it was.
    """

    mtu: int
    alias: str
    routes: list[Route] = field(default_factory=list)
    addresses: list[Address] = field(default_factory=list)
    by: list[Interface] = field(default_factory=list)

    @property
    def is_down(self) -> bool:
        return any(one.mtu is None for one in self.by)

    @property
    def least(self) -> int:
        """The MTU that it is to have, in bytes."""
        return min([self.mtu, *(one.mtu for one in self.by if one.mtu is not None)])


@dataclass
class Interface:
    """One fault that makes an interface worse, with the commands (`rules`) that go with it and the counters that prove it.

    `kernel` names counters of this network namespace as /proc/net/snmp and /proc/net/netstat do (Ip.OutNoRoutes), or of the
    interface (rx_dropped); by how much they grew is added to what the rules counted. `changed` has every interface that this
    agent has changed, by its name; the journal does one fault at a time.
    """

    device: str
    mtu: int | None
    rules: Commands
    kernel: tuple[str, ...] = ()
    changed: dict[str, Changed] = field(default_factory=dict, repr=False, compare=False)
    runner: Runner = run
    _routes: list[Route] = field(default_factory=list)
    _addresses: list[Address] = field(default_factory=list)
    _counted: dict[str, int] = field(default_factory=dict)
    _is_staged: bool = False

    @classmethod
    def parse(cls, request: dict[str, Any], changed: dict[str, Changed] | None = None) -> Interface:
        """From its JSON: {"device": "eth0", "mtu": 600 or null for down, "kernel": [...]} and what Commands takes."""
        rules = Commands.parse({"ahead": len(request["changes"]), **request})
        return cls(request["device"], request["mtu"], rules, tuple(request["kernel"]), {} if changed is None else changed)

    def claims(self) -> list[str]:
        """What it shares with no other agent: the interface, which each would set back to what it had found."""
        return [claim_of(self.device)]

    def stage(self) -> None:
        if (there := self.changed.get(self.device)) is not None:  # what is missing now is not what was missing before
            self._routes, self._addresses = list(there.routes), list(there.addresses)
        self._addresses += [address for address in self._addresses_now() if address not in self._addresses]
        self._routes += [route for route in self._routes_now() if route not in self._routes]
        if self.mtu is not None and (why := self._why_not(self.mtu, there.mtu if there else self._mtu())):
            raise Impossible(why)
        self.rules.stage()  # all of them: they only count, or drop what the interface makes happen
        self._is_staged = True

    def _why_not(self, mtu: int, was: int) -> str | None:
        """Why it cannot get this MTU; None when it can."""
        if mtu >= was:
            return f"{self.device} carries no more than {was} bytes already; write a smaller size"
        if mtu < LEAST_V6 and self._addresses:
            # The kernel would forget all of the interface's IPv6 settings, and those cannot be restored from a container.
            return f"{self.device} has IPv6, which ends below {LEAST_V6} bytes (RFC 8200, 5)"
        return None

    def do(self) -> list[Ran]:
        if not self._is_staged:
            self.stage()
        done = self.rules.do()
        self._counted = self._counters()
        if (it := self.changed.get(self.device)) is None:
            it = self.changed[self.device] = Changed(self._mtu(), alias_of(self.device))
        it.routes += [route for route in self._routes if route not in it.routes]
        it.addresses += [address for address in self._addresses if address not in it.addresses]
        note = () if it.by or it.alias else ("alias", f"{NOTE}{it.mtu}")
        it.by.append(self)
        ran = self._set(it, note)
        if not ran.ok:
            if ran.exit is not None:  # refused, so there is nothing of it to take back
                self._leave(it)
            self.undo()
            raise ActionFailed([*done, ran])
        return [*done, ran]

    def _set(self, it: Changed, alias: tuple[str, ...]) -> Ran:
        """Have the interface be as all that change it want it.

        What it was is kept in its alias, which outlives this agent: `sweep` mends it should nobody else do so. An interface
        that has an alias keeps it.
        """
        state = ("mtu", str(it.least)) if self.mtu is not None else ("down" if it.is_down else "up",)
        return self.runner(("ip", "link", "set", "dev", self.device, *state, *alias))

    def _leave(self, it: Changed) -> None:
        it.by = [one for one in it.by if one is not self]
        if not it.by:
            self.changed.pop(self.device, None)

    def undo(self) -> list[Ran]:
        it = self.changed.get(self.device)
        if it is None or all(one is not self for one in it.by):
            return self.rules.undo()
        self._leave(it)
        ran = [self._set(it, () if it.by or it.alias else ("alias", ""))]
        if ran[0].ok and not it.is_down:
            try:
                ran += self._add_missing(it)
            except ActionFailed as error:
                ran += error.ran
            self._wait_for_carrier()
        if failed(ran):  # tried again when it is asked for again
            it.by.append(self)
            self.changed[self.device] = it
        return [*ran, *self.rules.undo()]

    def count(self) -> int:
        now = self._counters()
        return self.rules.count() + sum(max(0, now[name] - before) for name, before in self._counted.items())

    def about(self) -> dict[str, Any]:
        """Which interface it is, by its real name."""
        return {"interface": self.device}

    def _add_missing(self, it: Changed) -> list[Ran]:
        ran = []
        has_room = it.least >= LEAST_V6  # for IPv6, whose routes and addresses come back with it
        addresses = self._addresses_now() if it.addresses else []
        for words in it.addresses if has_room else ():
            if words not in addresses:
                ran.append(self.runner(("ip", "-6", "address", "add", *words, "dev", self.device, "nodad")))
        wanted = [route for route in it.routes if has_room or route[0] == "-4"]
        missing = self._missing(wanted)
        for attempt in range(ROUTE_ATTEMPTS):  # a route may need another one to reach its gateway
            if not missing:
                break
            added = [self.runner(("ip", family, "route", "add", *words)) for family, words in missing]
            missing = self._missing(wanted)
            ran += added if attempt == ROUTE_ATTEMPTS - 1 else [r for r in added if r.ok]
        return ran

    def _missing(self, wanted: list[Route]) -> list[Route]:
        there = self._list_routes(list(dict.fromkeys(family for family, _ in wanted)))
        return [route for route in wanted if route not in there]

    def _routes_now(self) -> list[Route]:
        """Every route that uses the device and may go.

        No MTU that can be asked for takes IPv4's away (net/ipv4/devinet.c, inetdev_valid_mtu).
        """
        return self._list_routes([*(["-4"] if self.mtu is None else []), *(["-6"] if self._has_ipv6() else [])])

    def _list_routes(self, families: list[str]) -> list[Route]:
        found = []
        for family in families:
            listing = self.runner(("ip", "-o", family, "route", "show", "table", "all"))
            if not listing.ok:
                raise ActionFailed([listing])
            for line in listing.out.splitlines():
                words = [w for w in line.replace("\\", " ").split() if w not in _STATES]
                pairs = set(itertools.pairwise(words))
                # What the kernel made it makes again, and what expires a router will announce again.
                if ("dev", self.device) in pairs and ("proto", "kernel") not in pairs and "expires" not in words:
                    found.append((family, tuple(words)))
        return found

    def _addresses_now(self) -> list[Address]:
        """The permanent IPv6 addresses that somebody gave it: the kernel makes link-local ones itself."""
        if not self._has_ipv6():
            return []
        listing = self.runner(("ip", "-json", "-6", "address", "show", "dev", self.device))
        if not listing.ok:
            raise ActionFailed([listing])
        return [
            (f"{a['local']}/{a['prefixlen']}", "scope", a["scope"])
            for link in json.loads(listing.out or "[]")
            for a in link.get("addr_info", ())
            if a["family"] == "inet6" and a["scope"] != "link" and a.get("valid_life_time", PERMANENT) == PERMANENT
        ]

    def _has_ipv6(self) -> bool:
        """Whether it has IPv6 now, or had before: two commands that most labs need not wait for."""
        had = bool(self._addresses) or any(family == "-6" for family, _ in self._routes)
        return had or any(words[-1] == self.device for words in _lines("/proc/net/if_inet6"))

    def _mtu(self) -> int:
        return int(self._file("mtu").read_text())

    def _wait_for_carrier(self) -> None:
        deadline = time.monotonic() + CARRIER_TIMEOUT_S
        with contextlib.suppress(OSError):
            while self._file("operstate").read_text().strip() == "down" and time.monotonic() < deadline:
                time.sleep(POLL_S)

    def _counters(self) -> dict[str, int]:
        known = kernel_counters()
        for path in self._file("statistics").glob("*_dropped"):
            known[path.name] = int(path.read_text())
        return {name: known.get(name, 0) for name in self.kernel}

    def _file(self, name: str) -> Path:
        return Path("/sys/class/net", self.device, name)


def alias_of(device: str) -> str:
    """Its alias (ip-link(8)); empty when it has none, or is gone."""
    with contextlib.suppress(OSError):
        return Path("/sys/class/net", device, "ifalias").read_text().strip()
    return ""


def claim_of(device: str) -> str:
    """The name that is held while somebody has changed the interface."""
    return f"interface {device}"


def mend() -> list[Ran]:
    """Set interfaces up, and their MTU back, that an agent which was killed has left otherwise; routes it cannot know."""
    ran = []
    for path in sorted(Path("/sys/class/net").iterdir()):
        alias = alias_of(path.name)
        if alias.startswith(NOTE) and alias[len(NOTE) :].isdecimal() and not is_held(claim_of(path.name)):
            ran.append(run(("ip", "link", "set", "dev", path.name, "mtu", alias[len(NOTE) :], "up", "alias", "")))
    return ran


def kernel_counters() -> dict[str, int]:
    """The counters of this network namespace, by RFC 4293's names: Ip.OutNoRoutes, IpExt.InNoRoutes, Ip6OutNoRoutes …"""
    found: dict[str, int] = {}
    for path in ("/proc/net/snmp", "/proc/net/netstat"):
        lines = _lines(path)
        for names, values in zip(lines[::2], lines[1::2], strict=False):
            group = names[0].rstrip(":")
            found |= {f"{group}.{name}": int(value) for name, value in zip(names[1:], values[1:], strict=True)}
    return found | {words[0]: int(words[1]) for words in _lines("/proc/net/snmp6") if len(words) == 2}


def _lines(path: str) -> list[list[str]]:
    with contextlib.suppress(FileNotFoundError), Path(path).open() as file:
        return [line.split() for line in file if line.strip()]
    return []
