"""Run the Pulumi program with a real stack file against a recording monitor."""

import asyncio
import json
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from pulumi.runtime import Mocks, rpc, set_all_config
from pulumi.runtime.mocks import MockCallArgs, MockEngine, MockMonitor, MockResourceArgs
from pulumi.runtime.mocks import MockSettings as Settings
from pulumi.runtime.settings import configure
from pulumi.runtime.stack import run_in_stack

INFRA = Path(__file__).parents[2] / "infra"


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """One resource as the program registered it."""

    urn: str
    type: str
    parent: str
    protect: bool
    retain_on_delete: bool
    depends_on: frozenset[str]
    inputs: dict[str, Any]


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """Resources of one run by type and by name, and the exports of the stack."""

    resources: dict[str, Registration]
    by_name: dict[str, Registration]
    outputs: dict[str, Any]


class _EchoMocks(Mocks):
    """Mocks that create every resource exactly as requested."""

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        properties = {"name": args.name, "image_name": None} | args.inputs
        return f"{args.name}-id", properties

    def call(self, args: MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        raise AssertionError(f"the program called {args.token}, but must look nothing up")


class _RecordingMonitor(MockMonitor):
    def __init__(self) -> None:
        super().__init__(_EchoMocks())
        self.registrations: dict[str, Registration] = {}
        self.by_name: dict[str, Registration] = {}
        self.outputs: dict[str, dict[str, Any]] = {}

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call]  # pulumi types it in part
        depends_on = set(request.dependencies)
        for dependency in request.propertyDependencies.values():
            depends_on.update(dependency.urns)
        registration = Registration(
            urn=response.urn,
            type=request.type,
            parent=request.parent,
            protect=request.protect,
            retain_on_delete=request.retainOnDelete,
            depends_on=frozenset(depends_on),
            inputs=rpc.deserialize_properties(request.object),
        )
        self.by_name[request.name] = registration
        # The service comes first; another component may have resources of its types too.
        self.registrations.setdefault(request.type, registration)
        return response

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        self.outputs[request.urn] = rpc.deserialize_properties(request.outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]  # pulumi types it in part


def stack_config(stack: str) -> dict[str, Any]:
    """Return the `config` of the stack file, as the engine passes it."""
    document = msgspec.yaml.decode((INFRA / f"Pulumi.{stack}.yaml").read_bytes())
    config: dict[str, Any] = document["config"]
    return config


def _load_module(source: str) -> ModuleType:
    module = ModuleType("deployment")
    sys.modules["deployment"] = module
    exec(compile(source, "deployment.py", "exec"), module.__dict__)  # noqa: S102  # our own source
    return module


def deploy(stack: str, *, config: dict[str, Any] | None = None, source: str = "") -> Deployment:
    """Run the program; `source` replaces deployment.py, so that a test can inject a fault."""
    monitor = _RecordingMonitor()
    deployment = monitor.GetDeploymentInfo(None)  # type: ignore[no-untyped-call]  # pulumi types it in part
    features = set(deployment.supportedFeatures)
    settings = Settings(  # type: ignore[no-untyped-call]  # pulumi types it in part
        monitor=monitor,
        monitor_features=features,
        engine=MockEngine(None),
        project="spawn",
        stack=stack,
        dry_run=False,
        organization=None,
        callbacks=None,
    )
    before = sys.modules.pop("deployment", None)
    if source:
        _load_module(source)

    values = stack_config(stack) if config is None else config
    try:
        asyncio.run(_run(settings, values))
    finally:
        sys.modules.pop("deployment", None)
        if before is not None:
            sys.modules["deployment"] = before
    root = next(r for r in monitor.registrations.values() if r.type == "pulumi:pulumi:Stack")
    return Deployment(
        resources=monitor.registrations,
        by_name=monitor.by_name,
        outputs=monitor.outputs[root.urn],
    )


async def _run(settings: Settings, config: dict[str, Any]) -> None:
    # The runtime needs an event loop in each worker thread and never closes those it creates.
    worker = ThreadPoolExecutor(1, initializer=_set_event_loop)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(worker)
    # Here, in the task's own context: the runtime's settings are context variables.
    configure(settings)
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}
    set_all_config(texts)
    try:
        await run_in_stack(lambda: _discard(runpy.run_path(str(INFRA / "__main__.py"))))
    finally:
        await loop.run_in_executor(worker, lambda: asyncio.get_event_loop().close())


def _set_event_loop() -> None:
    asyncio.set_event_loop(asyncio.new_event_loop())


def _discard(_namespace: dict[str, Any]) -> None:
    """Discard the namespace: only the registrations matter."""
