"""Putting packets back on the wire as frames: copies that netfilter must not see again.

A packet that a local program sent must not wait in NFQUEUE: its socket would be charged for it all the while (TCP small
queues, SO_SNDBUF), where netem lets the socket go as soon as it delays (sch_netem.c, skb_orphan_partial). So it is taken out,
dropped there, and sent as a frame when its time has come.
"""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
import time

from .netlink import NETLINK_ROUTE, NLM_F_REQUEST, ask, attribute, attributes, message

RTM_GETROUTE, RTM_GETNEIGH = 26, 30  # linux/rtnetlink.h
RTA_DST, RTA_OIF, RTA_GATEWAY = 1, 4, 5
NDA_DST, NDA_LLADDR = 1, 2
NUD_USABLE = 0x02 | 0x04 | 0x08 | 0x10 | 0x80  # REACHABLE STALE DELAY PROBE PERMANENT, linux/neighbour.h
SIOCGIFHWADDR = 0x8927
SIOCGIFMTU = 0x8921
SO_MARK = 36
ETHERTYPE = {socket.AF_INET: b"\x08\x00", socket.AF_INET6: b"\x86\xdd"}
KEPT_S = 1.0
MOST_KEPT = 4096

MARK = 0x1AB00000
"""On packets that were put in again at the receiving side, so that they are not taken out twice."""


class Injector:
    """Sends packets of one interface as frames: out of it, or into it through an ifb device whose egress leads there."""

    def __init__(self, device: str, through: str | None = None) -> None:
        self.device = device
        self.index = socket.if_nametoindex(device)
        self._probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.own = _ifreq(self._probe, device, SIOCGIFHWADDR)[18:24]
        self.channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.channel.bind((through or device, 0))
        if through:
            self.channel.setsockopt(socket.SOL_SOCKET, SO_MARK, MARK)
        self._known: dict[bytes, tuple[float, bytes | None]] = {}

    @property
    def mtu(self) -> int:
        """The longest IP packet that the interface takes now. Raises OSError when it is gone."""
        found: int = struct.unpack_from("=i", _ifreq(self._probe, self.device, SIOCGIFMTU), 16)[0]
        return found

    def outward(self, family: int, packet: bytes) -> bytes | None:
        """The Ethernet header for a packet this host sends; None while its next hop's address is not known."""
        destination = packet[16:20] if family == socket.AF_INET else packet[24:40]
        now = time.monotonic()
        kept = self._known.get(destination)
        if kept is None or kept[0] < now:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            kept = self._known[destination] = (now + KEPT_S, self._next_hop(family, destination))
        return None if kept[1] is None else kept[1] + self.own + ETHERTYPE[socket.AddressFamily(family)]

    def inward(self, family: int, sender: bytes) -> bytes:
        """The Ethernet header for a packet that this host receives."""
        return self.own + sender + ETHERTYPE[socket.AddressFamily(family)]

    def send(self, header: bytes, packet: bytes) -> None:
        """Send one frame. Raises OSError."""
        self.channel.send(header + packet)

    def _next_hop(self, family: int, destination: bytes) -> bytes | None:
        address = ipaddress.ip_address(destination)
        if address.is_multicast or destination == b"\xff" * 4:
            return None
        try:
            hop = attributes(self._route(family, destination), 12).get(RTA_GATEWAY, destination)
            body = ask(NETLINK_ROUTE, message(
                RTM_GETNEIGH, NLM_F_REQUEST,
                struct.pack("=BBHiHBB", family, 0, 0, self.index, 0, 0, 0) + attribute(NDA_DST, hop),
            ))[0][1]  # fmt: skip
        except OSError:  # no route, or nobody there yet: the kernel is left to find out
            return None
        state = struct.unpack_from("=H", body, 8)[0]
        found = attributes(body, 12).get(NDA_LLADDR)
        return found if state & NUD_USABLE and found is not None and len(found) == 6 else None

    def _route(self, family: int, destination: bytes) -> bytes:
        header = struct.pack("=BBBBBBBBI", family, 8 * len(destination), 0, 0, 0, 0, 0, 0, 0)
        request = attribute(RTA_DST, destination) + attribute(RTA_OIF, struct.pack("=i", self.index))
        return ask(NETLINK_ROUTE, message(RTM_GETROUTE, NLM_F_REQUEST, header + request))[0][1]


def _ifreq(probe: socket.socket, device: str, number: int) -> bytes:
    return fcntl.ioctl(probe.fileno(), number, device.encode().ljust(40, b"\0"))
