"""An example of a property test may take as long as it likes: a machine that others use stands still now and then."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("patient", settings.default, deadline=None)
settings.load_profile("patient")
