"""A live capture on standard output for as long as standard input is held open: `python3 -m agent.live INTERFACE [FILTER]`.

dumpcap itself writes into Docker's pipe and would never hear that its reader has gone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from .capture import BUFFER_MIB, environment

# How what it and dumpcap say begins where what was asked for is wrong.
NO_INTERFACE = "there is no interface"
NO_FILTER = "dumpcap: Invalid capture filter"
EVERY = "any"
# By then libpcap has handed over what it has: CAP_READ_TIMEOUT in dumpcap.c. What is in its ring when dumpcap ends is lost.
HANDOVER_S = 0.3
STOP_TIMEOUT_S = 3.0
INTERFACES = Path("/sys/class/net")


def capture_argv(interface: str, filter_: str | None) -> tuple[str, ...]:
    """The dumpcap command that writes pcapng to its standard output."""
    only = () if filter_ is None else ("-f", filter_)
    return ("dumpcap", "-q", "-i", interface, *only, "-B", str(BUFFER_MIB), "--update-interval", "1", "-w", "-")


def main(interface: str, filter_: str | None = None) -> int:
    """Capture until standard input ends; dumpcap's exit status, or 2 where there is no such interface."""
    here = sorted(path.name for path in INTERFACES.iterdir())
    if interface not in (*here, EVERY):
        print(f"{NO_INTERFACE} {interface}; there are {', '.join(here)} and {EVERY}", file=sys.stderr)
        return 2
    dumpcap = subprocess.Popen(capture_argv(interface, filter_), stdin=subprocess.DEVNULL, env=environment())
    threading.Thread(target=_stop_at_end, args=(dumpcap,), daemon=True).start()
    return dumpcap.wait()


def _stop_at_end(dumpcap: subprocess.Popen[bytes]) -> None:
    while os.read(0, 65536):
        pass
    time.sleep(HANDOVER_S)
    dumpcap.terminate()
    try:
        dumpcap.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:  # nobody reads what it wants to write
        dumpcap.kill()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
