"""A first scenario for somebody's own compose file."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from labctl.cli import main
from labctl.errors import UsageError
from labctl.first import find_compose, first_scenario, write_first
from labctl.lab import read_lab
from labctl.runs import prepare

COMPOSE = """\
services:
  router: {image: r, labels: {labctl.role: router}, networks: [front, back]}
  db: {image: d, networks: [back]}
  web: {image: nginx, ports: ["8080:80", "9000:9000/udp"], networks: [back]}
  curl: {image: c, networks: [front], depends_on: [web]}
networks: {front: {}, back: {}}
"""


@pytest.fixture
def compose(tmp_path: Path) -> Path:
    path = tmp_path / "compose.yml"
    path.write_text(COMPOSE, encoding="utf-8")
    return path


def test_a_first_scenario_is_right_for_its_lab(compose: Path) -> None:
    """It is written with the schema beside it, names the host that serves, its port and who depends on it, and checks."""
    target, schema = write_first(compose, compose.parent / "scenarios/first.yaml")
    loaded, lab = prepare(target, {})
    assert (loaded.scenario.params, lab.path) == ({"port": 80}, compose)
    assert {getattr(step, "on", None) for step in loaded.scenario.steps} == {"web", "curl", None}
    assert f"$schema={schema.name}" in loaded.text.splitlines()[0]


@pytest.mark.parametrize(
    ("ports", "first"),
    [
        ("expose: [5432]", 5432), ("expose: ['5432/tcp']", 5432), ("ports: ['127.0.0.1:8080:6379']", 6379),
        ("ports: [{target: 443, published: 8443}]", 443), ("ports: ['53:53/udp', '8080']", 8080),
        ('healthcheck: {test: [CMD, curl, "http://127.0.0.1:8080/hello"]}', 8080),
        ("healthcheck: {test: curl -f http://localhost:9200/_cluster/health || exit 1}", 9200),
        ("healthcheck: {test: [CMD-SHELL, pg_isready]}", 80), ("healthcheck: nonsense", 80),
        ('expose: [5432], healthcheck: {test: "curl [::1]:8080"}', 5432),
        ("ports: [{target: 53, protocol: udp}]", 80), ("ports: ['3000-3005']", 80), ("ports: nonsense", 80),
    ],
)  # fmt: skip
def test_ports_are_read_as_compose_writes_them(tmp_path: Path, ports: str, first: int) -> None:
    """The container's side of each form, TCP only; where no port can be told 80 stands, and a note says so."""
    path = tmp_path / "c.yml"
    path.write_text(f"services:\n  a: {{image: x, {ports}}}\n  b: {{image: x}}\n", encoding="utf-8")
    text = first_scenario(read_lab(path), tmp_path / "first.yaml")
    assert f"params: {{port: {first}}}" in text
    assert ("does not say which port" in text) == (first == 80)


def test_what_is_there_is_not_overwritten(compose: Path) -> None:
    """A second init refuses, and the first file stays."""
    target, _ = write_first(compose, compose.parent / "first.yaml")
    target.write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="is there already"):
        write_first(compose, target)
    assert target.read_text(encoding="utf-8") == "mine"


def test_one_host_alone_is_told_what_to_add(tmp_path: Path) -> None:
    """A lab in which nobody could speak to the server: what to add to the compose file."""
    path = tmp_path / "c.yml"
    path.write_text("services: {web: {image: nginx}}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="add a service, like"):
        first_scenario(read_lab(path), tmp_path / "first.yaml")


def test_the_compose_file_of_a_folder_is_found_as_compose_finds_it(tmp_path: Path) -> None:
    """compose.yaml before docker-compose.yml; a folder without any is a usage error that says what was looked for."""
    with pytest.raises(UsageError, match=r"docker-compose\.yml"):
        find_compose(tmp_path)
    for name in ("docker-compose.yml", "compose.yaml"):
        (tmp_path / name).write_text(COMPOSE, encoding="utf-8")
    assert find_compose(tmp_path).name == "compose.yaml"


def test_init_says_what_to_run_next(compose: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`labctl init` in a folder with a compose file writes scenarios/first.yaml; again, it is exit 2."""
    monkeypatch.chdir(compose.parent)
    done = CliRunner().invoke(main, ["init"])
    assert (done.exit_code, "labctl run scenarios/first.yaml" in done.output) == (0, True)
    again = CliRunner().invoke(main, ["init"])
    assert again.exit_code == 2
