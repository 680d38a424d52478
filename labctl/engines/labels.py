"""The labels by which everything that we make in Docker is found again."""

from __future__ import annotations

RUN = "labctl.run"
OWNER = "labctl.owner"
STANDING = "labctl.lab"
HOST = "labctl.host"
AGENT = "labctl.agent"
RESIDENT = "labctl.resident"
NURSERY = "labctl.nursery"
COMPANION = "labctl.companion"
COMPOSE = "labctl.compose"
