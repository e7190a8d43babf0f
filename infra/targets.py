"""Targets of a stack: where its service runs.

A target is a class that takes a name, the settings and the secrets of a stack, creates the
resources, and has `outputs` with at least `url` and `ready_url`. `spawn:target` names one of
`TARGETS`, or one of your own as `module:Class`; docs/deployment.md has an example.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

import pulumi
from stack_config import StackConfig

TARGETS: Mapping[str, str] = {
    "docker": "docker_target:DockerTarget",
    "kubernetes": "kubernetes_target:KubernetesTarget",
}


class Target(Protocol):
    """The resources of a stack in one place."""

    outputs: dict[str, pulumi.Input[Any]]


def create_target(
    name: str, config: StackConfig, secrets: Mapping[str, pulumi.Output[str]]
) -> Target:
    """Create the resources of the stack in the place that its settings name.

    Raises:
        ValueError: there is no such target; the message lists those that exist.
    """
    module, separator, attribute = TARGETS.get(config.target, config.target).partition(":")
    if not separator:
        raise ValueError(
            f"spawn:target is {config.target!r}: it must be one of {', '.join(TARGETS)}, or "
            "module:Class"
        )
    # Only the packages of this target are needed.
    target: Target = getattr(import_module(module), attribute)(name, config, secrets)
    return target
