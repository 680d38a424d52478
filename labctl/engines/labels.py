"""The labels by which everything that we make in Docker is found again."""

from __future__ import annotations

import re

from labctl.errors import UsageError

RUN = "labctl.run"
OWNER = "labctl.owner"
STANDING = "labctl.lab"
HOST = "labctl.host"
AGENT = "labctl.agent"
RESIDENT = "labctl.resident"
NURSERY = "labctl.nursery"
COMPANION = "labctl.companion"
COMPOSE = "labctl.compose"

_LAB_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def lab_name(name: str) -> str:
    """The name of a standing lab, as `STANDING` may have it. Raises UsageError for what can be none."""
    if not _LAB_NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a lab; write lower case letters, digits and dashes")
    return name
