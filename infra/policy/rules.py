"""Rules of the policy pack, as functions of one resource; `__main__.py` gives them to Pulumi."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_CONTAINER = "docker:index/container:Container"
_IMAGES = ("docker:index/image:Image", "docker:index/remoteImage:RemoteImage")
_VOLUME = "docker:index/volume:Volume"
_CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"
_CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
_SERVICE = "kubernetes:core/v1:Service"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SECRET_NAME = re.compile(
    r"(passwor[dt]|passwd|passphrase|secret|token|key|credential)s?$", re.IGNORECASE
)
_SECRET_OPTION = re.compile(
    r"--?[\w-]*(password|passwd|passphrase|secret|token|credentials?)[= ](?![-/$])\S", re.IGNORECASE
)
_SECRET_TEXT = re.compile(
    r"spn_(live|test)_\w+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|://[^/\s:@\"']*:[^/\s@\"',]+@"  # the password of a URL
    r"|[?&](password|secret|token)=\w"
)
_DIGEST = re.compile(r"(^|@)sha256:([0-9a-f]{64})$")
_PLACEHOLDER_DIGEST = "0" * 64
_VERSION_TAG = re.compile(r":v?\d+\.\d+\.\d+([-+.]\w+)*$")
_KEPT_DATA = re.compile(r"-(data|backups)$")
_NAMESPACE_MODES = ("pidMode", "ipcMode", "usernsMode", "utsMode", "cgroupnsMode")
_HOST_NAMESPACES = ("hostPID", "hostIPC")
_SHARED_MODE = re.compile(r"host$|container:")
_ROOT_GROUPS = frozenset({"0", "root", "docker"})
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
        for group in _texts(resource.inputs.get("groupAdds")):
            if group in _ROOT_GROUPS:
                yield f"groupAdds has {group}, which can become root"
    for pod in _find_pods(resource):
        for container in _list_containers(pod):
            # What a container sets replaces what its pod sets.
            context = _context(pod) | _context(container)
            if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
                yield (
                    f"{container['name']}: securityContext must set runAsNonRoot, and runAsUser to"
                    " a number other than 0"
                )


def find_privilege(resource: Resource) -> Iterator[str]:
    """Yield the privileges that a container keeps."""
    if resource.type == _CONTAINER:
        yield from _find_docker_privilege(resource.inputs)
    for pod in _find_pods(resource):
        for container in _list_containers(pod):
            name, context = container["name"], _context(container)
            if context.get("privileged") or context.get("allowPrivilegeEscalation") is not False:
                yield f"{name} must not be privileged or become so"
            capabilities = context.get("capabilities") or {}
            if _texts(capabilities.get("drop")) != ["ALL"] or capabilities.get("add"):
                yield f"{name} must drop ALL capabilities, and add none"
            if context.get("readOnlyRootFilesystem") is not True:
                yield f"{name} must have a read-only root file system"
            if context.get("procMount", "Default") != "Default":
                yield f"{name} must not unmask /proc"
            merged = _context(pod) | context
            for profile in ("seccompProfile", "appArmorProfile"):
                kind = (merged.get(profile) or {}).get("type")
                if kind == "Unconfined" or (kind is None and profile == "seccompProfile"):
                    yield f"{name} must have a {profile}, such as RuntimeDefault"


def _find_docker_privilege(inputs: Inputs) -> Iterator[str]:
    if inputs.get("privileged"):
        yield "the container is privileged"
    capabilities = inputs.get("capabilities") or {}
    if _texts(capabilities.get("drops")) != ["ALL"] or capabilities.get("adds"):
        yield "capabilities must drop ALL, and add none"
    options = _texts(inputs.get("securityOpts"))
    if "no-new-privileges:true" not in options:
        yield "securityOpts must have no-new-privileges:true"
    for option in options:
        if re.search(r"[=:](unconfined|disable|false)$", option):
            yield f"securityOpts has {option}, which switches a protection off"
    if inputs.get("readOnly") is not True:
        yield "the root file system must be read-only"


def find_host_access(resource: Resource) -> Iterator[str]:
    """Yield the folders, devices and namespaces of the machine that a container has."""
    for path in _find_host_paths(resource):
        yield f"the path {path} of the machine is mounted: use a volume"
    if resource.type == _CONTAINER:
        for key in _NAMESPACE_MODES:
            mode = str(resource.inputs.get(key) or "")
            if _SHARED_MODE.match(mode):
                yield f"{key} is {mode}: the container must have a namespace of its own"
        for key in ("devices", "gpus"):
            if resource.inputs.get(key):
                yield f"the container has {key} of the machine"
    for pod in _find_pods(resource):
        for key in _HOST_NAMESPACES:
            if pod.get(key):
                yield f"{key} gives the pod a namespace of the machine"


def _find_host_paths(resource: Resource) -> Iterator[Any]:
    for key, value in _find_values(resource.inputs):
        if key == "hostPath" and value:
            yield value.get("path") if isinstance(value, Mapping) else value
    for mount in _list(resource, "mounts"):
        if mount.get("type") == "bind":
            yield mount.get("source")
    if resource.type == _VOLUME:
        # A volume of the engine's own driver may be a folder too.
        device = str((resource.inputs.get("driverOpts") or {}).get("device", ""))
        if device.startswith("/"):
            yield device


def find_plain_secret(resource: Resource) -> Iterator[str]:
    """Yield the secrets that everybody reads who may inspect a container or a configuration."""
    for name, value in _find_variables(resource):
        if _SECRET_NAME.search(name) and value:
            yield f"the variable {name} is a secret: name a file with {name}_FILE instead"
    for command in _find_commands(resource):
        if match := _SECRET_OPTION.search(" ".join(command)):
            yield f"the command has a secret in {match[0].partition('=')[0].split()[0]}: use a file"
    if resource.type == _CONFIG_MAP:
        for name, value in (resource.inputs.get("data") or {}).items():
            if _SECRET_NAME.search(name) and value:
                yield f"{name} is a secret: put it in a Secret"
    for key, value in _find_values(_hide_files(resource)):
        if isinstance(value, str) and _SECRET_TEXT.search(value):
            yield f"{key} has the text of a secret: put it in a file or a Secret"


def _hide_files(resource: Resource) -> Inputs:
    """Return the inputs without those that may have secrets, since they are encrypted.

    Pulumi gives a pack the texts of secret inputs too.
    """
    if not resource.type.startswith(("docker:", "kubernetes:")):
        return {}
    if resource.type.endswith(":Secret"):
        return {}
    return {key: value for key, value in resource.inputs.items() if key != "uploads"}


def find_public_bind(resource: Resource) -> Iterator[str]:
    """Yield the addresses on which others than this host, or callers without a key, connect."""
    variables = dict(_find_variables(resource))
    is_open = variables.get("SPAWN_AUTH", "").strip().lower() == "off"
    if is_open and variables.get("SPAWN_HOST") not in _LOOPBACK:
        yield "SPAWN_AUTH=off is for a loopback SPAWN_HOST only"
    for port in _list(resource, "ports"):
        address = port.get("ip", "0.0.0.0")  # noqa: S104  # the engine's default, which is a finding
        if address not in _LOOPBACK:
            number = port.get("external")
            yield f"port {number} is published on {address}: publish it on 127.0.0.1"
    if resource.inputs.get("publishAllPorts"):
        yield "publishAllPorts publishes each port on every address"
    mode = str(resource.inputs.get("networkMode") or "")
    if _SHARED_MODE.match(mode):
        yield f"networkMode is {mode}: the container must have a network of its own"
    yield from _find_host_ports(resource)
    yield from _find_public_routes(resource)


def _find_host_ports(resource: Resource) -> Iterator[str]:
    for pod in _find_pods(resource):
        if pod.get("hostNetwork"):
            yield "the pod has the network of the machine"
        for container in _list_containers(pod):
            for port in container.get("ports") or []:
                if port.get("hostPort"):
                    number = f"{port['hostPort']:.0f}"
                    yield f"{container['name']} has port {number} of every machine"


def _find_public_routes(resource: Resource) -> Iterator[str]:
    """Yield the services and ingresses that publish a port, or publish it without TLS."""
    spec = resource.inputs.get("spec") or {}
    if resource.type == _SERVICE:
        kind = spec.get("type", "ClusterIP")
        if kind != "ClusterIP":
            yield f"the service has type {kind}: an ingress with TLS publishes it"
        if addresses := _texts(spec.get("externalIPs")):
            yield f"the service has the addresses {', '.join(addresses)}: remove externalIPs"
    if resource.type.endswith(":Ingress") and not spec.get("tls"):
        yield "the ingress has no TLS"


def find_moving_image(resource: Resource) -> Iterator[str]:
    """Yield the images whose name may mean another one tomorrow.

    A version's tag is enough for development alone: whoever may push can move it.
    """
    for image in _find_images(resource):
        digest = _DIGEST.search(image)
        if digest is not None:
            if digest[2] == _PLACEHOLDER_DIGEST:
                yield f"the image {image!r} has the placeholder of a digest: set its own"
        elif resource.stack != _DEVELOPMENT_STACK:
            yield f"the image {image!r} has no digest"
        elif not _VERSION_TAG.search(image):
            yield f"the image {image!r} has no digest and no tag of a version with three numbers"


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
        description="Containers have no capability, are confined and cannot write their root.",
        find=find_privilege,
    ),
    Rule(
        name="no-host-access",
        description="Containers have no folder, device or namespace of their machine.",
        find=find_host_access,
    ),
    Rule(
        name="no-plaintext-secret",
        description="Secrets are files, not variables, arguments or configuration.",
        find=find_plain_secret,
    ),
    Rule(
        name="no-public-bind-without-auth",
        description="Nothing listens to the world, or without access control.",
        find=find_public_bind,
    ),
    Rule(
        name="pinned-images",
        description="Images have a digest, in development at least the tag of a version.",
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


def _context(part: Inputs) -> dict[str, Any]:
    """Return the security context of a pod or a container."""
    return dict(part.get("securityContext") or {})


def _find_values(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all values below one, each with the key of the mapping that it is in."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield name, item
            yield from _find_values(item, name)
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for item in value:
            yield key, item
            yield from _find_values(item, key)


def _find_pods(resource: Resource) -> Iterator[Inputs]:
    """Yield the specifications of pods, of whatever kind of workload they are a part."""
    if resource.type.startswith("kubernetes:"):
        for _, value in _find_values({"": resource.inputs}):
            if isinstance(value, Mapping) and isinstance(value.get("containers"), Iterable):
                yield value


def _list_containers(pod: Inputs) -> Iterator[Inputs]:
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod.get(key) or []


def _find_containers(resource: Resource) -> Iterator[Inputs]:
    for pod in _find_pods(resource):
        yield from _list_containers(pod)


def _find_images(resource: Resource) -> Iterator[str]:
    for container in _find_containers(resource):
        yield str(container.get("image", ""))
    if resource.type == _CONTAINER:
        yield str(resource.inputs.get("image", ""))
    if resource.type in _IMAGES:
        yield str(resource.inputs.get("imageName") or resource.inputs.get("name", ""))


def _find_variables(resource: Resource) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the variables that a container or a build is given."""
    if resource.type == _CONTAINER:
        for variable in _texts(resource.inputs.get("envs")):
            name, _, value = variable.partition("=")
            yield name, value
    if resource.type in _IMAGES:
        for name, value in ((resource.inputs.get("build") or {}).get("args") or {}).items():
            yield name, str(value)
    for container in _find_containers(resource):
        for entry in container.get("env") or []:
            yield entry["name"], str(entry.get("value", ""))


def _find_commands(resource: Resource) -> Iterator[list[str]]:
    """Yield the words of what containers run."""
    if resource.type == _CONTAINER:
        yield _texts(resource.inputs.get("entrypoints")) + _texts(resource.inputs.get("command"))
    for container in _find_containers(resource):
        yield _texts(container.get("command")) + _texts(container.get("args"))
