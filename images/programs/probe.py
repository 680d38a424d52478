"""probe: one verb for each situation a socket can be in.

    python3 probe.py connect 192.0.2.1 65432 --syn-retries 2
    python3 probe.py recv 127.0.0.1 65432 --nonblocking
    python3 probe.py misuse ENOTCONN

`probe.py VERB --help` tells the options of a verb. Most verbs can play either side: they connect to HOST
PORT, or, with --listen, listen there and take the first connection.
"""

from __future__ import annotations

import argparse
import sys

import probe_behaviour
import probe_misuse
import probe_network
import probe_stream
from options import Help, Parser, socket_options
from outcome import Outcome, run
from probe_verb import Verb

VERBS: tuple[Verb, ...] = (
    *probe_stream.VERBS,
    *probe_behaviour.VERBS,
    *probe_network.VERBS,
    *probe_misuse.VERBS,
)


def arguments(asked: str | None = None) -> argparse.ArgumentParser:
    """The parser: of every verb, or of the one that is asked for alone, which is made in a fraction of the time."""
    parser = Parser(prog="probe", description=__doc__)
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    shared = socket_options()
    for verb in [verb for verb in VERBS if verb.name == asked] or VERBS:
        summary = (verb.run.__doc__ or "").splitlines()[0]
        subparser = subparsers.add_parser(
            verb.name,
            help=summary,
            description=verb.run.__doc__,
            parents=[shared],
            formatter_class=Help,
        )
        verb.add_arguments(subparser)
        subparser.set_defaults(run=verb.run)
    return parser


def main(args: argparse.Namespace, outcome: Outcome) -> None:
    outcome.note(verb=args.verb)
    args.run(args, outcome)


if __name__ == "__main__":
    run(arguments(*sys.argv[1:2]), main)
