"""IPv6 addresses that are new are checked first: until nobody else is known to have them, nothing is sent from them."""

from __future__ import annotations

import time
from pathlib import Path

# /proc/net/if_inet6: address, interface number, prefix length, scope, flags (net/ipv6/addrconf.c, if6_seq_show), name.
LISTING = Path("/proc/net/if_inet6")
TENTATIVE, FAILED = 0x40, 0x08  # IFA_F_TENTATIVE, IFA_F_DADFAILED (linux/if_addr.h)
TIMEOUT_S = 5.0
POLL_S = 0.01


def tentative(listing: Path = LISTING) -> list[str]:
    """The interfaces with an address that is still being checked (RFC 4862, 5.4: a second, and a random part of another)."""
    if not listing.exists():
        return []
    lines = [line.split() for line in listing.read_text(encoding="ascii").splitlines()]
    return [words[5] for words in lines if int(words[4], 16) & (TENTATIVE | FAILED) == TENTATIVE]


def settle(listing: Path = LISTING, timeout_s: float = TIMEOUT_S) -> list[str]:
    """Wait until no address is being checked, so that the first packet of a scenario does not wait for that; who still is."""
    deadline = time.monotonic() + timeout_s
    while (left := tentative(listing)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return left
