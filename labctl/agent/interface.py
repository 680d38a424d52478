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

from .action import ActionFailed, Commands, failed
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


@dataclass
class Interface:
    """One interface made worse, with the commands (`rules`) that go with it and the kernel's counters that prove it.

    `kernel` names counters of this network namespace as /proc/net/snmp and /proc/net/netstat do (Ip.OutNoRoutes), or of the
    interface (rx_dropped); by how much they grew is added to what the rules counted.
    """

    device: str
    mtu: int | None
    rules: Commands
    kernel: tuple[str, ...] = ()
    runner: Runner = run
    _before: dict[str, Any] | None = None
    _counted: dict[str, int] = field(default_factory=dict)
    _is_done: bool = False

    @classmethod
    def parse(cls, request: dict[str, Any]) -> Interface:
        """From its JSON: {"device": "eth0", "mtu": 600 or null for down, "kernel": [...]} and what Commands takes."""
        rules = Commands.parse({"ahead": len(request["changes"]), **request})
        return cls(request["device"], request["mtu"], rules, tuple(request["kernel"]))

    def claims(self) -> list[str]:
        """What it shares with no other agent: the interface, which each would set back to what it had found."""
        return [claim_of(self.device)]

    def stage(self) -> None:
        self._before = {
            "mtu": self._mtu(), "routes": self._routes(), "addresses": self._addresses(), "alias": alias_of(self.device),
        }  # fmt: skip
        if self.mtu is not None and self.mtu < LEAST_V6 and self._before["addresses"]:
            # The kernel would forget all of the interface's IPv6 settings, and those cannot be restored from a container.
            argv = ("ip", "link", "set", "dev", self.device, "mtu", str(self.mtu))
            why = f"{self.device} has IPv6, which ends below {LEAST_V6} bytes (RFC 8200, 5)"
            raise ActionFailed([Ran(argv, None, "", why, 0.0)])
        self.rules.stage()  # all of them: they only count, or drop what the interface makes happen

    def do(self) -> list[Ran]:
        if self._before is None:
            self.stage()
        done = self.rules.do()
        self._counted = self._counters()
        self._is_done = True
        state = ("down",) if self.mtu is None else ("mtu", str(self.mtu))
        ran = self.runner(("ip", "link", "set", "dev", self.device, *state, *self._note()))
        if not ran.ok:
            self._is_done = ran.exit is None
            self.undo()
            raise ActionFailed([*done, ran])
        return [*done, ran]

    def _note(self) -> tuple[str, ...]:
        """What it was, kept in the interface's alias, which outlives this agent: `sweep` mends it should nobody else do so.

        An interface that has an alias keeps it.
        """
        assert self._before is not None
        return () if self._before["alias"] else ("alias", f"{NOTE}{self._before['mtu']}")

    def undo(self) -> list[Ran]:
        ran = self._restore() if self._is_done else []
        self._is_done = bool(failed(ran))
        return [*ran, *self.rules.undo()]

    def count(self) -> int:
        now = self._counters()
        return self.rules.count() + sum(max(0, now[name] - self._counted[name]) for name in self.kernel)

    def about(self) -> dict[str, Any]:
        """Which interface it is, by its real name."""
        return {"interface": self.device}

    def _restore(self) -> list[Ran]:
        assert self._before is not None
        state = ("up",) if self.mtu is None else ("mtu", str(self._before["mtu"]))
        alias = () if self._before["alias"] else ("alias", "")
        ran = [self.runner(("ip", "link", "set", "dev", self.device, *state, *alias))]
        if ran[0].ok:
            ran += self._add_missing()
            self._wait_for_carrier()
        return ran

    def _add_missing(self) -> list[Ran]:
        ran = []
        addresses = self._addresses()
        for words in self._before["addresses"] if self._before else ():
            if words not in addresses:
                ran.append(self.runner(("ip", "-6", "address", "add", *words, "dev", self.device, "nodad")))
        missing = self._missing_routes()
        for attempt in range(ROUTE_ATTEMPTS):  # a route may need another one to reach its gateway
            added = [self.runner(("ip", family, "route", "add", *words)) for family, words in missing]
            missing = self._missing_routes()
            ran += added if attempt == ROUTE_ATTEMPTS - 1 else [r for r in added if r.ok]
            if not missing:
                break
        return ran

    def _missing_routes(self) -> list[tuple[str, tuple[str, ...]]]:
        now = self._routes()
        return [route for route in (self._before or {})["routes"] if route not in now]

    def _routes(self) -> list[tuple[str, tuple[str, ...]]]:
        """(-4 or -6, words of the route) of every route that uses the device and may go, as `ip route add` takes it.

        No MTU that can be asked for takes IPv4's away (net/ipv4/devinet.c, inetdev_valid_mtu).
        """
        found = []
        for family in [*(["-4"] if self.mtu is None else []), *(["-6"] if self._has_ipv6() else [])]:
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

    def _addresses(self) -> list[tuple[str, ...]]:
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
        before = self._before or {"addresses": [], "routes": []}
        had = bool(before["addresses"]) or any(family == "-6" for family, _ in before["routes"])
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
