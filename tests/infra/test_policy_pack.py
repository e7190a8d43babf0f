"""The policy pack as Pulumi runs it: a process that is asked about each resource."""

import subprocess
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2, struct_pb2
from policy.rules import RULES, Resource
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc
from tests.infra.monitoring.servers import skip_or_fail
from tests.infra.recording import INFRA, STACKS, TARGETS, deploy
from tests.infra.test_policy_rules import PLANTED

PYTHON = INFRA.parent / ".venv-policy" / "bin" / "python"


@pytest.fixture(scope="module")
def pack() -> Iterator[Any]:
    if not PYTHON.exists():
        skip_or_fail("the policy pack is not installed (make .venv-policy/stamp)")
    folder = str(INFRA / "policy")
    # The second argument is the address of the engine, which a rule never asks for anything.
    command = [str(PYTHON), "-u", folder, "127.0.0.1:1", folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield analyzer_pb2_grpc.AnalyzerStub(channel)
        finally:
            process.terminate()


def ask(pack: Any, resource: Resource) -> set[str]:
    """Return the names of the rules that the pack says the resource breaks."""
    properties = struct_pb2.Struct()
    properties.update(resource.inputs)
    request = analyzer_pb2.AnalyzeRequest(
        type=resource.type,
        properties=properties,
        urn=f"urn:pulumi:{resource.stack}::spawn::{resource.type}::{resource.name}",
        name=resource.name,
        options=analyzer_pb2.AnalyzerResourceOptions(protect=resource.protect),
    )
    return {each.policyName for each in pack.Analyze(request).diagnostics}


def test_the_pack_offers_every_rule_and_demands_it(pack: Any) -> None:
    info = pack.GetAnalyzerInfo(empty_pb2.Empty())
    assert [policy.name for policy in info.policies] == [rule.name for rule in RULES]
    assert {policy.enforcementLevel for policy in info.policies} == {analyzer_pb2.MANDATORY}


@pytest.mark.parametrize(("rule", "resource"), PLANTED)
def test_the_pack_rejects_a_planted_violation(pack: Any, rule: str, resource: Resource) -> None:
    assert ask(pack, resource) == {rule}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("stack", STACKS)
def test_the_pack_accepts_every_stack(pack: Any, stack: str, target: str) -> None:
    for each in deploy(stack, target).resources.values():
        # Pulumi gives the pack the texts of secrets.
        resource = Resource(
            type=each.type,
            name=each.name,
            stack=stack,
            inputs=each.revealed,
            protect=each.protect,
        )
        assert ask(pack, resource) == set(), each.name
