"""Rules of the policy pack, as functions of one resource; `__main__.py` gives them to Pulumi."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_CONTAINER = "docker:index/container:Container"
_IMAGES = ("docker:index/image:Image", "docker:index/remoteImage:RemoteImage")
_VOLUME = "docker:index/volume:Volume"
_CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"
_CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
_SERVICE = "kubernetes:core/v1:Service"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SECRET_NAME = re.compile(r"(PASSWORD|SECRET|TOKEN|KEY|CREDENTIALS)$")
_SECRET_TEXT = re.compile(r"spn_(live|test)_\w+|-----BEGIN [A-Z ]*PRIVATE KEY-----")
_MOVING_TAG = re.compile(r"(^|/)[^/:@]+(:(latest|dev|main|edge|nightly|stable))?$")
_KEPT_DATA = re.compile(r"-(data|backups)$")
_DEVELOPMENT_STACK = "dev"

Inputs = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource as the program describes it; `stack` is the stack that it belongs to."""

    type: str
    name: str
    stack: str
    inputs: Inputs
    protect: bool = False


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule with the function that finds how a resource breaks it."""

    name: str
    description: str
    find: Callable[[Resource], Iterator[str]]


def find_root(resource: Resource) -> Iterator[str]:
    """Yield the containers that run as root, or as whom their image pleases."""
    if resource.type == _CONTAINER:
        user = str(resource.inputs.get("user", "")).partition(":")[0]
        if not user.isdigit() or int(user) == 0:
            yield f"user is {user or 'not set'}: it must be a number other than 0"
    for pod in _find_pods(resource):
        context = pod.get("securityContext") or {}
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield "securityContext must set runAsNonRoot, and runAsUser to a number other than 0"


def find_privilege(resource: Resource) -> Iterator[str]:
    """Yield the privileges that a container keeps."""
    if resource.type == _CONTAINER:
        inputs = resource.inputs
        if inputs.get("privileged"):
            yield "the container is privileged"
        if _texts((inputs.get("capabilities") or {}).get("drops")) != ["ALL"]:
            yield "capabilities must drop ALL"
        if "no-new-privileges:true" not in _texts(inputs.get("securityOpts")):
            yield "securityOpts must have no-new-privileges:true"
        if inputs.get("readOnly") is not True:
            yield "the root file system must be read-only"
    for container in _find_containers(resource):
        context = container.get("securityContext") or {}
        if context.get("privileged") or context.get("allowPrivilegeEscalation") is not False:
            yield f"{container['name']} must not be privileged or become so"
        if _texts((context.get("capabilities") or {}).get("drop")) != ["ALL"]:
            yield f"{container['name']} must drop ALL capabilities"
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{container['name']} must have a read-only root file system"


def find_plain_secret(resource: Resource) -> Iterator[str]:
    """Yield the secrets that everybody reads who may inspect a container or a configuration."""
    for name, value in _find_variables(resource):
        if _SECRET_NAME.search(name) and value:
            yield f"the variable {name} is a secret: name a file with {name}_FILE instead"
        elif _SECRET_TEXT.search(value):
            yield f"the variable {name} has the text of a secret"
    # Pulumi gives a pack the texts of secret inputs too, so a file may have one: it is encrypted.
    if resource.type == _CONFIG_MAP:
        for name, value in (resource.inputs.get("data") or {}).items():
            if _SECRET_TEXT.search(str(value)):
                yield f"{name} has the text of a secret: put it in a Secret"


def find_public_bind(resource: Resource) -> Iterator[str]:
    """Yield the addresses on which others than this host, or callers without a key, connect."""
    variables = dict(_find_variables(resource))
    if variables.get("SPAWN_AUTH") == "off" and variables.get("SPAWN_HOST") not in _LOOPBACK:
        yield "SPAWN_AUTH=off is for a loopback SPAWN_HOST only"
    for port in _list(resource, "ports"):
        address = port.get("ip", "0.0.0.0")  # noqa: S104  # the engine's default, which is a finding
        if address not in _LOOPBACK:
            number = port.get("external")
            yield f"port {number} is published on {address}: publish it on 127.0.0.1"
    if resource.inputs.get("networkMode") == "host":
        yield "the container has the network of the host"
    if resource.type == _SERVICE:
        kind = (resource.inputs.get("spec") or {}).get("type", "ClusterIP")
        if kind != "ClusterIP":
            yield f"the service has type {kind}: an ingress with TLS publishes it"


def find_moving_image(resource: Resource) -> Iterator[str]:
    """Yield the images whose name may mean another one tomorrow."""
    images = [str(container.get("image", "")) for container in _find_containers(resource)]
    if resource.type == _CONTAINER:
        images.append(str(resource.inputs.get("image", "")))
    if resource.type in _IMAGES:
        images.append(str(resource.inputs.get("imageName") or resource.inputs.get("name", "")))
    for image in images:
        if not re.match(r"sha256:", image) and _MOVING_TAG.search(image):
            yield f"the image {image!r} has no digest and no tag of a version"


def find_missing_limit(resource: Resource) -> Iterator[str]:
    """Yield the containers that may take all memory of their machine."""
    if resource.type == _CONTAINER and not resource.inputs.get("memory"):
        yield "memory is not limited"
    for container in _find_containers(resource):
        limits = (container.get("resources") or {}).get("limits") or {}
        if "memory" not in limits:
            yield f"{container['name']} has no limit of memory"


def find_unprotected_data(resource: Resource) -> Iterator[str]:
    """Yield the volumes of data and backups that the end of a stack deletes."""
    is_data = resource.type in {_VOLUME, _CLAIM} and _KEPT_DATA.search(resource.name)
    # What belongs to monitoring can be collected again.
    is_own = re.search(r"(^|-)spawn-(data|backups)$", resource.name)
    if is_data and is_own and not resource.protect and resource.stack != _DEVELOPMENT_STACK:
        yield "data and backups must be protected: set keep_data"


RULES = (
    Rule(name="no-root", description="Containers do not run as root.", find=find_root),
    Rule(
        name="no-privilege",
        description="Containers drop all capabilities and cannot write their root.",
        find=find_privilege,
    ),
    Rule(
        name="no-plaintext-secret",
        description="Secrets are files, not variables or configuration.",
        find=find_plain_secret,
    ),
    Rule(
        name="no-public-bind-without-auth",
        description="Nothing listens to the world, or without access control.",
        find=find_public_bind,
    ),
    Rule(
        name="pinned-images",
        description="Images have a digest or the tag of a version.",
        find=find_moving_image,
    ),
    Rule(name="limits", description="Containers have a limit of memory.", find=find_missing_limit),
    Rule(
        name="protected-data",
        description="Data and backups outlive the stack, except in development.",
        find=find_unprotected_data,
    ),
)


def _list(resource: Resource, key: str) -> list[Any]:
    """Return a list of mappings among the inputs of a container; a secret has none."""
    values = resource.inputs.get(key) if resource.type == _CONTAINER else None
    return [each for each in values or [] if isinstance(each, Mapping)]


def _texts(values: Any) -> list[str]:
    """Return a list of texts; the SDK's own lists are equal to no other list."""
    return [str(value) for value in values or []]


def _find_pods(resource: Resource) -> Iterator[Inputs]:
    """Yield the specification of the pods of a workload."""
    if not resource.type.startswith("kubernetes:"):
        return
    spec = resource.inputs.get("spec") or {}
    job = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
    for template in (spec.get("template") or {}, job):
        if "spec" in template:
            yield template["spec"]
    if resource.type == "kubernetes:core/v1:Pod":
        yield spec


def _find_containers(resource: Resource) -> Iterator[Inputs]:
    for pod in _find_pods(resource):
        yield from pod.get("initContainers") or []
        yield from pod.get("containers") or []


def _find_variables(resource: Resource) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the variables that a container is given."""
    if resource.type == _CONTAINER:
        for variable in resource.inputs.get("envs") or []:
            name, _, value = str(variable).partition("=")
            yield name, value
    for container in _find_containers(resource):
        for entry in container.get("env") or []:
            yield entry["name"], str(entry.get("value", ""))
