"""Segmentation offloads off while netem is on: it must see packets as they are on the wire (ethtool(8), -K).

A qdisc gets what TCP made, and since Linux 4.17 TCP always makes super-packets for the device to cut (net/core/sock.c,
sk_setup_caps); cutting happens after the qdisc. Only a device that says gso_max_segs 1 makes TCP send single segments. Packets
that were cut nowhere on their way arrive as super-packets too, so this is for every interface of a lab, not just the one
with the fault. The nfqueue backend needs none of it: the kernel cuts packets before it queues them.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import socket
import struct

from . import batch
from .command import Ran, run

SIOCETHTOOL = 0x8946
GFEATURES, SFEATURES = 0x3A, 0x3B  # linux/ethtool.h
STSO, SGSO, SGRO = 0x1F, 0x24, 0x2C
MOST_BLOCKS = 4
NOWHERE = "192.0.2.255/32"  # RFC 5737, for documentation: nobody is there


class Offloads:
    """One interface's segmentation offloads, switched off and later exactly as they were."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._before: list[int] = []
        self._segments: int | None = None

    def off(self) -> list[Ran]:
        """Switch tso, gso and gro off and let nothing send more than one segment at once. What a device lacks is left out."""
        self._before = self._requested()
        for number in (STSO, SGSO, SGRO):
            with contextlib.suppress(OSError):
                self._ethtool(array.array("I", [number, 0]))
        shown = run(("ip", "-d", "-j", "link", "show", "dev", self._device))
        if shown.ok:
            self._segments = json.loads(shown.out)[0].get("gso_max_segs")
        return [*self._limit(1), *_forget_routes()] if self._segments not in (None, 1) else []

    def restore(self) -> list[Ran]:
        """As they were before `off`; only the bits that differ are asked for."""
        changed = [
            (before ^ now, before) for before, now in zip(self._before, self._requested(), strict=True)
        ] if self._before else []  # fmt: skip
        if any(valid for valid, _ in changed):
            words = [SFEATURES, len(changed), *(word for pair in changed for word in pair)]
            with contextlib.suppress(OSError):  # the interface is gone, and its features with it
                self._ethtool(array.array("I", words))
        self._before = []
        segments, self._segments = self._segments, None
        return [*self._limit(segments), *_forget_routes()] if segments is not None and segments != 1 else []

    def _limit(self, segments: int) -> list[Ran]:
        return batch.ip([("ip", "link", "set", "dev", self._device, "gso_max_segs", str(segments))])

    def _requested(self) -> list[int]:
        """Which features are asked of the device, 32 in a word; empty when it cannot be asked."""
        buffer = array.array("I", [GFEATURES, MOST_BLOCKS, *([0] * 4 * MOST_BLOCKS)])
        try:
            self._ethtool(buffer)
        except OSError:
            return []
        # struct ethtool_get_features_block: available, requested, active, never_changed
        return [buffer[2 + 4 * i + 1] for i in range(buffer[1])]

    def _ethtool(self, buffer: array.array[int]) -> None:
        address, _ = buffer.buffer_info()
        request = self._device.encode().ljust(16, b"\0") + struct.pack("P", address) + bytes(16)  # struct ifreq
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            fcntl.ioctl(probe.fileno(), SIOCETHTOOL, request)


def _forget_routes() -> list[Ran]:
    """Make open connections look at the device again: any change of a route does (fib_trie.c calls rt_cache_flush)."""
    return batch.ip([("ip", "route", verb, "unreachable", NOWHERE) for verb in ("add", "del")])
