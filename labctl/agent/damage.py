"""How many packets this kernel threw away for a wrong checksum, by protocol, since its network namespace was made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

NET = Path("/proc/self/net")
PROTOCOLS = ("tcp", "udp", "icmp")


def damaged(net: Path = NET) -> dict[str, int]:
    """Counted for IPv4 and IPv6 together (RFC 4293; proc_pid_net(5), snmp and snmp6). TCP has one counter for both."""
    counts = dict(_counters(net))
    return {
        name: counts.get(f"{name.capitalize()}InCsumErrors", 0) + counts.get(f"{name.capitalize()}6InCsumErrors", 0)
        for name in PROTOCOLS
    }


def _counters(net: Path) -> Iterator[tuple[str, int]]:
    """`snmp` has a line of names and a line of numbers for each protocol, `snmp6` a name and a number in each line."""
    lines = [line.split() for line in (net / "snmp").read_text(encoding="ascii").splitlines()]
    for names, numbers in zip(lines[::2], lines[1::2], strict=False):
        protocol = names[0].removesuffix(":")
        yield from ((protocol + name, int(number)) for name, number in zip(names[1:], numbers[1:], strict=False))
    if (net / "snmp6").exists():  # not without IPv6
        for line in (net / "snmp6").read_text(encoding="ascii").splitlines():
            name, number = line.split()
            yield name, int(number)
