"""The pages for users of Python and of CI: what they name exists, and the files they show are the files that are there."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner, Result

from labctl import api
from labctl.cli import main
from labctl.scenario.yamltext import CoreLoader

DOCS = Path(__file__).resolve().parents[2] / "docs"
CI = sorted((DOCS / "ci").glob("*.yml"))
PYTHON = (DOCS / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PYTHON, re.MULTILINE | re.DOTALL)


# -- CI: held to the schemas of the services, which check-jsonschema brings with it ------------------------------------

SCHEMAS = {
    "github.yml": ["--builtin-schema", "vendor.github-workflows"],
    "gitlab.yml": ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"],
}


def held_to_its_schema(name: str, path: Path) -> Result:
    """What check-jsonschema says of a file that is meant as the CI file of this name; it asks nothing of the network."""
    return CliRunner().invoke(check_jsonschema, [*SCHEMAS[name], str(path)])


def parsed(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=CoreLoader)  # YAML 1.2, as the services read it


def lines_of(path: Path) -> list[str]:
    """Every shell line of a CI file."""
    found: list[str] = []
    value = parsed(path)
    for job in value.get("jobs", value).values():
        for step in job.get("steps", []):
            found += step.get("run", "").splitlines()
        found += [*job.get("before_script", []), *job.get("script", [])]
    return found


@pytest.mark.parametrize("path", CI, ids=lambda p: p.name)
def test_a_ci_file_is_one_by_the_schema_of_its_service(path: Path) -> None:
    """GitHub's schema of workflows and GitLab's of pipelines take the file as it is."""
    done = held_to_its_schema(path.name, path)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("github.yml", "- uses: actions/checkout@v4\n        with", "- with"),
        ("github.yml", "runs-on:", "runs_on:"),
        ("github.yml", "timeout-minutes: 20", "timeout-minutes: soon"),
        ("github.yml", "permissions: {contents: read}", "permissions: {contents: raed}"),
        ("gitlab.yml", "  script:", "  scirpt:"),
        ("gitlab.yml", "when: always", "when: allways"),
        ("gitlab.yml", "paths: [evidence/]", "paths: evidence/"),
    ],
)
def test_a_mistake_in_a_ci_file_is_found(name: str, before: str, after: str, tmp_path: Path) -> None:
    """What the service would refuse is refused here: a step that does nothing, a misspelt key, a value that is none."""
    text = (DOCS / "ci" / name).read_text(encoding="utf-8")
    assert before in text
    (tmp_path / name).write_text(text.replace(before, after, 1), encoding="utf-8")
    done = held_to_its_schema(name, tmp_path / name)
    assert done.exit_code == 1, done.output
    assert "Schema validation errors" in done.output


@pytest.mark.parametrize("path", CI, ids=lambda p: p.name)
def test_a_ci_file_calls_commands_and_options_that_exist(path: Path) -> None:
    """Every labctl command in it exists with every option it is given; JUnit and evidence go where artifacts are taken."""
    called = [line.split() for line in lines_of(path) if line.startswith("labctl ")]
    assert {words[1] for words in called} == {"doctor", "run"}
    for words in called:
        known = {option for parameter in main.commands[words[1]].params for option in parameter.opts}
        assert {word for word in words[2:] if word.startswith("--")} <= known
    text = path.read_text(encoding="utf-8")
    assert "--out evidence" in text
    assert "--junit evidence/junit.xml" in text
    assert "always" in text


@pytest.mark.parametrize("path", CI, ids=lambda p: p.name)
def test_the_page_shows_the_file_that_is_there(path: Path) -> None:
    """docs/ci.md has each file word for word."""
    text = (DOCS / "ci.md").read_text(encoding="utf-8")
    shown = re.search(
        rf"<!-- begin ci/{path.name} -->\n\n```yaml\n(.*?)```\n\n<!-- end ci/{path.name} -->", text, re.DOTALL
    )
    assert shown
    assert shown[1] == path.read_text(encoding="utf-8")


# -- Python ------------------------------------------------------------------------------------------------------------


def test_what_the_page_calls_exists() -> None:
    """Each `api.NAME` of docs/python.md exists with the arguments it is given; its blocks are run by the integration tests."""
    names = set()
    for block in BLOCKS:
        for node in ast.walk(ast.parse(block)):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "api"
            ):
                names.add(node.attr)
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("api."):
                known = inspect.signature(getattr(api, node.func.attr)).parameters  # type: ignore[attr-defined]
                assert {keyword.arg for keyword in node.keywords} <= set(known)
    assert names == {"load", "plan", "run", "judge", "lab"}
    assert names <= set(api.__all__)
    assert all(hasattr(api, name) for name in api.__all__)
    for name in re.findall(r"`(?:api\.)?(\w+(?:Failed|Nothing|Error))`", PYTHON):
        assert hasattr(api, name) or name == "AssertionError"


def test_the_page_tells_every_option_of_the_plugin_and_no_other() -> None:
    """docs/python.md and the plugin have the same --labctl-* options."""
    plugin = (DOCS.parent / "labctl/pytest_plugin.py").read_text(encoding="utf-8")
    pattern = r"--labctl-[a-z-]+[a-z]"
    assert set(re.findall(pattern, PYTHON)) == set(re.findall(rf'addoption\(\s*"({pattern})', plugin))
