"""What provides hosts, behind the seam of `labctl.engines.base`; nothing outside this folder knows Docker."""
