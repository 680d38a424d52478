"""What captures lose at a rate: `script/bench capture [--rate N] [--seconds S]`, UDP datagrams through a real lab's router.

Every datagram is captured four times: at the client, twice on the router, at the server. The run's own record says how many
packets each capture holds and how many were lost on the way into its file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

# Sends in bursts of a hundredth of a second, and says how many datagrams it sent and how long that took.
SENDER = """
import socket, sys, time
rate, seconds = int(sys.argv[1]), float(sys.argv[2])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((socket.gethostbyname("server"), 9))
start, sent = time.monotonic(), 0
while (now := time.monotonic() - start) < seconds:
    while sent < now * rate:
        s.send(b"x" * 100)
        sent += 1
    time.sleep(0.01)
print(sent, time.monotonic() - start)
"""
RECEIVER = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 9))
while True:
    s.recv(2000)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=20_000, help="datagrams a second (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="for how long (default %(default)s)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        scenario = Path(scratch) / "flood.yaml"
        steps = [
            {"start": ["python3", "-c", RECEIVER], "on": "server", "as": "sink", "ready": {"bound": 9}},
            {"name": "flood", "run": ["python3", "-c", SENDER, str(asked.rate), str(asked.seconds)], "on": "client",
             "timeout": "60s", "expect": {"exit": 0}},
        ]  # fmt: skip
        scenario.write_text(json.dumps({"scenario": "flood", "capture": {"max": "500MiB"}, "steps": steps}))
        command = [sys.executable, "-m", "labctl", "run", str(scenario), "--json", "--out", scratch]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        value = json.loads(done.stdout)
        (said,) = Path(scratch).glob("*-*/programs/02-client.out")
        sent, took = said.read_text().split()
    print(f"sent {int(sent):,} datagrams, {int(sent) / float(took):,.0f} a second")
    for capture in value["captures"]:
        state = "complete" if capture["complete"] else capture["reason"]
        print(f"{capture['host']:8} {capture['packets']:>9,} packets, {capture['dropped']} lost into the file, {state}")
    print(f"verdict {value['verdict']}: {value['reason']}")


if __name__ == "__main__":
    main()
