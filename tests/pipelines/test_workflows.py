"""The workflows: pinned actions, least privilege, and only commands that exist."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from spawn.testing.intensity import THOROUGH_VARIABLE

ROOT = Path(__file__).parents[2]
FORGE = ROOT / ".github"
WORKFLOWS = sorted((FORGE / "workflows").glob("*.yml"))
ACTIONS = sorted((FORGE / "actions").glob("*/action.yml"))
PINNED = re.compile(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
WRITABLE = {"packages", "id-token", "attestations"}
"""What a job may write; nothing writes to the repository."""
ENVIRONMENTS = {"preview-${{ matrix.stack }}", "staging", "production"}
"""Environments of the jobs that have secrets."""


def read_workflow(path: Path) -> dict[Any, Any]:
    document: dict[Any, Any] = msgspec.yaml.decode(path.read_bytes())
    return document


def list_jobs() -> list[Any]:
    return [
        pytest.param(path.stem, job, id=f"{path.stem}: {name}")
        for path in WORKFLOWS
        for name, job in read_workflow(path)["jobs"].items()
    ]


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: str(path.parent.name))
def test_each_action_is_pinned_by_its_commit_with_its_version(path: Path) -> None:
    used = re.findall(r"^ *(?:- )?uses: (.*)$", path.read_text(), re.MULTILINE)
    assert used
    for action in used:
        if action.startswith("./"):
            assert (ROOT / action).exists(), action
        else:
            assert PINNED.match(action), action


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_no_permission_and_trusts_no_fork(path: Path) -> None:
    workflow = read_workflow(path)
    assert workflow["permissions"] == {}
    # YAML 1.1 reads `on` as true.
    assert "pull_request_target" not in str(workflow.get("on", workflow.get(True)))


@pytest.mark.parametrize(("workflow", "job"), list_jobs())
def test_a_job_has_only_the_permissions_that_it_names(workflow: str, job: dict[str, Any]) -> None:
    for scope, access in job["permissions"].items():
        assert access == "read" or scope in WRITABLE, scope
    if "uses" not in job:
        assert job["timeout-minutes"] <= 45
    uses_secrets = "secrets." in str(job)
    assert not uses_secrets or job["environment"] in ENVIRONMENTS, workflow


def test_production_is_updated_by_a_release_after_an_approval_and_staging_by_main() -> None:
    release, staging = (
        read_workflow(FORGE / "workflows" / f"{name}.yml") for name in ("release", "staging")
    )
    assert release.get("on", release.get(True)) == {"release": {"types": ["released"]}}
    # All jobs of a release wait for this one.
    assert release["jobs"]["check"]["if"] == "${{ !github.event.release.prerelease }}"
    waiting = {name: job.get("needs") for name, job in release["jobs"].items()}
    assert waiting == {
        "check": None,
        "wheel": "check",
        "publish": "wheel",
        "image": "wheel",
        "deploy": "image",
    }
    assert release["jobs"]["deploy"]["environment"] == "production"
    assert release["jobs"]["publish"]["environment"] == "package"
    assert staging.get("on", staging.get(True)) == {"push": {"branches": ["main"]}}
    for workflow in (release, staging):
        assert workflow["concurrency"].get("cancel-in-progress") is not True
        deploy = workflow["jobs"]["deploy"]
        assert deploy["needs"] == "image"
        assert "check" in workflow["jobs"]


def run_stack_action(tmp_path: Path, deployed: str = "", **inputs: str) -> tuple[int, list[str]]:
    """Run the last step of the action with a recording engine; return its status and commands."""
    (step,) = [
        step
        for step in read_workflow(FORGE / "actions" / "stack" / "action.yml")["runs"]["steps"]
        if step.get("name") == "Run the engine"
    ]
    engine = tmp_path / "pulumi"
    present = f"echo {deployed}" if deployed else "exit 255"
    engine.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/commands\n'
        f'case "$*" in "stack output image") {present};; esac\n'
    )
    engine.chmod(0o755)
    done = subprocess.run(
        # As the forge runs it.
        ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "STACK": "prod", **inputs},
        capture_output=True,
        check=False,
    )
    return done.returncode, (tmp_path / "commands").read_text().splitlines()


@pytest.mark.parametrize("command", ["preview", "up"])
def test_every_run_of_the_engine_obeys_the_policy_pack(tmp_path: Path, command: str) -> None:
    status, commands = run_stack_action(tmp_path, COMMAND=command, IMAGE="x@sha256:1")
    assert status == 0
    assert commands[:2] == [
        "stack select prod",
        "config set --path spawn:service.image x@sha256:1",
    ]
    assert commands[2].startswith(f"{command} --policy-pack policy ")
    assert (ROOT / "infra" / "policy" / "PulumiPolicy.yaml").exists()
    text = "".join(path.read_text() for path in [*WORKFLOWS, *ACTIONS])
    for line in re.findall(r"pulumi (?:preview|up|update|destroy) -.*", text):
        assert "--policy-pack policy" in line, line


def test_a_preview_has_the_image_that_is_deployed(tmp_path: Path) -> None:
    status, commands = run_stack_action(tmp_path, "y@sha256:2", COMMAND="preview", IMAGE="")
    assert status == 0
    assert "config set --path spawn:service.image y@sha256:2" in commands


@pytest.mark.parametrize(("command", "status"), [("preview", 0), ("up", 1)])
def test_a_stack_that_has_no_image_yet_is_left_alone(
    tmp_path: Path, command: str, status: int
) -> None:
    result, commands = run_stack_action(tmp_path, COMMAND=command, IMAGE="")
    assert (result, commands) == (status, ["stack select prod", "stack output image"])


def test_a_change_of_the_infrastructure_is_previewed_on_every_stack_of_a_cluster() -> None:
    job = read_workflow(FORGE / "workflows" / "preview.yml")["jobs"]["preview"]
    stacks = {path.stem.removeprefix("Pulumi.") for path in (ROOT / "infra").glob("Pulumi.*.yaml")}
    assert set(job["strategy"]["matrix"]["stack"]) == stacks - {"dev"}
    assert job["steps"][-1]["with"]["stack"] == "${{ matrix.stack }}"


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "".join(path.read_text() for path in WORKFLOWS)
    named = {
        word
        for command in re.findall(r"\bmake ([^\n]*)", text)
        for word in command.split()
        if "=" not in word
    }
    assert {
        "lint",
        "types",
        "test",
        "test-lowest",
        "test-properties",
        "test-thorough",
        "site",
        "conformance",
        "audit",
        "wheel",
        "image",
    } <= named
    assert named - targets == set()


def test_every_night_the_searches_have_all_their_rounds() -> None:
    workflow = read_workflow(FORGE / "workflows" / "thorough.yml")
    triggers: dict[str, Any] = workflow.get("on") or workflow[True]
    assert triggers["schedule"]
    (job,) = workflow["jobs"].values()
    *_, search_at_random, search_all = job["steps"]
    assert "make test-properties" in search_at_random["run"]
    assert "make test-thorough" in search_all["run"]
    assert search_all["if"] == "${{ !cancelled() }}"
    printed = subprocess.run(
        [shutil.which("make") or "make", "--dry-run", "test-thorough"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"{THOROUGH_VARIABLE}=1 " in printed


def test_the_tests_run_on_every_supported_python_and_on_the_next() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: "
    supported = [c.removeprefix(prefix) for c in project["classifiers"] if c.startswith(prefix)]
    test = read_workflow(FORGE / "workflows" / "check.yml")["jobs"]["test"]
    assert test["strategy"]["matrix"]["python"] == [*supported, "3.14"]
    assert project["requires-python"] == f">={supported[0]}"


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        (
            (
                "uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
                "uses: actions/checkout@v7",
            ),
            "unpinned-uses",
        ),
        (("permissions:\n      contents: read", "permissions: write-all"), "excessive-permissions"),
        (("make lint types", "make ${{ github.head_ref }}"), "template-injection"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_zizmor_finds_faults_of_workflows(
    tmp_path: Path, fault: tuple[str, str], finding: str
) -> None:
    program = shutil.which("zizmor", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("NOT TESTED: zizmor is not installed (make .venv/dev.stamp)")
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    text = (FORGE / "workflows" / "check.yml").read_text()
    assert fault[0] in text
    (folder / "check.yml").write_text(text.replace(*fault))
    done = subprocess.run(
        [program, "--offline", "--quiet", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert finding in done.stdout
