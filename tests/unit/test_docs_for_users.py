"""The pages for users of Python and of CI: what they name exists, and the files they show are the files that are there."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from labctl import api
from labctl.cli import main
from labctl.scenario.yamltext import CoreLoader

DOCS = Path(__file__).resolve().parents[2] / "docs"
CI = sorted((DOCS / "ci").glob("*.yml"))
PYTHON = (DOCS / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PYTHON, re.MULTILINE | re.DOTALL)


# -- CI: the structure that the services document ----------------------------------------------------------------------


class Part(BaseModel):
    """A mapping in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Step(Part):
    """GitHub Actions, jobs.<id>.steps[*]: `uses` or `run`, never both and never neither."""

    name: str | None = None
    if_: str | None = Field(None, alias="if")
    uses: Annotated[str, Field(pattern=r"^[\w.-]+/[\w./-]+@v\d+$")] | None = None
    with_: dict[str, str | int | bool] | None = Field(None, alias="with")
    run: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _does_one_thing(self) -> Step:
        if (self.uses is None) == (self.run is None):
            raise ValueError("a step has either uses: or run:")
        if self.with_ and self.run:
            raise ValueError("with: belongs to uses:")
        return self


class Job(Part):
    """GitHub Actions, jobs.<id>."""

    runs_on: str = Field(alias="runs-on", pattern=r"^ubuntu-(\d\d\.\d\d|latest)$")
    timeout_minutes: int = Field(alias="timeout-minutes", ge=1, le=360)
    steps: list[Step] = Field(min_length=1)


class GitHub(Part):
    """GitHub Actions, a workflow."""

    name: str
    on: dict[Literal["push", "pull_request"], dict[str, list[str]] | None]
    permissions: dict[Literal["contents"], Literal["read"]]
    env: dict[str, str] = {}
    jobs: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][\w-]*$")], Job] = Field(min_length=1)


class Artifacts(Part):
    """GitLab, artifacts."""

    when: Literal["always", "on_failure", "on_success"]
    expire_in: str
    expose_as: str
    paths: list[str] = Field(min_length=1)
    reports: dict[Literal["junit"], str]


class GitLabJob(Part):
    """GitLab, a job: it has a script."""

    image: str
    services: list[str]
    variables: dict[str, str]
    timeout: str
    before_script: list[str]
    script: list[str] = Field(min_length=1)
    artifacts: Artifacts


MODELS: dict[str, TypeAdapter[Any]] = {
    "github.yml": TypeAdapter(GitHub),
    "gitlab.yml": TypeAdapter(dict[str, GitLabJob | dict[str, str]]),
}


def parsed(path: Path) -> Any:
    import yaml

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
def test_a_ci_file_has_the_structure_that_its_service_documents(path: Path) -> None:
    """Each file is YAML of the service's shape; a step without uses and run, or a job without steps, would be refused."""
    value = parsed(path)
    MODELS[path.name].validate_python(value)
    for broken in (
        {**value, "jobs": {"x": {"steps": [{"name": "nothing"}]}}},
        {"scenarios": {"image": "x"}, "x": 1},
    ):
        with pytest.raises(ValidationError):
            MODELS[path.name].validate_python(broken)


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
