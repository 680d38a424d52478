"""Capturing every interface of this namespace with dumpcap, bracketed by sentinel frames.

dumpcap announces nothing when it is ready and loses its tail when it is stopped at once. So a frame of our own is sent on
every interface at the beginning and at the end, and the capture is believed only when all of them are in the file: what
was captured between two packets that are there is there as well.
The frames have the ethertype that IEEE 802 sets aside for local experiments (RFC 9542, 4.) and go to an address that
bridges never forward (IEEE 802.1D, table 7-10), so that no host sees another's.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from .command import said_so_far

ETHERTYPE = 0x88B5
LINK_LOCAL_GROUP = bytes.fromhex("0180c200000e")
START_TIMEOUT_S = 10.0
# libpcap hands packets over when a block of its ring is full or 250 ms old (CAP_READ_TIMEOUT in dumpcap.c), and dumpcap takes
# up to 450 ms to stop; preloaded, our library makes that 50 and 60 ms. Without it everything works as well, and takes longer.
PRELOAD = "/usr/local/lib/labctl/dumpcap_timeouts.so"
UPDATE_MS = 1
SENTINEL_TIMEOUT_S = 20.0
RESEND_S = 0.5
END_TIMEOUT_S = 20.0
POLL_S = 0.002
BUFFER_MIB = 16
LOOPBACK_MIB = 2
# With more than one interface dumpcap moves packets through a queue of 1 MB and 1,000 packets unless told otherwise (dumpcap.c,
# main): sixteen segments of 64 KiB that were not cut yet, and what does not fit is dropped.
QUEUE_BYTES = 64 * 2**20
QUEUE_PACKETS = 200_000
STATISTICS = 5

_COUNTS = re.compile(
    r"Packets received/dropped on interface '(?P<name>[^']+)': (?P<received>\d+)/(?P<dropped>\d+)"
    r"(?: \(pcap:(?P<kernel>\d+)/dumpcap:(?P<queue>\d+))?"
)


class CaptureFailed(Exception):
    """dumpcap did not start, or ended before it was asked to; the message has its own words."""


@dataclass
class Capture:
    """One running dumpcap over some interfaces, writing one pcapng file."""

    path: Path
    interfaces: tuple[str, ...]
    token: str
    comment: str
    snaplen: int
    max_bytes: int
    filter: str | None = None
    bracketed_bytes: int = 0
    _is_interrupted: bool = False
    _process: subprocess.Popen[bytes] | None = None
    _errors: Any = field(default_factory=tempfile.TemporaryFile)

    def argv(self) -> tuple[str, ...]:
        """The dumpcap command line."""
        each = [
            word
            for name in self.interfaces
            for word in (
                "-i",
                name,
                "-s",
                str(self.snaplen),
                *self._only(),
                "-B",
                str(LOOPBACK_MIB if name == "lo" else BUFFER_MIB),
            )
        ]
        limit = max(1, self.max_bytes // 1000)
        return (
            "dumpcap", "-q", "-t", "-C", str(QUEUE_BYTES), "-N", str(QUEUE_PACKETS), *each,
            "-w", str(self.path), "-a", f"filesize:{limit}", "--update-interval", str(UPDATE_MS),
            "--capture-comment", self.comment,
        )  # fmt: skip

    def _only(self) -> tuple[str, ...]:
        """What is captured (pcap-filter(7)): all of it, or what the filter selects and, in any case, the sentinels."""
        return () if self.filter is None else ("-f", f"({self.filter}) or ether proto {ETHERTYPE:#x}")

    def start(self) -> dict[str, Any]:
        """Start, and return when every packet from now on will be in the file. Raises CaptureFailed.

        dumpcap opens its interfaces before it makes its file, so once the file is there the beginning sentinels are sent.
        They reach the file a quarter of a second later; `finish` looks for them, so that nobody waits for them here.
        """
        started = time.monotonic()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._process = subprocess.Popen(
                self.argv(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=environment(),
            )
        except OSError as error:
            raise CaptureFailed(f"dumpcap: {error.strerror}") from None
        while not self.path.exists():
            if self._process.poll() is not None or time.monotonic() - started > START_TIMEOUT_S:
                self._end()
                raise CaptureFailed(f"dumpcap made no {self.path}: {self._said() or 'it said nothing'}")
            time.sleep(POLL_S)
        for name in self.interfaces:
            _send(name, self._payload("begin", name))
        return {
            "argv": list(self.argv()),
            "interfaces": list(self.interfaces),
            "ms": (time.monotonic() - started) * 1000,
        }

    def finish(self) -> list[str]:
        """Send the end sentinels and wait until they are in the file; what is missing, of both ends, by interface.

        Nothing that comes later is wanted, so dumpcap is told to end; `stop` waits for that. `bracketed_bytes` is then the size
        of the file up to and with the block of the last sentinel that is there.
        """
        missing = {
            (which, name): self._payload(which, name)
            for which in ("begin", "end")
            for name in self.interfaces
        }
        deadline = time.monotonic() + SENTINEL_TIMEOUT_S
        offset, tail, next_send = 0, b"", 0.0
        is_last = False  # look; where there is no more to wait for, once more
        while missing and not is_last:
            is_last = time.monotonic() > deadline or self._process is None or self._process.poll() is not None
            if time.monotonic() >= next_send:
                for (which, name), payload in missing.items():
                    if which == "end":
                        _send(name, payload)
                next_send = time.monotonic() + RESEND_S
            time.sleep(POLL_S)
            fresh = b""
            with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
                file.seek(offset)
                fresh = file.read()
            offset += len(fresh)
            tail = tail[-256:] + fresh
            missing = {key: payload for key, payload in missing.items() if payload not in tail}
            if not any(which == "end" for which, _ in missing):
                break  # what came before the end and is not there now will never come
        self.bracketed_bytes = whole_blocks(self.path)
        self._interrupt()
        return [f"{which} sentinel of {name}" for which, name in missing]

    def stop(self, missing: list[str]) -> dict[str, Any]:
        """End dumpcap and say whether the capture is complete; `missing` is what `finish` answered."""
        self._end()
        cut_after(self.path, self.bracketed_bytes)
        said = self._said()
        counts = list(_COUNTS.finditer(said))
        kernel, queue = (sum(int(match[key] or 0) for match in counts) for key in ("kernel", "queue"))
        # Its own sum has what came after it was told to stop as well ("flushed": dumpcap.c, capture_loop_write_packet_cb).
        dropped = kernel + queue + sum(int(match["dropped"]) for match in counts if match["kernel"] is None)
        size = self.path.stat().st_size if self.path.exists() else 0
        reason = None
        if missing and size >= self.max_bytes // 1000 * 1000:
            reason = f"it reached its limit of {self.max_bytes} bytes"
        elif missing:
            reason = f"there is no {', no '.join(missing)} in the file"
        elif (silent := len(self.interfaces) - len(counts)) > 0:  # by number: it calls lo "Loopback: lo"
            reason = f"dumpcap has not said what was lost on {silent} of {len(self.interfaces)} interfaces"
        elif dropped:
            reason = f"{dropped} packets were lost on the way into the file (by the kernel {kernel}, by dumpcap {queue})"
        return {
            "file": str(self.path),
            "bytes": size,
            "dropped": dropped,
            "complete": reason is None,
            "reason": reason,
            "said": said,
        }

    def discard(self) -> None:
        """End it without waiting for anything, and remove what it wrote: it was fetched, or nobody is left to fetch it."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        for path in (self.path, self.path.with_suffix(".tsv")):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()

    def _payload(self, which: str, name: str) -> bytes:
        return f"labctl sentinel {which} {self.token} {name};".encode()

    def _end(self) -> None:
        """Interrupt dumpcap and wait until it has closed its file and said what the kernel dropped.

        It closes the file, then counts, then gives its rings back, which takes the kernel some 100 ms for each interface
        and is nothing to wait for.
        """
        self._interrupt()
        if self._process is None or self._process.poll() is not None:
            return
        deadline = time.monotonic() + END_TIMEOUT_S
        while self._process.poll() is None and len(_COUNTS.findall(self._said())) < len(self.interfaces):
            if time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
            time.sleep(POLL_S)

    def _interrupt(self) -> None:
        if self._process is not None and not self._is_interrupted:
            self._is_interrupted = True
            self._process.send_signal(signal.SIGINT)

    def _said(self) -> str:
        return said_so_far(self._errors)


def environment() -> dict[str, str]:
    """What dumpcap is started with: this process's own environment, and the library that shortens its waits, where that is."""
    return os.environ | ({"LD_PRELOAD": PRELOAD} if Path(PRELOAD).exists() else {})


def whole_blocks(path: Path) -> int:
    """How many bytes of a pcapng file that is still being written are whole blocks."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return max((offset + length for _, offset, length in _blocks(file, path.stat().st_size)), default=0)


def _blocks(file: BinaryIO, size: int, offset: int = 0) -> Iterator[tuple[int, int, int]]:
    """The whole blocks of a pcapng file from `offset` to `size`: type, begin, length (draft-ietf-opsawg-pcapng, 3.1)."""
    while offset + 12 <= size:
        file.seek(offset)
        kind, length = struct.unpack("=II", file.read(8))
        if length < 12 or offset + length > size:
            break
        yield kind, offset, length
        offset += length


def cut_after(path: Path, size: int) -> None:
    """Take away the packets behind the first `size` bytes of a pcapng file: they came after its end, and nobody dissects them.

    What dumpcap says there of the interfaces (Interface Statistics Blocks) stays.
    """
    whole = path.stat().st_size if path.exists() else 0
    if not 0 < size < whole:
        return
    with path.open("r+b") as file:
        stays = [(offset, length) for kind, offset, length in _blocks(file, whole, size) if kind == STATISTICS]
        kept = b"".join(os.pread(file.fileno(), length, offset) for offset, length in stays)
        file.seek(size)
        file.write(kept)
        file.truncate()


def _send(interface: str, payload: bytes) -> None:
    # An interface that is down or gone cannot carry a sentinel; the wait for it then ends in a named reason.
    with contextlib.suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as channel:
        channel.bind((interface, 0))
        own = channel.getsockname()[4][:6].ljust(6, b"\0")
        channel.send(LINK_LOCAL_GROUP + own + ETHERTYPE.to_bytes(2, "big") + payload.ljust(46, b" "))
