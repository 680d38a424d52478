"""What `labctl check` knows of the bundled programs' command lines is what they themselves take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from labctl.errors import ScenarioError
from labctl.runs import prepare
from labctl.scenario.model import PROGRAMS
from labctl.scenario.programs import FILE, SOURCES, ask, known, wrong

# Command lines with the beginning of what must be said of each, and of which word; nothing where it is right.
LINES: list[tuple[list[str], tuple[int, str] | None]] = [
    (["probe", "connect", "server", "80", "--syn-retries=2", "--timeout", "1.5s"], None),
    (["probe", "recv", "", "65432", "--listen", "--rcvbuf=8KiB"], None),
    (["app-client", "server", "80", "sum", "--format=h", "--", "-1,2"], None),
    (["app-client", "server", "80", "sum", "-1"], None),
    (["echo-server"], None),
    (["probe", "misuse", "ENOTCONN"], None),
    (["multiconn-client", "server", "80", "3"], None),
    (["probe"], (0, "probe needs a verb: ")),
    (["probe", "conect", "server", "80"], (1, "probe has no verb 'conect'; did you mean connect? ")),
    (["probe", "connect", "server"], (0, "probe connect needs PORT as well; write [probe, connect, HOST, PORT]")),
    (["probe", "connect", "server", "http"], (3, "PORT of probe connect cannot be 'http'; write a port, 0 to 65535")),
    (["probe", "connect", "server", "80", "--syn-retrys=2"],
     (4, "probe connect has no option --syn-retrys; did you mean --syn-retries?")),
    (["probe", "connect", "server", "80", "--xyzzy"], (4, "probe connect has no option --xyzzy; it has --")),
    (["probe", "connect", "server", "80", "--timeout=soon"],
     (4, "--timeout of probe connect cannot be 'soon'; write a time, ")),
    (["probe", "connect", "server", "80", "--timeout", "soon"],
     (5, "--timeout of probe connect cannot be 'soon'; write a time, ")),
    (["probe", "connect", "server", "80", "--timeout"], (4, "--timeout of probe connect needs a value, like --timeout=TIME")),
    (["probe", "connect", "server", "80", "--nonblocking=1"], (4, "--nonblocking of probe connect takes no value")),
    (["probe", "connect", "server", "80", "--family=5"],
     (4, "--family of probe connect cannot be '5'; it is one of 4, 6 or any")),
    (["probe", "connect", "server", "80", "-x"], (4, "probe connect has no option -x")),
    (["probe", "misuse", "ENOTCON"], (2, "ERRNO of probe misuse cannot be 'ENOTCON'; did you mean ENOTCONN?")),
    (["probe", "send", "server", "80", "--count=0"], (4, "--count of probe send cannot be '0'; write a number of 1 or more")),
    (["probe", "slow-reader", "", "80", "--read-size=0B"],
     (4, "--read-size of probe slow-reader cannot be '0B'; write a size of at")),
    (["probe", "send", "server", "80", "--size=1kb"], (4, "--size of probe send cannot be '1kb'; write a size, like 4096")),
    (["echo-client", "server", "80", "hi", "there"],
     (4, "echo-client takes no 'there' here; it takes host, port, message and options")),
]  # fmt: skip

# Asks the programs' own parsers: whether each takes each command line.
_PARSE = """
import contextlib, importlib, io, json, sys

def taken(module, words):
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            importlib.import_module(module).arguments().parse_args(words)
    except SystemExit:
        return False
    return True

print(json.dumps([taken(module, words) for module, words in json.loads(sys.argv[1])]))
"""


def test_the_file_is_up_to_date() -> None:
    """programs.json is what the programs say, for each of them."""
    assert FILE.read_text(encoding="utf-8") == ask(), "run python -m labctl.scenario.programs"
    assert known().keys() == PROGRAMS.keys()


@pytest.mark.parametrize(("words", "said"), LINES, ids=[" ".join(words) for words, _ in LINES])
def test_a_command_line_is_refused_with_what_would_be_right(words: list[str], said: tuple[int, str] | None) -> None:
    """The word that is wrong, why, and the nearest right one; nothing is said of a line that is right."""
    found = list(wrong(words))
    assert [index for index, _ in found] == ([] if said is None else [said[0]])
    assert all(message.startswith(said[1]) for _, message in found if said)


def test_the_programs_agree() -> None:
    """Each of these lines is refused here exactly when the program's own parser refuses it."""
    asked = [(Path(PROGRAMS[words[0]]).stem, words[1:]) for words, _ in LINES]
    done = subprocess.run(
        [sys.executable, "-B", "-c", _PARSE, json.dumps(asked)], cwd=SOURCES, capture_output=True, text=True, check=True
    )
    taken = json.loads(done.stdout)
    assert taken == [said is None for _, said in LINES]


def test_check_points_at_the_word(tmp_path: Path) -> None:
    """A misspelt option is told with the line and column at which it stands, of run and of start steps."""
    (tmp_path / "compose.yml").write_text("services: {a: {image: x}, b: {image: x}}\n", encoding="utf-8")
    text = (
        "scenario: x\nlab: compose.yml\nsteps:\n"
        "  - {start: [echo-server, '', 80, --conections=0], on: a}\n"
        "  - {run: [probe, connect, a, 80, --syn-retrys=1], on: b, expect: {errno: null}}\n"
    )
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        prepare(tmp_path / "x.yaml", {})
    assert [(p.line, p.column, p.message.rpartition("; ")[2]) for p in caught.value.problems] == [
        (4, 35, "did you mean --connections?"),
        (5, 35, "did you mean --syn-retries?"),
    ]
