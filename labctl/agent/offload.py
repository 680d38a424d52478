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
from typing import NamedTuple

from . import batch
from .claims import Claims
from .command import Ran, run

SIOCETHTOOL = 0x8946
GFEATURES, SFEATURES = 0x3A, 0x3B  # linux/ethtool.h
STSO, SGSO, SGRO = 0x1F, 0x24, 0x2C
MOST_BLOCKS = 4
NOWHERE = "192.0.2.255/32"  # RFC 5737, for documentation: nobody is there


class Before(NamedTuple):
    """What was asked of a device: its features, 32 in a word, and how many segments at once; 0 where it did not say."""

    features: tuple[int, ...]
    segments: int

    def __str__(self) -> str:
        return f"{self.segments:x}:{'.'.join(f'{word:x}' for word in self.features)}"

    @classmethod
    def parse(cls, text: str) -> Before:
        """From its text."""
        segments, _, words = text.partition(":")
        return cls(tuple(int(word, 16) for word in words.split(".") if word), int(segments, 16))


class Offloads:
    """One interface's segmentation offloads, off for as long as anybody here wants that, and later exactly as they were.

    Whoever does tells the others what they were before the first of them came, so that the last one to end knows it.
    """

    def __init__(self, device: str, claims: Claims) -> None:
        self._device, self._claims, self._name = device, claims, f"offloads {device}"
        self._before: Before | None = None
        self._telling: socket.socket | None = None

    def off(self) -> list[Ran]:
        """Switch tso, gso and gro off and let nothing send more than one segment at once. Raises TimeoutError.

        What a device lacks is left out.
        """
        with self._claims.held(self._name):
            told = self._claims.told(self._name)
            self._before = Before.parse(told[0]) if told else self.before()
            self._telling = self._claims.tell(self._name, str(self._before))
            return [] if told else self.switch_off(self._before)

    def restore(self) -> list[Ran]:
        """As they were before the first `off`, unless somebody wants them off still. Raises TimeoutError."""
        with self._claims.held(self._name):
            before, self._before = self._before, None
            if self._telling is not None:
                self._telling.close()
            return [] if before is None or self._claims.told(self._name) else self.put_back(before)

    def before(self) -> Before:
        """What is asked of the device now."""
        shown = run(("ip", "-d", "-j", "link", "show", "dev", self._device))
        segments = json.loads(shown.out)[0].get("gso_max_segs") if shown.ok else None
        return Before(tuple(self._requested()), segments or 0)

    def switch_off(self, before: Before) -> list[Ran]:
        """Have the device do none of it, which was as `before`."""
        for number in (STSO, SGSO, SGRO):
            with contextlib.suppress(OSError):
                self._ethtool(array.array("I", [number, 0]))
        return [*self._limit(1), *_forget_routes()] if before.segments > 1 else []

    def put_back(self, before: Before) -> list[Ran]:
        """Have the device do as before; only the bits that differ are asked for."""
        now = self._requested()
        is_known = bool(before.features and now)
        changed = [(was ^ is_now, was) for was, is_now in zip(before.features, now, strict=True)] if is_known else []
        if any(valid for valid, _ in changed):
            words = [SFEATURES, len(changed), *(word for pair in changed for word in pair)]
            with contextlib.suppress(OSError):  # the interface is gone, and its features with it
                self._ethtool(array.array("I", words))
        return [*self._limit(before.segments), *_forget_routes()] if before.segments > 1 else []

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
