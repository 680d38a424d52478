"""The symbols of errors that a program can end in."""

from __future__ import annotations

import errno
import socket

# Two names for one number: the kernel's headers define the one as the other, and programs report the second.
SYNONYMS = {"EWOULDBLOCK": "EAGAIN", "ENOTSUP": "EOPNOTSUPP", "EDEADLOCK": "EDEADLK"}
ERRNOS = frozenset(name for name in vars(errno) if name.startswith("E")) - SYNONYMS.keys()
# getaddrinfo(3)'s own codes, which are no errno but what a look-up ends in.
LOOKUPS = frozenset(name for name in dir(socket) if name.startswith("EAI_"))
