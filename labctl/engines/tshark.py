"""Filters, asked of the tshark and the dumpcap that will try them: the agent image's, or this machine's where Docker is not."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence

from labctl.engines.base import Say
from labctl.errors import LabctlError, MissingError
from labctl.evidence.packets import refused_capture_filter
from labctl.evidence.pcapng import MAGIC, SECTION, block

TIMEOUT_S = 60.0
# A capture without a packet: enough for tshark to compile a filter.
EMPTY = block(SECTION, struct.pack("=IHHq", MAGIC, 1, 0, -1))
# What only our own dissector knows (images/wireshark); this machine's tshark may not have it.
OURS = "labapp"

Ask = Callable[[str], str | None]


def refused(filters: Sequence[str], ask: Ask) -> dict[str, str]:
    """The filters that tshark refuses, with its own words. One call when it takes them all; else each is asked by itself."""
    wanted = list(dict.fromkeys(filters))
    if not wanted or ask(" || ".join(f"({text})" for text in wanted)) is None:
        return {}
    return {text: said for text in wanted if (said := ask(text)) is not None}


def dumpcap(say: Say) -> Ask:
    """A way to ask a dumpcap about one capture filter. Raises MissingError when there is neither Docker nor a dumpcap here.

    Names of hosts are not looked up: a lab has others than whoever is asked.
    """
    argv, _ = _program("dumpcap", say)

    def ask(text: str) -> str | None:
        done = subprocess.run(
            [*argv, "-d", "-i", "lo", "-f", text], stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
        )
        said = done.stderr.decode(errors="replace")
        why = refused_capture_filter(said)
        if done.returncode and why is None:
            raise MissingError(f"capture filters need a dumpcap that may capture: {said.strip()[-300:]}")
        return None if why is None or why.startswith("unknown host") else why

    return ask


def tshark(say: Say) -> tuple[Ask, Callable[[str], bool]]:
    """Who is asked, and which filters can be asked of it. Raises MissingError when there is neither Docker nor a tshark."""
    argv, is_ours = _program("tshark", say)
    return asking(argv), lambda text: is_ours or OURS not in text


def _program(name: str, say: Say) -> tuple[list[str], bool]:
    """How one of Wireshark's programs is called, and whether that is the agent image's. Raises MissingError."""
    from labctl.engines import agentimage
    from labctl.engines.daemon import connect

    try:
        image = agentimage.ensure(connect(), say)
    except LabctlError as error:
        local = shutil.which(name)
        if local is None:
            raise MissingError(f"filters need a {name} to be tried: {error}; and this machine has none either") from None
        return [local], False
    docker = shutil.which("docker") or "docker"
    return [docker, "run", "--rm", "-i", "--network", "none", image, name], True


def asking(argv: Sequence[str]) -> Ask:
    """A way to ask one tshark about one filter: None when it takes it, else what it says."""

    def ask(text: str) -> str | None:
        done = subprocess.run(
            [*argv, "-n", "-r", "-", "-Y", text], input=EMPTY, capture_output=True, timeout=TIMEOUT_S, check=False
        )
        said = [line for line in done.stderr.decode(errors="replace").splitlines() if line.startswith("tshark: ")]
        return None if done.returncode == 0 else (said[0].removeprefix("tshark: ") if said else "tshark refuses it")

    return ask
