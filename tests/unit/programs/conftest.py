"""The programs run as they do on a host: with their own folder, and nothing else, on the path."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parents[2] / "images" / "programs"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
