# ruff: noqa: E501  messages stand here as they are shown, on one line
"""Bad scenarios and the exact words about them. Every message must tell what is wrong and what to write instead."""

from __future__ import annotations

from labctl.faults import FAULTS
from labctl.scenario.words import listing

HEAD = "scenario: x\nsteps:\n"
RUN = "  - run: [probe, connect, server, 65432]\n    on: client\n    expect: {errno: null}\n"

# What is no YAML, or none that a scenario may be.
NOT_YAML: dict[str, tuple[str, str]] = {
    "a tab": ("scenario: x\n\tsteps: []\n", "f.yaml:2:1: a tab cannot indent YAML; use spaces"),
    "unquoted parameter in a list": (
        "a: [1, ${x}]\n",
        'f.yaml:1:9: inside [ ] and { } a parameter needs quotes: write "${x}"',
    ),
    "two colons": (
        "a: b: c\n",
        "f.yaml:1:5: a second key: cannot stand here; put text that holds ': ' in quotes, or mend this line's indentation",
    ),
    "an open quote": ("a: 'x\nb: 1\n", "f.yaml:3:1: the quote opened in line 1 is never closed"),
    "an escape": (
        'a: "\\d"\n',
        "f.yaml:1:5: a backslash in double quotes begins an escape; use 'single quotes', where it is itself",
    ),
    "a dedent that fits nothing": (
        "a:\n  - 1\n b: 2\n",
        "f.yaml:3:2: this line is indented like nothing above it; line its keys up with those begun in line 1",
    ),
    "an at sign": ("a: @x\n", "f.yaml:1:4: text cannot begin with @; put it in quotes"),
    "an open brace": (
        "a: {x: 1\nb: 2\n",
        "f.yaml:2:2: the { opened in line 1 lacks a comma or its } before this",
    ),
    "prose first": (
        "foo\nbar: 1\n",
        "f.yaml:2:4: a second key: cannot stand here; put text that holds ': ' in quotes, or mend this line's indentation",
    ),
    "an alias of nothing": (
        "a: &ab 1\nb: *ac\n",
        "f.yaml:2:4: *ac names nothing above; an anchor is written &ac",
    ),
    "an anchor twice": (
        "a: &x 1\nb: &x 2\n",
        "f.yaml:2:4: the anchor &x stands here a second time; choose another name",
    ),
    "a list and a mapping": (
        "- a\nb: 1\n",
        "f.yaml:2:1: this line is not in line with the list (- …) begun in line 1; mend its indentation",
    ),
    "an open bracket at the end": (
        "é: [\n",
        "f.yaml:2:1: a value is missing here, or a [ or { before it is never closed",
    ),
    "a line without colon": (
        "on: 1\nexpect\nx: 1\n",
        "f.yaml:3:1: line 2 is no key: value; write a colon and a space after the key",
    ),
    "text after a quote": (
        'filter: "a" == "b"\n',
        "f.yaml:1:13: text goes on after its closing quote; put 'single quotes' around the whole",
    ),
    "a block scalar": ("key: |x\n", "f.yaml:1:7: after | or > the text begins in the next line"),
    "a stray bracket": ("a: ]\n", "f.yaml:1:4: a ] closes nothing here; if it is text, put it in quotes"),
    "two documents": (
        "a: 1\n---\nb: 1\n",
        "f.yaml:2:1: a second document begins here; one file is one scenario, so remove the ---",
    ),
    "a quoted document": (
        '"a" b\n',
        "f.yaml:1:5: after the text before it nothing may follow here; put quotes around the whole",
    ),
    "a recursive alias": (
        "a: &a [*a]\n",
        "f.yaml:1:8: *a stands inside what &a names, so it would never end",
    ),
    "a recursive merge": (
        "a: &x {<<: *x}\n",
        "f.yaml:1:12: *x stands inside what &x names, so it would never end",
    ),
    "a tag": (
        "a: !!str 1\n",
        "f.yaml:1:4: tags (!…) mean nothing in a scenario; remove it, and quote what must be text",
    ),
    "a local tag": (
        "a: !x 1\n",
        "f.yaml:1:4: tags (!…) mean nothing in a scenario; remove it, and quote what must be text",
    ),
    "an unknown directive": (
        "%FOO\n",
        "f.yaml:1:1: a line that begins with % is a directive, and a scenario has none; remove it",
    ),
    "too deep": (
        "a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
        "f.yaml:1:43: is nested more than 40 deep; a scenario needs about 6",
    ),
    "NUL": (
        "a: 1\nb: \x00\n",
        "f.yaml:2:4: the character U+0000 is not allowed in YAML; is this a text file?",
    ),
    "a list at the top": (
        "- 1\n",
        "f.yaml:1:1: is a list, not a mapping; a scenario begins with scenario: NAME",
    ),
    "text at the top": (
        "hello\n",
        "f.yaml:1:1: is text, not a mapping; a scenario begins with scenario: NAME",
    ),
    "nothing": ("", "f.yaml:1:1: is empty; a scenario begins with scenario: NAME and has steps:"),
    "comments only": ("# c\n", "f.yaml:1:1: is empty; a scenario begins with scenario: NAME and has steps:"),
    "nothing but a document mark": (
        "---\n",
        "f.yaml:1:1: is empty; a scenario begins with scenario: NAME and has steps:",
    ),
}

# What is YAML and no scenario: (text, every problem in order).
NO_SCENARIO: list[tuple[str, tuple[str, ...]]] = [
    (
        "scenario: x\n",
        (
            "f.yaml:1:1: steps: is missing in this scenario; write steps: and below it a list of steps, each behind a dash",
        ),
    ),
    (
        "steps: []\n",
        (
            "f.yaml:1:1: scenario: is missing in this scenario; write scenario: firewall",
            "f.yaml:1:1: steps: is empty; write at least one",
        ),
    ),
    (
        HEAD,
        ("f.yaml:2:1: steps: is empty; write a list",),
    ),
    (
        ("scenario: x\nsteps: hello\n"),
        ("f.yaml:2:8: steps: must be a list, not 'hello'",),
    ),
    (
        (
            "scenario: X y\n"
            "steps:\n"
            "  - run: [probe, connect, server, 65432]\n"
            "    on: client\n"
            "    expect: {errno: null}\n"
        ),
        (
            "f.yaml:1:11: scenario: cannot be 'X y'; a name is lower-case letters, digits and dashes, at most 40",
        ),
    ),
    (
        HEAD + RUN + "  - wait: 100\n",
        ("f.yaml:6:11: duration 100 has no unit; write one of us, ms, s, m, min, h, like 100ms",),
    ),
    (
        HEAD + RUN + ("  - wait: 100 ms\n  - wait: 5sec\n  - wait: 0s\n  - wait: 2h\n  - wait:\n"),
        (
            "f.yaml:7:11: 'sec' is no unit of duration; write one of us, ms, s, m, min, h, like 100ms",
            "f.yaml:8:11: wait: '0s' is out of range; it must be more than 0s",
            "f.yaml:9:11: wait: '2h' is out of range; it must be at most 3600s",
            "f.yaml:10:5: wait: is empty; write a duration like 100ms",
        ),
    ),
    (
        HEAD + RUN + ("  - fault: w\n    at: router\n    dorp: {to: server}\n"),
        (f"f.yaml:8:5: there is no fault 'dorp'; did you mean drop? A fault is one of {listing(FAULTS)}",),
    ),
    (
        HEAD + RUN + ("  - fault: w\n    at: router\n    drop: {to: server, dprot: 1}\n"),
        (
            "f.yaml:8:24: unknown key 'dprot'; did you mean dport? The keys here are protocol, family, from, to, sport, dport, flags, icmp_type, state, nth, first, every, probability, seed, above, burst and direction",
        ),
    ),
    (
        HEAD + RUN + ("  - fault: w\n    at: router\n    drop:\n"),
        ("f.yaml:8:5: drop: is empty; write its keys one level deeper, or drop: {} for all its defaults",),
    ),
    (
        HEAD + RUN + ("  - fault: w\n    at: router\n"),
        (f"f.yaml:6:5: a fault is exactly one of {', '.join(FAULTS)}; this step has none of them",),
    ),
    (
        HEAD + RUN + ("  - fault: w\n    at: router\n    to: server\n    protocol: tcp\n"),
        (
            "f.yaml:8:5: to: belongs inside drop:, indented one level deeper",
            "f.yaml:9:5: protocol: belongs inside drop:, indented one level deeper",
        ),
    ),
    (
        HEAD + RUN + ("  - fault: w\n    at: router\n    drop: {}\n    reject: {}\n"),
        (f"f.yaml:6:5: a fault is exactly one of {', '.join(FAULTS)}; this one has drop and reject",),
    ),
    (
        HEAD + RUN + ("  - drop: {to: server}\n    at: router\n"),
        ("f.yaml:6:5: drop: needs a name for the fault; write fault: NAME and at: HOST with it",),
    ),
    (
        HEAD + RUN + ("  - fault: w\n    drop: {to: server, dport: 99999, protocol: tpc, direction: 3}\n"),
        (
            "f.yaml:6:5: at: is missing in this fault step; write at: server",
            "f.yaml:7:31: 99999 is no port; write a number from 1 to 65535 or a range like 8000-8010",
            "f.yaml:7:48: protocol: cannot be 'tpc'; did you mean tcp? It is one of tcp, udp, icmp, icmpv6 or all",
            "f.yaml:7:64: direction: cannot be '3'; it is one of in, out, forward or both",
        ),
    ),
    (
        HEAD + RUN + ("  - fault: w\n    at: [a, 3]\n    drop: {to: [server, 1], dport: 80}\n"),
        (
            "f.yaml:7:13: at: must be text, not '3'; as text it is written in quotes: \"3\"",
            "f.yaml:8:25: to: must be text, not '1'; as text it is written in quotes: \"1\"",
        ),
    ),
    (
        HEAD + RUN + ("  - fault: w\n    at: {a: 3}\n    reject: {with: tcp-rset, protocol: tcp}\n"),
        (
            "f.yaml:7:5: at: must be text or a list, not a mapping",
            "f.yaml:8:20: with: cannot be 'tcp-rset'; did you mean tcp-reset? It is one of tcp-reset, icmp-net-unreachable, icmp-host-unreachable, icmp-port-unreachable, icmp-proto-unreachable, icmp-net-prohibited, icmp-host-prohibited, icmp-admin-prohibited, icmp6-policy-fail or icmp6-reject-route",
        ),
    ),
    (
        HEAD + RUN + ("  - fault: Wall\n    at: router\n    reject: {with: tcp-reset}\n"),
        (
            "f.yaml:6:12: fault: cannot be 'Wall'; a name is lower-case letters, digits and dashes beginning with a letter, at most 20",
            "f.yaml:8:5: with: tcp-reset answers TCP only; write protocol: tcp",
        ),
    ),
    (
        HEAD + RUN + ("  - runn: [x]\n    on: y\n"),
        (
            "f.yaml:6:5: 'runn' is no kind of step; did you mean run? A step is one of start, run, finish, stop, fault, heal, wait or until",
        ),
    ),
    (
        HEAD + RUN + "  - name: foo\n",
        (
            "f.yaml:6:5: what kind of step is this? A step is one of start, run, finish, stop, fault, heal, wait or until, and has that key",
        ),
    ),
    (
        HEAD + RUN + "  - wait\n",
        (
            "f.yaml:6:5: 'wait' is no step; a step is one of start, run, finish, stop, fault, heal, wait or until, each a mapping like wait: 2s",
        ),
    ),
    (
        HEAD + RUN + "  -\n",
        (
            "f.yaml:6:4: this is no step; a step is one of start, run, finish, stop, fault, heal, wait or until, each a mapping like wait: 2s",
        ),
    ),
    (
        HEAD + RUN + ("  - {}\n  - []\n"),
        (
            "f.yaml:6:5: this step is empty; a step is one of start, run, finish, stop, fault, heal, wait or until",
            "f.yaml:7:5: this is no step; a step is one of start, run, finish, stop, fault, heal, wait or until, each a mapping like wait: 2s",
        ),
    ),
    (
        HEAD + RUN + ("  - run: x\n    stop: y\n    on: client\n"),
        ("f.yaml:7:5: one step has both run and stop; begin a new step with a dash",),
    ),
    (
        HEAD + ("  - run: probe connect server 65432\n    on: client\n"),
        (
            "f.yaml:3:5: expect: is missing in this run step; write expect: {errno: null}",
            "f.yaml:3:10: a command is a list, so that every argument is seen; write [probe, connect, server, 65432]",
        ),
    ),
    (
        HEAD + ("  - run: []\n    onn: client\n    expect: 5\n"),
        (
            "f.yaml:3:5: a command needs at least a program, like [probe, connect, server, 65432]",
            "f.yaml:4:5: unknown key 'onn'; did you mean on? The keys here are name, run, on, timeout, env and expect",
            "f.yaml:5:13: expect: must be a mapping (errno, exit, signal, timed_out, elapsed, within, stdout, stderr, sent, received, "
            "throughput, outcome, packets, icmp, retransmissions, same, sockets, queues), not '5'",
        ),
    ),
    (
        HEAD + ("  - run: [a]\n    on: 5\n    expect:\n    errno: null\n"),
        (
            "f.yaml:4:9: on: must be text, not '5'; as text it is written in quotes: \"5\"",
            "f.yaml:5:5: expect: is empty; write a mapping (errno, exit, signal, timed_out, elapsed, within, stdout, stderr, sent, received, "
            "throughput, outcome, packets, icmp, retransmissions, same, sockets, queues)",
            "f.yaml:6:5: errno: belongs inside expect:, indented one level deeper",
        ),
    ),
    (
        HEAD
        + (
            "  - run: [a, [b], {c: d}, ]\n"
            "    on: [client]\n"
            "    expect: []\n"
            "    timeout: 5\n"
            "    env: {A: 1, B: [x]}\n"
        ),
        (
            "f.yaml:3:14: run: must be text, not a list",
            "f.yaml:3:19: run: must be text, not a mapping",
            "f.yaml:4:5: on: must be text, not a list",
            "f.yaml:5:5: expect: must be a mapping (errno, exit, signal, timed_out, elapsed, within, stdout, stderr, sent, received, "
            "throughput, outcome, packets, icmp, retransmissions, same, sockets, queues), not a list",
            "f.yaml:6:14: duration 5 has no unit; write one of us, ms, s, m, min, h, like 100ms",
            "f.yaml:7:17: B: must be text, not a list",
        ),
    ),
    (
        HEAD
        + (
            "  - run: [a, true, 010, 1.10, ~]\n"
            "    on: client\n"
            "    env: {A: 1.10, B: yes, C: true}\n"
            "    expect: {errno: null}\n"
        ),
        ("f.yaml:3:31: an entry of run: is empty; write text, or remove it",),
    ),
    (
        HEAD
        + (
            "  - run: a\n"
            "    on: client\n"
            "    expect: {errno: econnreset, exit: 300, timed_out: yes, elapsed: 3s, within: 3, stdout: 42}\n"
        ),
        (
            "f.yaml:5:21: 'econnreset' is no errno symbol; did you mean ECONNRESET? Write one like ECONNREFUSED, or null for success",
            "f.yaml:5:39: exit: '300' is out of range; it must be at most 255",
            "f.yaml:5:55: timed_out: must be true or false, not 'yes'",
            "f.yaml:5:69: elapsed: must be a mapping (min, max), not '3s'",
            "f.yaml:5:81: duration 3 has no unit; write one of us, ms, s, m, min, h, like 100ms",
            "f.yaml:5:92: stdout: must be text or a mapping (exact, contains, matches, lacks), not '42'; as text it is written in quotes: \"42\"",
        ),
    ),
    (
        HEAD
        + (
            "  - run: a\n"
            "    on: client\n"
            "    expect: {errno: [null, 5], exit: true, elapsed: {min: 3s, mx: 4s}, stdout: {contain: x}, sent: 1.5}\n"
        ),
        (
            "f.yaml:5:28: errno: must be text, not '5'; as text it is written in quotes: \"5\"",
            "f.yaml:5:38: exit: must be a whole number, not 'true'",
            "f.yaml:5:63: unknown key 'mx'; did you mean max? The keys here are min and max",
            "f.yaml:5:81: unknown key 'contain'; did you mean contains? The keys here are exact, contains, matches and lacks",
            "f.yaml:5:100: size 1.5 has no unit; write one of B, kB, MB, GB, KiB, MiB, GiB, like 64KiB",
        ),
    ),
    (
        HEAD
        + (
            "  - run: a\n"
            "    on: client\n"
            "    expect: {sent: 64kb, received: {min: 2KiB, max: 1KiB}, recv_q: 3, sockets: {at: x}, packets: [{at: client, filter: tcp, count: -1}, {at: client, count: many}, {filter: x, count: {min: 3, max: 2}}]}\n"
        ),
        (
            "f.yaml:5:20: 'kb' is no unit of size; write one of B, kB, MB, GB, KiB, MiB, GiB, like 64KiB",
            "f.yaml:5:26: min: is more than max:, so nothing could ever lie between them; swap them",
            "f.yaml:5:60: recv_q: belongs inside sockets:, indented one level deeper",
            "f.yaml:5:71: sockets: must be a list, not a mapping",
            "f.yaml:5:132: count: '-1' is out of range; it must be at least 0",
            "f.yaml:5:137: filter: is missing in this entry of packets:; write filter: 'tcp.flags.reset == 1'",
            "f.yaml:5:157: count: must be a whole number or a mapping (min, max), not 'many'",
            "f.yaml:5:164: at: is missing in this entry of packets:; write at: server",
            "f.yaml:5:176: min: is more than max:, so nothing could ever lie between them; swap them",
        ),
    ),
    (
        HEAD
        + (
            "  - run: a\n"
            "    on: client\n"
            "    expect: {sockets: [{at: server}, {at: server, port: 70000, state: ESTABLISHED, recv_q: x}], queues: {of: [], equals: snt}, outcome: [], packets: []}\n"
        ),
        (
            "f.yaml:5:24: which socket? write port: (its own) or peer: (the other side's)",
            "f.yaml:5:57: port: '70000' is out of range; it must be at most 65535",
            "f.yaml:5:71: state: cannot be 'ESTABLISHED'; did you mean ESTAB? It is one of ESTAB, SYN-SENT, SYN-RECV, FIN-WAIT-1, FIN-WAIT-2, TIME-WAIT, UNCONN, CLOSE-WAIT, LAST-ACK, LISTEN or CLOSING",
            "f.yaml:5:92: 'x' is no size; write a number with a unit, like 64KiB",
            "f.yaml:5:106: of: is empty; write at least one",
            "f.yaml:5:122: equals: cannot be 'snt'; did you mean sent? It is one of sent or received",
            "f.yaml:5:128: outcome: must be a mapping of names and values, not a list",
            "f.yaml:5:141: packets: is empty; write at least one",
        ),
    ),
    (
        HEAD + ("  - run: a\n    on: client\n    expect: {}\n"),
        ("f.yaml:5:5: expect: says nothing, so it could never fail; write at least errno: null",),
    ),
    (
        HEAD + ("  - run: a\n    on: client\n    expect: {errno: []}\n"),
        ("f.yaml:5:14: errno: lists nothing, so it could never hold; write null for success",),
    ),
    (
        HEAD + "  - wait: 1s\n",
        (
            "f.yaml:1:1: no step expects anything, so this scenario could never fail; give a run step an expect",
        ),
    ),
    (
        HEAD
        + RUN
        + (
            "  - start: app\n"
            "    on: server\n"
            "    ready: {}\n"
            "  - start: app\n"
            "    on: server\n"
            "    ready: {listen: 1, bound: 2}\n"
            "  - start: app\n"
            "    on: server\n"
            "    ready: {listen: http, timout: 3s}\n"
            "    as: X\n"
        ),
        (
            "f.yaml:8:5: ready: waits for exactly one of listen, bound, output",
            "f.yaml:11:5: ready: waits for exactly one of listen, bound, output",
            "f.yaml:14:21: listen: must be a whole number, not 'http'",
            "f.yaml:14:27: unknown key 'timout'; did you mean timeout? The keys here are listen, bound, output and timeout",
            "f.yaml:15:9: as: cannot be 'X'; a name is lower-case letters, digits and dashes beginning with a letter, at most 20",
        ),
    ),
    (
        HEAD + RUN + "  - {until: {}, on: server}\n  - {until: {listen: 1, bound: 2}, on: a}\n  - {until: {output: x}, on: a}\n",
        (
            "f.yaml:6:6: until: waits for exactly one of listen, bound",
            "f.yaml:7:6: until: waits for exactly one of listen, bound",
            "f.yaml:8:6: until: waits for a socket, and no program speaks here; write listen: PORT or bound: PORT",
        ),
    ),
    (
        HEAD
        + (
            "  - run: a\n"
            "    on: client\n"
            "    expect:\n"
            "      same:\n"
            "        - {at: [client], filter: tcp}\n"
            "        - {at: [a, b, c], filter: tcp}\n"
            "        - {at: [], filter: tcp}\n"
        ),
        (
            "f.yaml:7:12: at: compares two hosts, and here is 1; write the one that sends and the one where it arrives, like [client, server]",
            "f.yaml:8:12: at: compares two hosts, and here are 3; write the one that sends and the one where it arrives, like [client, server]",
            "f.yaml:9:12: at: compares two hosts, and here are 0; write the one that sends and the one where it arrives, like [client, server]",
        ),
    ),
    (
        HEAD
        + (
            f"  - {{start: a, on: b, ready: {{listen: {'9' * 5000}}}}}\n"
            "  - {fault: w, at: b, link: {delay: 1s, limit: 99999999999999999999}}\n"
            "  - {fault: x, at: b, link: {rate: 0bit}}\n"
            "  - {fault: y, at: b, link: {delay: 1s, jitter: 241s}}\n"
            "  - {fault: z, at: b, drop: {probability: 100%}}\n"
            "  - run: a\n"
            "    on: client\n"
            "    expect: {exit: -1000000000000000000, sent: 0x1000000000000000, icmp: [{at: a, type: redirect, count: {min: 1000000000000000000}}]}\n"
        ),
        (
            f"f.yaml:3:39: listen: '{'9' * 39}…' is out of range; it must be at most 65535",
            "f.yaml:4:48: limit: '99999999999999999999' is out of range; it must be at most 1000000",
            "f.yaml:5:36: rate: '0bit' is out of range; it must be at least 8bit",
            "f.yaml:6:49: jitter: '241s' is out of range; it must be at most 240s",
            "f.yaml:7:43: probability: '100%' is out of range; it must be less than 100%",
            "f.yaml:10:20: exit: '-1000000000000000000' is out of range; it must be at least 0",
            "f.yaml:10:48: sent: '0x1000000000000000' is out of range; write at most 18 digits",
            "f.yaml:10:112: min: '1000000000000000000' is out of range; write at most 18 digits",
        ),
    ),
    (
        HEAD + RUN + ("  - start: app\n    on: server\n    ready:\n    listen: 80\n"),
        (
            "f.yaml:8:5: ready: is empty; write a mapping (listen, bound, output, timeout), or leave ready: out",
            "f.yaml:9:5: listen: belongs inside ready:, indented one level deeper",
        ),
    ),
    (
        HEAD + RUN + ("  - stop: app\n    signal: SIGTERM\n  - heal:\n  - heal: []\n  - heal: 3\n"),
        (
            "f.yaml:7:13: signal: cannot be 'SIGTERM'; did you mean TERM? It is one of TERM, INT, KILL, HUP, QUIT, USR1 or USR2",
            "f.yaml:8:5: heal: is empty; write text or a list",
            "f.yaml:9:5: heal: is empty; write at least one",
            "f.yaml:10:11: heal: must be text or a list, not '3'; as text it is written in quotes: \"3\"",
        ),
    ),
    (
        HEAD + RUN + ("    expect: {exit: 0}\n    on: client\n"),
        (
            "f.yaml:6:5: the key expect stands in line 5 and again here in line 6; keep one of them",
            "f.yaml:7:5: the key on stands in line 4 and again here in line 7; keep one of them",
        ),
    ),
    (
        (
            "scenario: x\n"
            "scenario: y\n"
            "steps:\n"
            "  - run: [probe, connect, server, 65432]\n"
            "    on: client\n"
            "    expect: {errno: null}\n"
        ),
        ("f.yaml:2:1: the key scenario stands in line 1 and again here in line 2; keep one of them",),
    ),
    (
        (
            "scenario: x\n"
            "timout: 3s\n"
            "capture: no\n"
            "sample: 1ms\n"
            "lab: 3\n"
            "tags: a\n"
            "params: 4\n"
            "steps:\n"
            "  - run: [probe, connect, server, 65432]\n"
            "    on: client\n"
            "    expect: {errno: null}\n"
        ),
        (
            "f.yaml:2:1: unknown key 'timout'; did you mean timeout? The keys here are scenario, include, lab, tags, params, cases, timeout, capture, sample and steps",
            "f.yaml:3:10: capture: is on or off, or a mapping (enabled, max, snaplen, filter)",
            "f.yaml:4:9: sample: '1ms' is out of range; it must be at least 10ms",
            "f.yaml:5:6: lab: must be text, not '3'; as text it is written in quotes: \"3\"",
            "f.yaml:6:7: tags: must be a list, not 'a'",
            "f.yaml:7:1: params: is a mapping of names and values, like params: {port: 65432}",
        ),
    ),
    (
        (
            "scenario: x\n"
            "capture: {max: 1KiB, snap: 3}\n"
            "params: {a: [1], 3b: 3, c: , d: 3}\n"
            "steps:\n"
            '  - run: [probe, connect, server, "${e}"]\n'
            "    on: client\n"
            "    expect: {errno: null}\n"
        ),
        (
            "f.yaml:2:16: max: '1KiB' is out of range; it must be at least 64KiB",
            "f.yaml:2:22: unknown key 'snap'; did you mean snaplen? The keys here are enabled, max, snaplen and filter",
            "f.yaml:3:10: the parameter a needs one value: text, a number, true, false or null",
            "f.yaml:3:10: the parameter a is used nowhere; write ${a} where it belongs",
            "f.yaml:3:18: '3b' cannot be a parameter; a name is letters, digits, _ and -, a letter first",
            "f.yaml:3:25: the parameter c needs one value: text, a number, true, false or null",
            "f.yaml:3:25: the parameter c is used nowhere; write ${c} where it belongs",
            "f.yaml:3:30: the parameter d is used nowhere; write ${d} where it belongs",
            "f.yaml:5:35: there is no parameter e; this file has a, c and d",
        ),
    ),
    (
        (
            "scenario: x\n"
            "params: {port: 80}\n"
            "steps:\n"
            '  - run: [probe, connect, server, "${prot}", "$${x}", "${", "${a b}"]\n'
            "    on: client\n"
            "    expect: {errno: null}\n"
        ),
        (
            "f.yaml:2:10: the parameter port is used nowhere; write ${port} where it belongs",
            "f.yaml:4:35: there is no parameter prot; did you mean port? This file has port",
            "f.yaml:4:55: ${ is no parameter; write ${name}, or $${ for the two characters themselves",
            "f.yaml:4:61: ${a b} is no parameter; write ${name}, or $${ for the two characters themselves",
        ),
    ),
    (
        (
            "scenario: x\n"
            "params: {count: three, t: 3}\n"
            "steps:\n"
            "  - run: [probe, connect, server, 65432]\n"
            "    on: client\n"
            '    expect: {errno: null, packets: [{at: client, filter: x, count: "${count}"}], within: "${t}"}\n'
        ),
        (
            "f.yaml:6:68: count: must be a whole number or a mapping (min, max), not '${count}' (${count} is three)",
            "f.yaml:6:90: duration 3 has no unit; write one of us, ms, s, m, min, h, like 100ms (${t} is 3)",
        ),
    ),
    (
        (
            "scenario: x\n"
            "common: &b {on: client, expect: {errno: null}}\n"
            "steps:\n"
            "  - <<: *b\n"
            "    run: [a]\n"
            "  - {<<: 3, wait: 1s}\n"
            "  - {? [a] : b}\n"
        ),
        (
            "f.yaml:2:1: unknown key 'common'; the keys here are scenario, include, lab, tags, params, cases, timeout, capture, sample and steps",
            "f.yaml:6:10: <<: takes a mapping, like <<: *name, or a list of them",
            "f.yaml:7:5: this step is empty; a step is one of start, run, finish, stop, fault, heal, wait or until",
            "f.yaml:7:8: a key is a word, not a list or a mapping",
        ),
    ),
    (
        HEAD + RUN + ("  - run: [a]\n    on: client\n    expect: {errno: null, within: 2s\n"),
        ("f.yaml:9:1: the { opened in line 8 lacks a comma or its } before this",),
    ),
    (
        HEAD + RUN + ("    expct: {errno: null}\n    errno: null\n"),
        (
            "f.yaml:6:5: unknown key 'expct'; did you mean expect? The keys here are name, run, on, timeout, env and expect",
            "f.yaml:7:5: errno: belongs inside expect:, indented one level deeper",
        ),
    ),
    (
        HEAD + RUN + ("  - start: a\n    on: x\n    expect: {errno: null}\n"),
        ("f.yaml:8:5: unknown key 'expect'; the keys here are name, start, on, as, ready and env",),
    ),
    (
        HEAD
        + (
            "  - run: [probe, connect, server, 65432]\n"
            "    on: client\n"
            "    expect: {errno: null, stdout: {matches: '('}}\n"
        ),
        ("f.yaml:5:45: '(' is no regular expression: missing ), unterminated subpattern at position 0",),
    ),
    (
        HEAD
        + (
            "  - run: [ls, \"a\\0b\"]\n"
            "    on: client\n"
            "    env: {\"\": x, A=B: y, \"N\\0\": z, A: \"x\\0y\"}\n"
            "    expect: {exit: 1}\n"
        ),
        (
            "f.yaml:3:15: 'a\\x00b' has a NUL in it, and no program can be given one; leave it out",
            "f.yaml:5:15: '' is no name of an environment variable; it is at least one character, without = and NUL",
            "f.yaml:5:23: 'A=B' is no name of an environment variable; it is at least one character, without = and NUL",
            "f.yaml:5:33: 'N\\x00' is no name of an environment variable; it is at least one character, without = and NUL",
            "f.yaml:5:39: 'x\\x00y' has a NUL in it, and no program can be given one; leave it out",
        ),
    ),
    (
        HEAD + RUN + "  - {start: \"\\0\", on: server}\n",
        ("f.yaml:6:13: '\\x00' has a NUL in it, and no program can be given one; leave it out",),
    ),
]
