"""Settings of a stack: the keys `spawn:…` of `Pulumi.<stack>.yaml`, typed and checked."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

MIB_PER_GIB = 1024
SERVICE_PORT = 8000
ONTOLOGY_PORT = 8100
USER_ID = 10001  # as in the Containerfile
DATA_FOLDER = "/data"
BACKUP_FOLDER = "/backups"
SECRETS_FOLDER = "/run/spawn"

METRICS_KEY = "metrics_key"
BACKUP_SIGNING_KEY = "backup_signing_key"
ENCRYPTION_KEY = "encryption_key"
GRAFANA_PASSWORD = "grafana_password"  # noqa: S105  # the name of a secret
SECRET_NAMES = (METRICS_KEY, BACKUP_SIGNING_KEY, ENCRYPTION_KEY, GRAFANA_PASSWORD)
"""Secrets of a stack, each set with `pulumi config set --secret spawn:<name>`."""

SERVICE_SECRETS = {
    BACKUP_SIGNING_KEY: "SPAWN_BACKUP_SIGNING_KEY_FILE",
    ENCRYPTION_KEY: "SPAWN_ENCRYPTION_KEY_FILE",
}
"""Variable of the service that names the file of each of its secrets."""

RUNBOOKS_URL = "https://docs.example/runbooks"
"""Address in the rule files, of a domain that is reserved for examples: a stack sets its own."""

_PLACEHOLDER_DIGEST = "@sha256:" + "0" * 64

Port = Annotated[int, msgspec.Meta(ge=1024, le=65535)]
MemoryMib = Annotated[int, msgspec.Meta(ge=256, le=64 * MIB_PER_GIB)]
Gib = Annotated[int, msgspec.Meta(ge=1, le=64 * MIB_PER_GIB)]
Url = Annotated[str, msgspec.Meta(pattern=r"^(bundled|https?)://")]
Text = Annotated[str, msgspec.Meta(min_length=1)]
LinkBase = Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/]+(/[^\s/]+)*$")]
Image = Annotated[str, msgspec.Meta(pattern=r"^[\w.\-/:]+:[\w.\-]+(@sha256:[0-9a-f]{64})?$")]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)]
Environment = Literal["development", "production"]


class ServiceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The service: `spawn:service`.

    `build_from` is a base image to build `image` from, on the container host itself; without it
    `image` is pulled. `ontology_server` runs a local one, in development only; otherwise
    `ontology_url` names the organisation's. `keep_data` protects data and backups, and keeps them
    when the stack is destroyed. `port` is that of the container host's loopback address.
    """

    image: Image
    build_from: str = ""
    environment: Environment
    ontology_url: Url = "bundled://"
    ontology_server: bool = False
    public_url: str = ""
    port: Port = SERVICE_PORT
    memory_mib: MemoryMib
    keep_data: bool

    def __post_init__(self) -> None:
        """Reject what no environment may have."""
        if self.ontology_server and self.environment != "development":
            raise ValueError("`ontology_server` is for environment development only")
        if self.ontology_server and self.ontology_url != "bundled://":
            raise ValueError("`ontology_url` and `ontology_server` exclude each other")
        if self.environment == "production" and not self.keep_data:
            raise ValueError("`keep_data` must be true in environment production")
        if self.environment == "production" and "@sha256:" not in self.image:
            raise ValueError("`image` must name a digest in environment production")


class BackupConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The schedule of backups: `spawn:backup`."""

    interval_s: Annotated[int, msgspec.Meta(ge=10, le=86_400)] = 300
    full_interval_s: Annotated[int, msgspec.Meta(ge=3_600)] = 604_800
    retention: Annotated[int, msgspec.Meta(ge=1, le=100)] = 4
    verify_schedule: Annotated[str, msgspec.Meta(pattern=r"^\S+( \S+){4}$")] = "17 3 * * *"

    def __post_init__(self) -> None:
        """Reject a schedule with which the service does not start."""
        if self.interval_s > self.full_interval_s:
            raise ValueError("`interval_s` must not be longer than `full_interval_s`")


class MonitoringConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prometheus, Alertmanager and Grafana of a container host: `spawn:monitoring`.

    Alerts on either target link the pages of runbooks below `runbooks_url`.
    """

    prometheus_image: Image
    alertmanager_image: Image
    grafana_image: Image
    prometheus_port: Port = 9090
    alertmanager_port: Port = 9093
    grafana_port: Port = 3000
    memory_mib: Annotated[int, msgspec.Meta(ge=128)] = 512
    retention_days: Annotated[int, msgspec.Meta(ge=1)] = 30
    runbooks_url: LinkBase = RUNBOOKS_URL


class KubernetesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cluster: `spawn:kubernetes`.

    Pods of `clients_namespace` (an ingress controller's) and of `monitoring_namespace` may connect;
    nobody else. With `has_prometheus_operator` the stack has a ServiceMonitor and rules.
    """

    namespace: Name = "spawn"
    storage_class: str = ""
    data_gib: Gib = 10
    backup_gib: Gib = 20
    clients_namespace: Name = "ingress-nginx"
    monitoring_namespace: Name = "monitoring"
    has_prometheus_operator: bool = True


class StackConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of a stack; `target` is a name of `targets.TARGETS`."""

    target: Text
    service: ServiceConfig
    backup: BackupConfig = BackupConfig()
    monitoring: MonitoringConfig | None = None
    kubernetes: KubernetesConfig = KubernetesConfig()

    def __post_init__(self) -> None:
        """Reject images of monitoring that may be others tomorrow."""
        if self.monitoring is None or self.service.environment != "production":
            return
        for name in ("prometheus_image", "alertmanager_image", "grafana_image"):
            if "@sha256:" not in getattr(self.monitoring, name):
                raise ValueError(f"`{name}` must name a digest in environment production")


def parse_stack_config(values: Mapping[str, Any]) -> StackConfig:
    """Return the settings of a stack.

    Args:
        values: the keys of the stack file without their prefix `spawn:`, secrets left out.

    Raises:
        msgspec.ValidationError: a key is unknown or malformed; the message names it.
    """
    return msgspec.convert(values, StackConfig)


def has_placeholder(image: str) -> bool:
    """Whether the name of an image has the digest of zeros, which stands for one to be set."""
    return image.endswith(_PLACEHOLDER_DIGEST)


def build_environment(
    config: StackConfig,
    ontology_url: str,
    secrets: frozenset[str],
    hosts: tuple[str, ...] = (),
) -> dict[str, str]:
    """Return the variables of the service; a secret is a file that a variable names.

    Args:
        config: the settings of the stack.
        ontology_url: the URL of the ontology server as the service reaches it.
        secrets: the names of the secrets that the stack has.
        hosts: the names by which its neighbours call the service.
    """
    service, backup = config.service, config.backup
    variables = {
        # All addresses of the container's own network, where callers need an API key.
        "SPAWN_HOST": "0.0.0.0",  # noqa: S104  # as above
        "SPAWN_PORT": str(SERVICE_PORT),
        "SPAWN_ENVIRONMENT": service.environment,
        "SPAWN_STORAGE_URL": f"duckdb:///{DATA_FOLDER}/spawn.duckdb",
        "SPAWN_ONTOLOGY_URL": ontology_url,
        "SPAWN_BACKUP_URL": f"file://{BACKUP_FOLDER}",
        "SPAWN_BACKUP_INTERVAL_S": str(backup.interval_s),
        "SPAWN_BACKUP_FULL_INTERVAL_S": str(backup.full_interval_s),
        "SPAWN_BACKUP_RETENTION": str(backup.retention),
    }
    if hosts:
        variables["SPAWN_ALLOWED_HOSTS"] = ",".join(hosts)
    if service.public_url:
        variables["SPAWN_PUBLIC_URL"] = service.public_url
    for secret, variable in SERVICE_SECRETS.items():
        if secret in secrets:
            variables[variable] = f"{SECRETS_FOLDER}/{secret}"
    return variables
