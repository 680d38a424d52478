"""What the tests of all rooms share: the folders their helpers live in."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "unit"))
