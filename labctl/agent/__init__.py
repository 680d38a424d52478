"""What runs in a host's network namespace: standard library only, one process per host, spoken to in JSON lines.

The driver sends this package to the host and starts it with `python3 -m agent`; nothing here imports the rest of labctl.
When its standard input ends, whatever the reason, it undoes everything it did and exits.
"""

PROTOCOL = 2
