# ruff: noqa: E501  prose stands here as it is shown, on one line
"""What each error of a socket means, how long it takes, what the wire shows and what to check: the atlas' hand-written part.

True of Linux; the sources stand with each. How to get each error is not written here: `labctl.atlas` takes it from the scenarios.
"""

from __future__ import annotations

from typing import NamedTuple


class Text(NamedTuple):
    """One error. `symbol` is an errno, one of getaddrinfo(3)'s codes, or a name for an end that has none."""

    symbol: str
    says: str
    meaning: str
    takes: str
    wire: str
    check: str
    source: str


# The two ends that are no error: a clean end of stream, and nothing at all.
CLEAN_END, HANG = "a clean end of stream", "a hang"

TEXTS: tuple[Text, ...] = (
    Text(
        "ECONNREFUSED", "Connection refused",
        "A kernel answered that nobody listens there, or a firewall answered in its place. Of UDP it is said by the call after the send.",
        "One round trip. After an ICMP answer sometimes a second more, as connect() may only hear the answer to its repeated SYN.",
        "A RST that acknowledges the SYN, or ICMP 3/3 (ICMPv6 1/4) with the SYN or the datagram in it.",
        "`ss -tlnp` on the server: does it listen, on this port, and on this address (`127.0.0.1` is its own alone)? Is the address the one you "
        "meant? A RST whose TTL is not that of the server's other packets comes from something in between.",
        "connect(2), udp(7), net/ipv4/udp.c (__udp4_lib_err), RFC 9293 3.5.2",
    ),
    Text(
        "ETIMEDOUT", "Connection timed out",
        "The kernel gave up: something was sent again and again and never acknowledged. It is never a time limit of the program's own.",
        "connect(): about two minutes (`tcp_syn_retries` 6). Data: 15 minutes and more (`tcp_retries2` 15; at least 924.6 s). Keepalive: two hours "
        "and eleven minutes (7200 s + 9 × 75 s). With TCP_USER_TIMEOUT: that long.",
        "SYNs, segments or keepalive probes, repeated, with nothing coming back; with a user timeout also probes of a closed window, which are answered.",
        "Capture at both ends: do the packets arrive, and do answers leave? Firewalls that drop, routes back, a full accept queue "
        "(`ss -tln`: Recv-Q above Send-Q, `nstat TcpExtListenOverflows`), a path MTU black hole (small works, large hangs). `ss -tno` shows the timer.",
        "tcp(7), RFC 9293 3.8.3, RFC 5482, ip-sysctl",
    ),
    Text(
        "ECONNRESET", "Connection reset by peer",
        "A RST came in on an established connection. \"By peer\" is only what it says: the peer's kernel, or something between that knew the numbers.",
        "As soon as the RST is there; the program hears of it with its next call. What waited unread is lost.",
        "A RST with exactly the sequence number that is due.",
        "The peer's log at that time: killed, restarted, closed with data unread, SO_LINGER 0. How long was the connection idle: a NAT or load "
        "balancer with an idle limit? Compare the RST's TTL with that of the peer's other packets.",
        "RFC 9293 3.10.7.4, RFC 2525 2.17, socket(7)",
    ),
    Text(
        "EPIPE", "Broken pipe",
        "Writing is over: the peer had closed and then reset, or this end called shutdown(SHUT_WR). With it comes SIGPIPE, unless it is ignored.",
        "At once. The send() before it succeeded, and its bytes are lost.",
        "The peer's FIN, then our data, then the peer's RST; nothing more is sent.",
        "Why did the peer close? Read to see its end of stream before writing on; ignore SIGPIPE or send with MSG_NOSIGNAL. As with ECONNRESET, what "
        "send() took may never have arrived.",
        "send(2), net/ipv4/tcp_input.c (tcp_reset: a RST in CLOSE-WAIT is EPIPE)",
    ),
    Text(
        "EHOSTUNREACH", "No route to host",
        "A router said that it cannot reach the host or may not, or nobody on the own link answers to its address.",
        "ICMP: one round trip. ARP: three requests, three seconds.",
        "ICMP 3/1, 3/10, 3/13 or 11/0 (ICMPv6 1/3 or 3/0), or ARP requests that nobody answers.",
        "`ip neigh` (FAILED, INCOMPLETE): is the host up, is the address right? Who sent the ICMP: a firewall that rejects (3/10 and 3/13 say "
        "so) or a router that has lost it? 11/0 is a routing loop or a small TTL.",
        "connect(2), arp(7), net/ipv4/icmp.c (icmp_err_convert)",
    ),
    Text(
        "ENETUNREACH", "Network is unreachable",
        "This host has no route there, or a router said that it has none.",
        "At once; from a router one round trip.",
        "Nothing, or ICMP 3/0 or 3/9 (ICMPv6 1/0).",
        "`ip route get ADDRESS`. Is the link up (its routes go with it)? For IPv6: an address in DNS, and no route to any.",
        "connect(2), net/ipv4/icmp.c (icmp_err_convert), net/ipv6/icmp.c (tab_unreach)",
    ),
    Text(
        "EACCES", "Permission denied",
        "The kernel forbids it: a broadcast without SO_BROADCAST, or, by IPv6, an ICMPv6 \"administratively prohibited\", "
        "a failed policy or a route that rejects. Also, not in the catalogue: a port below 1024 without the right to it, and a route of type prohibit.",
        "At once; after ICMPv6 one round trip.",
        "Nothing, or ICMPv6 1/1, 1/5 or 1/6.",
        "Which call? bind(): `ip_unprivileged_port_start`, CAP_NET_BIND_SERVICE. send(): SO_BROADCAST. connect() by IPv6: the firewall that answers.",
        "ip(7), socket(7), net/ipv6/icmp.c (tab_unreach)",
    ),
    Text(
        "EPERM", "Operation not permitted",
        "A firewall of this very host threw the packet away on its way out. Datagrams say so; TCP takes it for loss and repeats.",
        "At once.",
        "Nothing: the packet never reached the wire.",
        "`iptables -vnL OUTPUT`, `nft list ruleset`: whose counter goes up? A full connection tracking table drops as well (`dmesg`: nf_conntrack: table full).",
        "net/netfilter/core.c (nf_hook_slow: what is dropped is EPERM to its sender)",
    ),
    Text(
        "EADDRINUSE", "Address already in use",
        "Somebody has the port: another socket that listens, or, without SO_REUSEADDR, a connection that ended lately and is in TIME-WAIT.",
        "At once. TIME-WAIT lasts 60 s.",
        "Nothing.",
        "`ss -tlnp 'sport = :PORT'`: who listens? `ss -tan state time-wait`: what ended? A server sets SO_REUSEADDR, always: it helps only if the one before had set it too.",
        "bind(2), socket(7), RFC 9293 3.6.1",
    ),
    Text(
        "EADDRNOTAVAIL", "Cannot assign requested address",
        "bind(): the address is not this host's. connect(): no local port is left for this destination.",
        "At once.",
        "Nothing.",
        "`ip address`. `sysctl net.ipv4.ip_local_port_range` against `ss -tan dst ADDRESS`: connections opened and closed for each request fill it with "
        "TIME-WAIT; keep them open, or use more addresses.",
        "bind(2), connect(2), ip(7)",
    ),
    Text(
        "EMSGSIZE", "Message too long",
        "A datagram that is longer than UDP can carry, or longer than the path and not to be cut.",
        "At once, and for the path: with the next call, once a router has answered the first.",
        "Nothing, or the first datagram and ICMP 3/4 (ICMPv6 2) with the size that fits.",
        "`ip route get ADDRESS` shows a remembered `mtu`. Tunnels take some of 1500 bytes. Send smaller datagrams.",
        "udp(7), ip(7), RFC 1191, RFC 8201",
    ),
    Text(
        "EMFILE", "Too many open files",
        "The process has as many descriptors as it may. From accept() it is hardest to see: the kernel goes on connecting clients.",
        "At once.",
        "Handshakes that succeed, requests that are acknowledged, and no answers.",
        "`ls /proc/PID/fd | wc -l` against `/proc/PID/limits`. `ss -tanp state close-wait`: connections that the peer closed and the program forgot.",
        "accept(2), socket(2), getrlimit(2)",
    ),
    Text(
        "EAGAIN", "Resource temporarily unavailable",
        "Not now: a non-blocking recv() has nothing to give, a non-blocking send() has no room. EWOULDBLOCK is the same number. A blocking call whose "
        "SO_RCVTIMEO or SO_SNDTIMEO ran out gives it too.",
        "At once.",
        "For recv() nothing; for send() the peer's window is closed, `[TCP ZeroWindow]`.",
        "Does the program wait (poll, epoll) before it tries again, or spin? For send(): Send-Q here and Recv-Q there (`ss -tn`) say that the peer does not read.",
        "recv(2), send(2), socket(7)",
    ),
    Text(
        "EINPROGRESS", "Operation now in progress",
        "A non-blocking connect() has begun. Not a failure: the answer comes as writability, and SO_ERROR says what it was.",
        "At once.",
        "One SYN.",
        "Nothing is wrong; a program that takes it for an error is.",
        "connect(2)",
    ),
    Text(
        "EALREADY", "Operation already in progress",
        "connect() again while the first has no answer yet.",
        "At once.",
        "The first one's SYNs.",
        "Wait for writability and ask SO_ERROR.",
        "connect(2)",
    ),
    Text(
        "ECONNABORTED", "Software caused connection abort",
        "connect() again on a socket whose failed connect was reported by SO_ERROR already. Also, not in the catalogue: an administrator destroyed "
        "the socket (`ss -K`). accept() never gives it for TCP on Linux: a connection that was reset in the queue is handed out, and the next call on it tells.",
        "At once.",
        "Nothing: no SYN is sent.",
        "A retry needs a new socket: close the old one. Does something destroy sockets here, like a service mesh or a VPN client?",
        "net/ipv4/af_inet.c (__inet_stream_connect), net/ipv4/tcp.c (tcp_abort)",
    ),
    Text(
        "ENOTCONN", "Transport endpoint is not connected",
        "The socket has no peer: not yet, or no more, as after a reset that was there before getpeername() or shutdown().",
        "At once.",
        "Nothing, or an earlier RST.",
        "Servers that log the peer's address after accept() meet clients that were gone already: take the address that accept() gave.",
        "recv(2), getpeername(2), shutdown(2)",
    ),
    Text(
        "EISCONN", "Transport endpoint is already connected", "connect() on a socket that is connected.",
        "At once.", "Nothing.", "A retry after a success that was not noticed.", "connect(2)",
    ),
    Text(
        "EDESTADDRREQ", "Destination address required", "send() on a datagram socket that has no peer.",
        "At once.", "Nothing.", "connect() the socket, or use sendto().", "send(2)",
    ),
    Text(
        "EBADF", "Bad file descriptor", "The socket was closed, mostly by another thread or a cleanup that came too early.",
        "At once.", "Nothing.", "Who closed it? If the number was given out again meanwhile, the call goes to somebody else's socket, and no error is seen.",
        "send(2), close(2)",
    ),
    Text(
        "EINVAL", "Invalid argument", "bind() on a socket that is bound; in general, a call that fits neither the socket's state nor its kind.",
        "At once.", "Nothing.", "The arguments and the order of the calls.", "bind(2)",
    ),
    Text(
        "EOPNOTSUPP", "Operation not supported", "A call that this kind of socket does not have, like listen() on a datagram socket. ENOTSUP is the same number.",
        "At once.", "Nothing.", "The kind of the socket.", "listen(2)",
    ),
    Text(
        "EPROTONOSUPPORT", "Protocol not supported", "socket() with a protocol that this family and type do not have, or the kernel lacks.",
        "At once.", "Nothing.", "The three arguments of socket(), and the kernel's modules.", "socket(2)",
    ),
    Text(
        "ENOPROTOOPT", "Protocol not available",
        "setsockopt() with an option that this kernel does not know; or connect() that was answered with ICMP \"protocol unreachable\".",
        "At once; from the network one round trip.", "Nothing, or ICMP 3/2.",
        "From setsockopt(): is the option newer than the kernel? From connect(): who answers so? No ordinary host does for TCP.",
        "setsockopt(2), net/ipv4/icmp.c (icmp_err_convert)",
    ),
    Text(
        "EAI_NONAME", "Name or service not known", "There is no such name. Asking again is no use.",
        "As long as the name server takes.", "A DNS answer with code 3 (NXDOMAIN); no packet to the service.",
        "`getent hosts NAME`, the search list in `/etc/resolv.conf`, and how long the answer \"no\" is remembered (RFC 2308).", "getaddrinfo(3), RFC 1035 4.1.1",
    ),
    Text(
        "EAI_AGAIN", "Temporary failure in name resolution", "No name server could say. Asking again may help.",
        "At once if a server says that it failed; else `timeout` × `attempts` of resolv.conf: 5 s × 2 for each server.",
        "A DNS answer with code 2 (SERVFAIL), or queries without answers.",
        "`/etc/resolv.conf`, a firewall on port 53, a name server that is overloaded. Applications do not count this time in their connect time-out.",
        "getaddrinfo(3), resolv.conf(5)",
    ),
    Text(
        CLEAN_END, "recv() returns nothing", "The peer closed, after everything it sent. No error, also when the peer was killed: its kernel says goodbye for it.",
        "When the peer's FIN is there and all before it has been read.", "FIN.",
        "Was the message complete? Only the protocol on top (a length, an end mark) can tell a goodbye from a crash.", "recv(2), RFC 9293 3.6",
    ),
    Text(
        HANG, "nothing at all", "No error and no answer: the call waits, for as long as it is allowed to. TCP has nothing to repeat, so nothing is ever noticed.",
        "For ever, unless the program has a limit of its own; the outcome of our programs then says `timed_out`, and `errno` is null.",
        "Nothing, or data that is acknowledged and not answered.",
        "`ss -tnp`: an ESTAB socket with empty queues waits for an answer. Recv-Q on the server's side: it does not read. Set a time limit, and keepalive or TCP_USER_TIMEOUT.",
        "tcp(7), RFC 1122 4.2.3.6",
    ),
)  # fmt: skip


class Icmp(NamedTuple):
    """One ICMP message: `key` is type/code as people write it, `six` whether it is ICMPv6, `code` None for any."""

    six: bool
    type: int
    code: int | None
    name: str
    connect: str
    datagrams: str

    @property
    def key(self) -> str:
        """`3/4`, or `2` where the code does not matter."""
        return f"{self.type}" if self.code is None else f"{self.type}/{self.code}"


_SOFT = "nothing, but with IP_RECVERR the same"

ICMP: tuple[Icmp, ...] = (
    Icmp(False, 8, None, "echo request", "", ""),
    Icmp(False, 0, None, "echo reply", "", ""),
    Icmp(False, 3, 0, "network unreachable", "ENETUNREACH", _SOFT),
    Icmp(False, 3, 1, "host unreachable", "EHOSTUNREACH", _SOFT),
    Icmp(False, 3, 2, "protocol unreachable", "ENOPROTOOPT", "the same"),
    Icmp(False, 3, 3, "port unreachable", "ECONNREFUSED", "the same"),
    Icmp(
        False, 3, 4, "fragmentation needed", "nothing: smaller segments", "EMSGSIZE, if it forbids fragments"
    ),
    Icmp(False, 3, 9, "network administratively prohibited", "ENETUNREACH", "the same"),
    Icmp(False, 3, 10, "host administratively prohibited", "EHOSTUNREACH", "the same"),
    Icmp(False, 3, 13, "communication administratively prohibited", "EHOSTUNREACH", "the same"),
    Icmp(False, 11, 0, "time to live exceeded", "EHOSTUNREACH", _SOFT),
    Icmp(True, 128, None, "echo request", "", ""),
    Icmp(True, 129, None, "echo reply", "", ""),
    Icmp(True, 135, None, "neighbour solicitation (what ARP asks)", "", ""),
    Icmp(True, 136, None, "neighbour advertisement (what ARP answers)", "", ""),
    Icmp(True, 1, 0, "no route", "ENETUNREACH", _SOFT),
    Icmp(True, 1, 1, "administratively prohibited", "EACCES", "the same"),
    Icmp(True, 1, 3, "address unreachable", "EHOSTUNREACH", _SOFT),
    Icmp(True, 1, 4, "port unreachable", "ECONNREFUSED", "the same"),
    Icmp(True, 1, 5, "source address failed a policy", "EACCES", "the same"),
    Icmp(True, 1, 6, "route that rejects", "EACCES", "the same"),
    Icmp(True, 2, None, "packet too big", "nothing: smaller segments", "EMSGSIZE, if it forbids fragments"),
    Icmp(True, 3, 0, "hop limit exceeded", "EHOSTUNREACH", _SOFT),
)
