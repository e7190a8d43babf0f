"""Run the Pulumi program with a real stack file against a recording monitor."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from pulumi.runtime import Mocks, rpc, set_all_config
from pulumi.runtime.mocks import MockCallArgs, MockEngine, MockMonitor, MockResourceArgs
from pulumi.runtime.mocks import MockSettings as Settings
from pulumi.runtime.proto.source_pb2 import StackTrace
from pulumi.runtime.settings import configure
from pulumi.runtime.stack import run_in_stack

INFRA = Path(__file__).parents[2] / "infra"
STACKS = ("dev", "staging", "prod")
TARGETS = ("docker", "kubernetes")
MODULES = (
    "stack_config",
    "docker_target",
    "kubernetes_objects",
    "kubernetes_target",
    "manifests",
    "targets",
)
SECRETS = {
    "spawn:metrics_key": "spn_live_prometheus_secret_of_the_test",
    "spawn:backup_signing_key": "0123456789abcdef" * 4,
    "spawn:encryption_key": "fedcba9876543210" * 4,
    "spawn:grafana_password": "correct horse battery staple",
}
_DIGEST = "sha256:" + "1" * 64
_PLACEHOLDER = "sha256:" + "0" * 64


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """One resource as the program registered it."""

    urn: str
    type: str
    name: str
    parent: str
    protect: bool
    retain_on_delete: bool
    depends_on: frozenset[str]
    inputs: dict[str, Any]

    @property
    def plain_text(self) -> str:
        """The inputs that are not marked as secret, as JSON."""
        return json.dumps(_hide_secrets(self.inputs))

    @property
    def revealed(self) -> dict[str, Any]:
        """The inputs with the texts of secrets."""
        inputs: dict[str, Any] = reveal(self.inputs)
        return inputs


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """Resources of one run by name, and the exports of the stack."""

    resources: dict[str, Registration]
    outputs: dict[str, Any]

    def find(self, kind: str) -> list[Registration]:
        """Return the resources whose type ends with a name, such as `Container`."""
        return [each for each in self.resources.values() if each.type.endswith(f":{kind}")]

    def dependencies(self, name: str) -> set[str]:
        """Return the names of the resources that one depends on."""
        urns = self.resources[name].depends_on
        return {each.name for each in self.resources.values() if each.urn in urns}


def reveal(value: Any) -> Any:
    """Return a value with the texts of its secrets."""
    if rpc.is_rpc_secret(value):
        return reveal(rpc.unwrap_rpc_secret(value))
    if isinstance(value, dict):
        return {key: reveal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [reveal(item) for item in value]
    return value


def _hide_secrets(value: Any) -> Any:
    if rpc.is_rpc_secret(value):
        return "[secret]"
    if isinstance(value, dict):
        return {key: _hide_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hide_secrets(item) for item in value]
    return value


class _EchoMocks(Mocks):
    """Mocks that create every resource exactly as requested."""

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        computed = {"name": args.name, "repoDigest": _DIGEST, "imageId": _DIGEST}
        return f"{args.name}-id", computed | args.inputs

    def call(self, args: MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        raise AssertionError(f"the program called {args.token}, but must look nothing up")


class _RecordingMonitor(MockMonitor):
    def __init__(self) -> None:
        super().__init__(_EchoMocks())
        self.registrations: dict[str, Registration] = {}
        self.outputs: dict[str, dict[str, Any]] = {}

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call]  # pulumi types it in part
        depends_on = set(request.dependencies)
        for dependency in request.propertyDependencies.values():
            depends_on.update(dependency.urns)
        assert request.name not in self.registrations, request.name
        self.registrations[request.name] = Registration(
            urn=response.urn,
            type=request.type,
            name=request.name,
            parent=request.parent,
            protect=request.protect,
            retain_on_delete=request.retainOnDelete,
            depends_on=frozenset(depends_on),
            inputs=rpc.deserialize_properties(request.object, keep_unknowns=True),
        )
        return response

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        self.outputs[request.urn] = rpc.deserialize_properties(request.outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]  # pulumi types it in part


def stack_config(stack: str, *, is_ready: bool = True) -> dict[str, Any]:
    """Return the `config` of the stack file, as the engine passes it.

    Args:
        stack: the name of the stack.
        is_ready: whether digests are set, as the pipeline does before an update.
    """
    text = (INFRA / f"Pulumi.{stack}.yaml").read_text("utf-8")
    document = msgspec.yaml.decode(text.replace(_PLACEHOLDER, _DIGEST) if is_ready else text)
    config: dict[str, Any] = document["config"]
    return config


def read_source(module: str) -> str:
    """Return the source of a module of the program."""
    return (INFRA / f"{module}.py").read_text("utf-8")


@contextmanager
def _program(sources: Mapping[str, str]) -> Iterator[None]:
    """Load the program's modules afresh; `sources` replace some, so that a test injects a fault."""
    before = {name: sys.modules.pop(name, None) for name in MODULES}
    try:
        for name in MODULES:
            if name in sources:
                module = ModuleType(name)
                module.__file__ = str(INFRA / f"{name}.py")
                sys.modules[name] = module
                exec(compile(sources[name], f"{name}.py", "exec"), module.__dict__)  # noqa: S102  # our own source
        yield
    finally:
        for name, module_before in before.items():
            sys.modules.pop(name, None)
            if module_before is not None:
                sys.modules[name] = module_before


def build_plain_objects(
    stack: str, *, sources: Mapping[str, str] | None = None
) -> tuple[list[dict[str, Any]], str]:
    """Return the Kubernetes objects of a stack without Pulumi, and their namespace."""
    with _program(sources or {}):
        image = stack_config(stack)["spawn:service"]["image"]
        config = import_module("manifests").read_stack_config(stack, image)
        secrets = {name.removeprefix("spawn:"): text for name, text in SECRETS.items()}
        objects = import_module("kubernetes_objects").build_objects(config, secrets)
        return objects, config.kubernetes.namespace


def deploy(
    stack: str,
    target: str = "",
    *,
    config: Mapping[str, Any] | None = None,
    secrets: Mapping[str, str] | None = None,
    sources: Mapping[str, str] | None = None,
) -> Deployment:
    """Run the program with the file of a stack.

    Args:
        stack: the name of the stack.
        target: the target, or that of the file.
        config: keys that replace those of the file.
        secrets: secrets of the stack; all of them if there is nothing else.
        sources: texts that replace modules of the program.
    """
    if target == "kubernetes" and find_spec("pulumi_kubernetes") is None:
        assert "CI" not in os.environ
        pytest.skip("pulumi-kubernetes is not installed: make test installs it")
    values = stack_config(stack) | (SECRETS if secrets is None else dict(secrets))
    values |= dict(config or {})
    if target:
        values["spawn:target"] = target
    monitor = _RecordingMonitor()
    deployment = monitor.GetDeploymentInfo(None)  # type: ignore[no-untyped-call]  # pulumi types it in part
    settings = Settings(  # type: ignore[no-untyped-call]  # pulumi types it in part
        monitor=monitor,
        monitor_features=set(deployment.supportedFeatures),
        engine=MockEngine(None),
        project="spawn",
        stack=stack,
        dry_run=False,
        organization=None,
        callbacks=None,
    )
    with _program(sources or {}), pytest.MonkeyPatch.context() as patch:
        # The engine shows where a resource was declared; to find the place is a fifth of a run.
        patch.setattr("pulumi.runtime.resource._get_stack_trace", StackTrace)
        asyncio.run(_run(settings, values, (sources or {}).get("__main__", "")))
    root = next(r for r in monitor.registrations.values() if r.type == "pulumi:pulumi:Stack")
    return Deployment(resources=monitor.registrations, outputs=monitor.outputs[root.urn])


async def _run(settings: Settings, config: dict[str, Any], source: str) -> None:
    # The runtime needs an event loop in each worker thread and never closes those it creates.
    worker = ThreadPoolExecutor(1, initializer=_set_event_loop)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(worker)
    # Here, in the task's own context: the runtime's settings are context variables.
    configure(settings)
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}
    set_all_config(texts, [name for name in texts if name in SECRETS])
    try:
        await run_in_stack(lambda: _run_program(source))
    finally:
        await loop.run_in_executor(worker, lambda: asyncio.get_event_loop().close())


def _set_event_loop() -> None:
    asyncio.set_event_loop(asyncio.new_event_loop())


def _run_program(source: str) -> None:
    """Run the program, or a text that replaces its first module."""
    program = compile(source or read_source("__main__"), "__main__.py", "exec")
    exec(program, {"__name__": "__main__"})  # noqa: S102  # our own source
