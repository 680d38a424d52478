"""One thread, many connections: a server on selectors(3) / epoll(7), shared by multiconn_server.py and
app_server.py.

What a server *does* with bytes is a Session: one object per connection that owns that connection's state
and does no I/O. What every such server must get right is here:

- it waits for a socket to become writable only while it has something to write; nothing to do is no CPU at
  all;
- it stops reading from a peer that does not read, so that nobody can make it store without end;
- an error of one connection closes that connection, with its reason printed, and no other;
- peers that are silent too long are dropped;
- out of file descriptors, it stops accepting until one is free: accept(2) would fail again and again, at
  once (EMFILE).
"""

from __future__ import annotations

import argparse
import errno
import resource
import selectors
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from endpoints import show
from options import count, duration
from outcome import Outcome, errno_name

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
RECV_BYTES = 16 * 1024
ACCEPTS_AT_ONCE = 64
RETRY_ACCEPT_SECONDS = 0.2
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class PeerError(Exception):
    """What a peer sent is not acceptable: its connection ends, and the text says why."""


class Session(Protocol):
    """What a server does with one connection's bytes."""

    finished: bool  # true: close as soon as everything has been sent

    def receive(self, data: bytes) -> bytes:
        """Take what came, give what is to be sent. Raises PeerError."""

    def end(self) -> None:
        """The peer will send no more. Raises PeerError if that is too early."""


class Limits(NamedTuple):
    """What a server allows its peers."""

    idle_seconds: float | None = 30.0  # no byte either way for so long: dropped; None: never
    connections: int = 4096  # more wait in the kernel's queue
    output_bytes: int = 256 * 1024  # with so much unsent, stop reading from that peer


class Peer:
    """One connection: its socket, its session, and what is still to be sent."""

    __slots__ = ("address", "ended", "events", "output", "received", "seen", "sent", "session", "sock")

    def __init__(self, sock: socket.socket, address: Any, session: Session) -> None:
        self.sock = sock
        self.address = address
        self.session = session
        self.output = bytearray()
        self.ended = False  # the peer has sent its FIN
        self.events = 0  # what the selector waits for
        self.seen = 0.0
        self.received = 0
        self.sent = 0

    def wanted(self, output_limit: int) -> int:
        """The events this connection has any use for; 0: it is over."""
        reading = not (self.ended or self.session.finished) and len(self.output) < output_limit
        return (READ if reading else 0) | (WRITE if self.output else 0)


class SelectorServer:
    """Serves every connection of a listening socket until stopped."""

    def __init__(
        self, listener: socket.socket, new_session: Callable[[], Session], outcome: Outcome, limits: Limits
    ) -> None:
        self._listener = listener
        self._new_session = new_session
        self._outcome = outcome
        self._limits = limits
        self._selector = selectors.DefaultSelector()
        self._peers: OrderedDict[Peer, None] = OrderedDict()  # the one that was silent longest comes first
        self._accept_after: float | None = None  # set while accepting is suspended
        self._now = time.monotonic()
        self._counts = {"connections": 0, "dropped": 0, "most_at_once": 0}
        listener.setblocking(False)
        self._selector.register(listener, READ)

    def run(self) -> None:
        """Serve. Only an exception ends it: Stopped, on SIGTERM or SIGINT."""
        try:
            while True:
                self.step()
        finally:
            self._outcome.note(**self._counts)
            for peer in list(self._peers):
                self._outcome.received += peer.received
                self._outcome.sent += peer.sent
                peer.sock.close()
            self._selector.close()

    def step(self) -> None:
        """Wait until something happens, and deal with it."""
        with self._outcome.call("select"):
            ready = self._selector.select(self._wait_seconds())
        self._now = time.monotonic()
        for key, events in ready:
            if key.data is None:
                self._accept()
            else:
                self._serve(key.data, events)
        self._drop_idle()
        if self._accept_after is not None and self._now >= self._accept_after:
            self._resume_accepting()

    def _wait_seconds(self) -> float | None:
        moments = []
        if self._limits.idle_seconds is not None and self._peers:
            moments.append(next(iter(self._peers)).seen + self._limits.idle_seconds)
        if self._accept_after is not None:
            moments.append(self._accept_after)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            if len(self._peers) >= self._limits.connections:
                self._suspend_accepting(f"{len(self._peers)} connections are the limit")
                return
            try:
                sock, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._suspend_accepting(f"accept: {errno_name(error)}")
                    return
                self._outcome.say(
                    f"accept: {errno_name(error)}"
                )  # that connection's error (accept(2)), not ours
                continue
            self._welcome(sock, address)

    def _welcome(self, sock: socket.socket, address: Any) -> None:
        sock.setblocking(False)
        peer = Peer(sock, address, self._new_session())
        peer.seen = self._now
        self._peers[peer] = None
        self._counts["connections"] += 1
        self._counts["most_at_once"] = max(self._counts["most_at_once"], len(self._peers))
        if not self._outcome.quiet:
            self._outcome.say(f"accepted a connection from {show(address)}")
        self._serve(peer, READ)  # a client that is quick has sent its request already

    def _suspend_accepting(self, reason: str) -> None:
        self._outcome.say(f"{reason}: accepting no more for now")
        self._selector.unregister(self._listener)
        self._accept_after = self._now + RETRY_ACCEPT_SECONDS

    def _resume_accepting(self) -> None:
        if len(self._peers) < self._limits.connections:
            self._selector.register(self._listener, READ)
            self._accept_after = None
        else:
            self._accept_after = self._now + RETRY_ACCEPT_SECONDS

    def _serve(self, peer: Peer, events: int) -> None:
        try:
            if events & READ:
                self._read(peer)
            if peer.output:  # try at once: mostly there is room, and nothing to wait for
                self._write(peer)
        except BlockingIOError:
            pass
        except OSError as error:
            self._close(peer, f"{errno_name(error)}")
            return
        except PeerError as error:
            self._close(peer, str(error))
            return
        self._wait_for(peer)

    def _read(self, peer: Peer) -> None:
        data = peer.sock.recv(RECV_BYTES)
        self._touch(peer)
        peer.received += len(data)
        if data:
            peer.output += peer.session.receive(data)
        else:
            peer.ended = True
            peer.session.end()

    def _write(self, peer: Peer) -> None:
        sent = peer.sock.send(peer.output)
        self._touch(peer)
        peer.sent += sent
        del peer.output[:sent]

    def _touch(self, peer: Peer) -> None:
        peer.seen = self._now
        self._peers.move_to_end(peer)

    def _wait_for(self, peer: Peer) -> None:
        wanted = peer.wanted(self._limits.output_bytes)
        if not wanted:
            self._close(peer)
        elif not peer.events:
            self._selector.register(peer.sock, wanted, peer)
        elif wanted != peer.events:
            self._selector.modify(peer.sock, wanted, peer)
        peer.events = wanted

    def _close(self, peer: Peer, reason: str | None = None) -> None:
        if peer.events:
            self._selector.unregister(peer.sock)
        peer.sock.close()
        del self._peers[peer]
        self._outcome.received += peer.received
        self._outcome.sent += peer.sent
        if self._accept_after is not None:
            self._accept_after = self._now
        if reason:
            self._counts["dropped"] += 1
        if not self._outcome.quiet:
            why = f": {reason}" if reason else f" ({peer.received} bytes came, {peer.sent} went)"
            self._outcome.say(f"closed {show(peer.address)}{why}")

    def _drop_idle(self) -> None:
        idle = self._limits.idle_seconds
        while idle is not None and self._peers:
            peer = next(iter(self._peers))
            if self._now - peer.seen < idle:
                return
            self._close(peer, f"idle for {idle:g} s")


def add_limits(parser: argparse.ArgumentParser) -> None:
    """The options that become Limits."""
    parser.add_argument(
        "--idle-timeout", type=duration, default=30.0, metavar="TIME", help="drop a silent peer; 0: never"
    )
    parser.add_argument(
        "--max-connections", type=count, default=4096, metavar="N", help="more wait to be accepted"
    )


def limits_of(args: argparse.Namespace) -> Limits:
    """The Limits that add_limits()'s options ask for."""
    return Limits(args.idle_timeout or None, args.max_connections)


def allow_many_files() -> None:
    """Raise the soft limit on open files to the hard one (getrlimit(2)): each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
