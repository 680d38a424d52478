"""In the guest: measure asked against got with the kernel's netem; prints the rows as a JSON list."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

sys.path.insert(0, "/work")

from labctl.calibrate import calibrate

if __name__ == "__main__":
    print(json.dumps([asdict(row) for row in calibrate("netem", packets=int(sys.argv[1]))]))
