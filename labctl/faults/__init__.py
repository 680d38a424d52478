"""The faults, by the word a scenario calls them. A new fault is one file and one line here."""

from __future__ import annotations

from labctl.faults.base import Fault
from labctl.faults.drop import Drop
from labctl.faults.link import Link
from labctl.faults.reject import Reject

FAULTS: dict[str, type[Fault]] = {fault.kind: fault for fault in (Drop, Reject, Link)}
