"""The faults, by the word a scenario calls them. A new fault is one file and one line here."""

from __future__ import annotations

from labctl.faults.base import Fault
from labctl.faults.blackhole import Blackhole
from labctl.faults.down import Down
from labctl.faults.drop import Drop
from labctl.faults.expire import Expire
from labctl.faults.kill import Kill
from labctl.faults.link import Link
from labctl.faults.masquerade import Masquerade
from labctl.faults.mtu import Mtu
from labctl.faults.partition import Partition
from labctl.faults.pause import Pause
from labctl.faults.reject import Reject
from labctl.faults.reset import Reset
from labctl.faults.resolve import Resolve
from labctl.faults.ttl import Ttl

FAULTS: dict[str, type[Fault]] = {
    fault.kind: fault
    for fault in (
        Drop,
        Reject,
        Link,
        Partition,
        Down,
        Mtu,
        Blackhole,
        Ttl,
        Reset,
        Expire,
        Masquerade,
        Resolve,
        Pause,
        Kill,
    )
}
