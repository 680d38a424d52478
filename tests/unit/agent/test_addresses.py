"""IPv6 addresses are waited for until the kernel has checked them."""

from __future__ import annotations

import threading
from pathlib import Path

from labctl.agent.addresses import settle, tentative

# As the kernel writes them: a checked address, one that is being checked (0x40), one that somebody else has (0x48).
LINE = "fd6c6162637400000000000000000002 1f 40 00 {flags} {name}\n"


def listing(path: Path, **flags: str) -> Path:
    path.write_text("".join(LINE.format(flags=f, name=name.rjust(8)) for name, f in flags.items()), encoding="ascii")
    return path


def test_who_is_being_checked_is_told_by_the_flag(tmp_path: Path) -> None:
    """Permanent addresses and those that failed are not waited for; a kernel without IPv6 has none."""
    assert tentative(listing(tmp_path / "x", lo="80", eth0="c0", eth1="40", eth2="48")) == ["eth0", "eth1"]
    assert tentative(tmp_path / "no-ipv6") == []


def test_settling_waits_for_the_last_and_gives_up_in_time(tmp_path: Path) -> None:
    """It returns as soon as all are checked; after its time it says who is not."""
    path = listing(tmp_path / "x", eth0="c0")
    threading.Timer(0.05, lambda: listing(path, eth0="80")).start()
    assert settle(path) == []
    assert settle(listing(path, eth0="80", eth1="c0"), timeout_s=0.02) == ["eth1"]
