
"""A good file becomes the scenario that was written, with the position of everything in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from bad_scenarios import HEAD, RUN

from labctl.errors import ScenarioError, UsageError
from labctl.scenario import yamltext
from labctl.scenario.loader import SHOWN, Loaded, from_source, load
from labctl.scenario.model import FaultStep, RunStep, StartStep
from labctl.scenario.yamltext import MAX_BYTES, Source, decode

GOOD = """\
# A firewall that drops says nothing.
scenario: firewall
params: {port: 65432, who: server, ratio: 1.50}
steps:
  - start: app-server
    on: ${who}
    ready: {listen: "${port}"}
  - name: the path works
    run: [app-client, "${who}", "${port}", "at-${ratio}", "$${port}"]
    on: client
    expect: {errno: null, within: 2s}
  - fault: wall
    at: router
    drop: {protocol: tcp, dport: "${port}", to: [client, "${who}"]}
  - run: [probe, connect, server, 65432]
    on: client
    expect:
      errno: ETIMEDOUT
      packets:
        - {at: client, filter: "tcp.dstport == ${port}", count: 3}
"""


def text(source: str, **overrides: str) -> Loaded:
    return from_source(Source("f.yaml", source), overrides)


def problems(source: str, **overrides: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        text(source, **overrides)
    return [str(problem) for problem in caught.value.problems]


def run_step(yaml_text: str) -> RunStep:
    step = text(HEAD + yaml_text).scenario.steps[0]
    assert isinstance(step, RunStep)
    return step


def test_parameters_are_put_in_with_their_type() -> None:
    start, run, fault, _ = text(GOOD).scenario.steps
    assert isinstance(start, StartStep)
    assert isinstance(run, RunStep)
    assert isinstance(fault, FaultStep)
    assert (start.on, start.ready and start.ready.listen) == ("server", 65432)
    assert run.run == ("app-client", "server", "65432", "at-1.50", "${port}")
    assert (fault.spec.dport, fault.spec.hosts()) == ("65432", ("client", "server"))


def test_an_override_takes_the_place_of_a_parameter_everywhere() -> None:
    loaded = text(GOOD, port="80", who="'10'")
    start = loaded.scenario.steps[0]
    assert isinstance(start, StartStep)
    assert (start.on, start.ready and start.ready.listen) == ("10", 80)
    assert loaded.scenario.params == {"port": 80, "who": "10", "ratio": 1.5}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "prot",
            "80",
            "--set prot: f.yaml has no such parameter; did you mean --set port=80? (it has port, who and ratio)",
        ),
        (
            "port",
            "[1, 2]",
            "--set port=[1, 2]: a parameter is one value; text like this needs quotes: '\"[1, 2]\"'",
        ),
    ],
)
def test_a_wrong_override_is_a_usage_error(name: str, value: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        text(GOOD, **{name: value})
    assert str(caught.value) == message


@pytest.mark.parametrize("value", ["", "a b", "@x", "*x", "!x", "[" * 5000, "a\0b", "${who}", "# no"])
def test_an_override_that_is_no_yaml_is_text_or_refused(value: str) -> None:
    try:
        assert text(GOOD.replace("[client, ", "[").replace('"${port}"', "80"), who=value)
    except (ScenarioError, UsageError) as error:
        assert str(error)  # noqa: PT017  either is fine, nothing else is


def test_a_wrong_value_says_which_parameter_it_came_from() -> None:
    assert problems(GOOD, port="many") == [
        "f.yaml:7:21: listen: must be a whole number, not '${port}' (${port} is many, by --set)",
        "f.yaml:14:34: 'many' is no port; write a number from 1 to 65535 or a range like 8000-8010"
        " (${port} is many, by --set)",
    ]


def test_only_true_and_false_are_booleans_and_numbers_are_decimal() -> None:
    step = run_step(
        '  - run: [probe, on, 010, 1.10, 0x10, 1:30, 2024-01-01, true, "null", 1_000]\n'
        "    on: no\n    env: {A: yes, B: 1.10, C: true}\n"
        "    expect: {outcome: {a: 010, b: 1:30, c: off, d: 2024-01-01, e: true, f: null, g: 0x1F, h: 1_000}}\n"
    )
    assert step.run == ("probe", "on", "010", "1.10", "0x10", "1:30", "2024-01-01", "true", "null", "1_000")
    assert step.on == "no"
    assert step.env == {"A": "yes", "B": "1.10", "C": "true"}
    assert step.expect.outcome == {
        "a": 10, "b": "1:30", "c": "off", "d": "2024-01-01", "e": True, "f": None, "g": 31, "h": "1_000"
    }  # fmt: skip


def test_errno_null_is_not_a_missing_errno() -> None:
    given = run_step("  - {run: x, on: a, expect: {errno: ~}}\n").expect
    missing = run_step("  - {run: x, on: a, expect: {exit: 0}}\n").expect
    assert "errno" in given.model_fields_set
    assert given.errno is None
    assert "errno" not in missing.model_fields_set
    assert given.needs_outcome
    assert not missing.needs_outcome


def test_anchors_and_merge_keys() -> None:
    loaded = text(
        HEAD + "  - &first {run: a, on: client, expect: &ok {errno: null}}\n"
        "  - {<<: *first, on: server}\n"
        "  - {run: b, on: client, expect: {<<: [*ok, {exit: 3}], exit: 0}}\n"
    )
    _, second, third = loaded.scenario.steps
    assert isinstance(second, RunStep)
    assert isinstance(third, RunStep)
    assert (second.run, second.on, second.expect.model_fields_set) == (("a",), "server", {"errno"})
    assert (third.expect.exit, third.expect.model_fields_set) == (0, {"errno", "exit"})


@pytest.mark.parametrize(
    ("loc", "position"),
    [
        ((), (1, 1)),
        (("scenario",), (2, 11)),
        (("steps",), (4, 1)),
        (("steps", 0), (5, 5)),
        (("steps", 0, "ready", "listen"), (7, 21)),
        (("steps", 0, "ready", "timeout"), (7, 5)),
        (("steps", 2, "drop"), (14, 5)),
        (("steps", 2, "drop", "to"), (14, 45)),
        (("steps", 2, "drop", "to", 0), (14, 50)),
        (("steps", 2, "at", 0), (13, 9)),
        (("steps", 3, "expect", "packets", 0, "filter"), (20, 32)),
        (("steps", 99, "nothing"), (4, 1)),
    ],
)
def test_every_location_has_a_position(loc: tuple[str | int, ...], position: tuple[int, int]) -> None:
    problem = text(GOOD).problem(loc, "m")
    assert (problem.file, problem.line, problem.column) == ("f.yaml", *position)


def test_files_are_named_as_the_user_named_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    assert load("./good.yaml").problem((), "m").file == "./good.yaml"
    loaded = load(Path("good.yaml"))
    assert (loaded.path, loaded.text) == (Path("good.yaml"), GOOD)


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "firewall.yaml").write_text("a: 1")
    (tmp_path / "big.yaml").write_bytes(b"a: 1\n" * 1_000_000)
    (tmp_path / "latin.yaml").write_bytes("scenario: x\n# é\n".encode("latin-1"))
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, message in {
        "firewal.yaml": "firewal.yaml:1:1: there is no such file; did you mean firewall.yaml?",
        "nix/a.yaml": "nix/a.yaml:1:1: there is no folder nix",
        "folder": "folder:1:1: is a folder, not a scenario; name the YAML file in it",
        "/dev/zero": "/dev/zero:1:1: is not a regular file",
        "big.yaml": "big.yaml:1:1: is larger than 1 MiB; a scenario is some 45 lines",
        "latin.yaml": "latin.yaml:2:3: byte 0xe9 is not UTF-8; save this file as UTF-8 text",
        "a\0b": "a\0b:1:1: cannot be read: the name holds a NUL",
    }.items():
        with pytest.raises(ScenarioError) as caught:
            load(name)
        assert str(caught.value) == message


def test_a_large_file_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "parse", lambda *_args, **_kw: pytest.fail("it was parsed"))
    with pytest.raises(ScenarioError, match="larger than 1 MiB"):
        decode("f.yaml", b"#" * (MAX_BYTES + 1))


def test_byte_order_mark_and_windows_lines_are_fine() -> None:
    loaded = from_source(decode("f.yaml", ("\ufeff" + GOOD.replace("\n", "\r\n")).encode()))
    assert loaded.problem(("steps", 2, "drop"), "m").line == 14


def test_problems_beyond_the_first_twenty_are_counted() -> None:
    shown = problems(HEAD + RUN + "  - wait: 5\n" * 33)
    assert len(shown) == SHOWN + 1
    assert shown[-1] == f"f.yaml:{6 + SHOWN}:11: and 13 more problems from here on"


def test_problems_of_steps_and_file_are_shown_together() -> None:
    shown = problems("scenario: x\nsampel: 1s\nsteps:\n" + RUN + "  - wait: 5\n  - wiat: 5s\n")
    assert [line.split(" ", 1)[0] for line in shown] == ["f.yaml:2:1:", "f.yaml:7:11:", "f.yaml:8:5:"]


def test_libyaml_and_pyyaml_agree_on_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick parser is used for its speed only: nothing about a file may depend on it."""
    if not hasattr(yaml, "CSafeLoader"):
        pytest.skip("PyYAML was built without libyaml")
    quick = text(GOOD.replace("says", "ßäys – 說"))

    class Slow(yaml.SafeLoader):
        yaml_implicit_resolvers = yamltext.CoreLoader.yaml_implicit_resolvers

    monkeypatch.setattr(yamltext, "CoreLoader", Slow)
    slow = text(GOOD.replace("says", "ßäys – 說"))
    assert dict(quick.marks) == dict(slow.marks)
    assert quick.scenario == slow.scenario
