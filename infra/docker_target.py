"""The stack on one container host: network, protected volumes, image, hardened containers."""

from collections.abc import Mapping, Sequence
from typing import Any

import monitoring_files
import pulumi
import pulumi_docker as docker
from stack_config import (
    BACKUP_FOLDER,
    DATA_FOLDER,
    GRAFANA_PASSWORD,
    METRICS_KEY,
    ONTOLOGY_PORT,
    SECRETS_FOLDER,
    SERVICE_PORT,
    SERVICE_SECRETS,
    USER_ID,
    MonitoringConfig,
    StackConfig,
    build_environment,
)

PROMETHEUS_PORT = 9090
ALERTMANAGER_PORT = 9093
GRAFANA_PORT = 3000
PROMETHEUS_USER = "65534:65534"  # nobody, as in its image and Alertmanager's
GRAFANA_USER = "472:0"  # as in its image
PROMETHEUS_FOLDER = "/etc/prometheus"
GRAFANA_FOLDER = "/etc/grafana"
SMALL_MIB = 256

Secrets = Mapping[str, pulumi.Output[str]]


class DockerTarget(pulumi.ComponentResource):
    """The service and what belongs to it, published on the host's loopback address only.

    The roots of the containers are read-only, so files are uploaded to a volume. Secrets are such
    files, and no environment variables, which `inspect` would show.
    """

    def __init__(self, name: str, config: StackConfig, secrets: Secrets) -> None:
        super().__init__("spawn:index:DockerTarget", name)
        self._name = name
        self._config = config
        self._secrets = secrets
        self.network = docker.Network(f"{name}-network", driver="bridge", opts=self._options())
        keep = config.service.keep_data
        kept = self._options(protect=keep, retain_on_delete=keep)
        self.data = docker.Volume(f"{name}-data", opts=kept)
        self.backups = docker.Volume(f"{name}-backups", opts=kept)
        self.image = self._create_image()
        self.ontology_server = self._create_ontology_server()
        self.service = self._create_service()
        self.outputs: dict[str, pulumi.Input[Any]] = {
            "url": f"http://127.0.0.1:{config.service.port}",
            "ready_url": f"http://127.0.0.1:{config.service.port}/monitoring/ready",
            "image": config.service.image,
            "container": self.service.name,
            "data_volume": self.data.name,
            "backup_volume": self.backups.name,
        }
        if config.monitoring is not None and METRICS_KEY in secrets:
            self._create_monitoring(config.monitoring)
        self.register_outputs(dict(self.outputs))

    def _options(self, **options: Any) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, **options)

    def _create_image(self) -> pulumi.Output[str]:
        """Build or pull the image; return the name by which containers run exactly that one."""
        service = self._config.service
        if not service.build_from:
            pulled = docker.RemoteImage(
                f"{self._name}-image",
                name=service.image,
                keep_locally=True,
                opts=self._options(),
            )
            return pulled.image_id
        built = docker.Image(
            f"{self._name}-image",
            image_name=service.image,
            skip_push=True,
            build=docker.DockerBuildArgs(
                context="..",
                dockerfile="../Containerfile",
                args={"BASE_IMAGE": service.build_from},
            ),
            opts=self._options(),
        )
        return built.repo_digest  # the id of an image that is not pushed

    def _create_ontology_server(self) -> docker.Container | None:
        if not self._config.service.ontology_server:
            return None
        schemas = docker.Volume(f"{self._name}-schemas", opts=self._options())
        return self._create_container(
            f"{self._name}-ontology",
            image=self.image,
            user=f"{USER_ID}:{USER_ID}",
            command=[
                "ontology-server",
                "--host",
                "0.0.0.0",  # noqa: S104  # on the network of the stack, not published
                "--port",
                str(ONTOLOGY_PORT),
                "--directory",
                DATA_FOLDER,
            ],
            memory_mib=SMALL_MIB,
            volumes={DATA_FOLDER: schemas},
            healthcheck=_build_health_check(ONTOLOGY_PORT, "/health"),
        )

    def _create_service(self) -> docker.Container:
        ontology = self.ontology_server
        files = {
            f"{SECRETS_FOLDER}/{secret}": self._secrets[secret]
            for secret in SERVICE_SECRETS
            if secret in self._secrets
        }
        url: pulumi.Input[str] = self._config.service.ontology_url
        if ontology is not None:
            url = pulumi.Output.concat("http://", ontology.name, f":{ONTOLOGY_PORT}")
        secret_names = frozenset(self._secrets)
        hosts = (f"{self._name}-service",)
        return self._create_container(
            f"{self._name}-service",
            image=self.image,
            user=f"{USER_ID}:{USER_ID}",
            envs=pulumi.Output.from_input(url).apply(
                lambda url: _list_variables(
                    build_environment(self._config, url, secret_names, hosts)
                )
            ),
            memory_mib=self._config.service.memory_mib,
            port=(SERVICE_PORT, self._config.service.port),
            volumes={DATA_FOLDER: self.data, BACKUP_FOLDER: self.backups},
            files=files,
            settings_folder=SECRETS_FOLDER,
            healthcheck=_build_health_check(SERVICE_PORT, "/monitoring/ready"),
            # The service drains, projects and checkpoints before it exits.
            stop_timeout=30,
        )

    def _create_monitoring(self, config: MonitoringConfig) -> None:
        alertmanager = self._create_container(
            f"{self._name}-alertmanager",
            image=config.alertmanager_image,
            user=PROMETHEUS_USER,
            command=[
                "--config.file=/etc/alertmanager/alertmanager.yml",
                "--storage.path=/alertmanager",
            ],
            memory_mib=SMALL_MIB,
            port=(ALERTMANAGER_PORT, config.alertmanager_port),
            volumes={"/alertmanager": self._create_volume("alertmanager-data")},
            files={"/etc/alertmanager/alertmanager.yml": monitoring_files.read_alertmanager()},
            settings_folder="/etc/alertmanager",
        )
        prometheus = self._create_prometheus(config, alertmanager)
        self.outputs["prometheus_url"] = f"http://127.0.0.1:{config.prometheus_port}"
        self.outputs["alertmanager_url"] = f"http://127.0.0.1:{config.alertmanager_port}"
        if GRAFANA_PASSWORD in self._secrets:
            self._create_grafana(config, prometheus)
            self.outputs["grafana_url"] = f"http://127.0.0.1:{config.grafana_port}"

    def _create_prometheus(
        self, config: MonitoringConfig, alertmanager: docker.Container
    ) -> docker.Container:
        key_file = f"{PROMETHEUS_FOLDER}/{METRICS_KEY}"
        names = pulumi.Output.all(self.service.name, alertmanager.name)
        settings = names.apply(
            lambda names: monitoring_files.build_prometheus_config(
                f"{names[0]}:{SERVICE_PORT}",
                key_file=key_file,
                rules=f"{PROMETHEUS_FOLDER}/*.yml",
                alertmanager=f"{names[1]}:{ALERTMANAGER_PORT}",
            )
        )
        rules = monitoring_files.read_rules(config.runbooks_url)
        return self._create_container(
            f"{self._name}-prometheus",
            image=config.prometheus_image,
            user=PROMETHEUS_USER,
            command=[
                f"--config.file={PROMETHEUS_FOLDER}/prometheus.json",
                "--storage.tsdb.path=/prometheus",
                f"--storage.tsdb.retention.time={config.retention_days}d",
            ],
            memory_mib=config.memory_mib,
            port=(PROMETHEUS_PORT, config.prometheus_port),
            volumes={"/prometheus": self._create_volume("prometheus-data")},
            files={
                f"{PROMETHEUS_FOLDER}/prometheus.json": settings,
                key_file: self._secrets[METRICS_KEY],
                **{f"{PROMETHEUS_FOLDER}/{name}": text for name, text in rules.items()},
            },
            settings_folder=PROMETHEUS_FOLDER,
        )

    def _create_grafana(self, config: MonitoringConfig, prometheus: docker.Container) -> None:
        password_file = f"{GRAFANA_FOLDER}/{GRAFANA_PASSWORD}"
        provisioning = monitoring_files.read_provisioning()
        dashboards = monitoring_files.read_dashboards()
        self._create_container(
            f"{self._name}-grafana",
            image=config.grafana_image,
            user=GRAFANA_USER,
            envs=prometheus.name.apply(
                lambda name: _list_variables(
                    {
                        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
                        "GF_ANALYTICS_REPORTING_ENABLED": "false",
                        "GF_AUTH_ANONYMOUS_ENABLED": "false",
                        "GF_SECURITY_ADMIN_PASSWORD__FILE": password_file,
                        "PROMETHEUS_URL": f"http://{name}:{PROMETHEUS_PORT}",
                    }
                )
            ),
            memory_mib=config.memory_mib,
            port=(GRAFANA_PORT, config.grafana_port),
            volumes={"/var/lib/grafana": self._create_volume("grafana-data")},
            files={
                password_file: self._secrets[GRAFANA_PASSWORD],
                # The image's own file, which the volume hides; environment variables set the rest.
                f"{GRAFANA_FOLDER}/grafana.ini": "",
                **{f"{GRAFANA_FOLDER}/provisioning/{n}": t for n, t in provisioning.items()},
                **{f"{GRAFANA_FOLDER}/dashboards/{n}": t for n, t in dashboards.items()},
            },
            settings_folder=GRAFANA_FOLDER,
        )

    def _create_volume(self, suffix: str) -> docker.Volume:
        return docker.Volume(f"{self._name}-{suffix}", opts=self._options())

    def _create_container(
        self,
        name: str,
        *,
        image: pulumi.Input[str],
        user: str,
        memory_mib: int,
        volumes: Mapping[str, docker.Volume],
        port: tuple[int, int] | None = None,
        files: Mapping[str, pulumi.Input[str]] | None = None,
        settings_folder: str = "",
        **options: Any,
    ) -> docker.Container:
        """Create a container without privileges, on the network of the stack.

        Args:
            name: its name, by which the others reach it.
            image: its image.
            user: user and group, as numbers.
            memory_mib: its memory; it has no swap, since a swapping database hangs.
            volumes: its volumes by their path.
            port: the port in it, and the one on the loopback address of the host.
            files: contents of files below `settings_folder`, by their path.
            settings_folder: the path of the volume for these files.
            **options: what only this container has.
        """
        mounts = dict(volumes)
        if files:
            mounts[settings_folder] = docker.Volume(f"{name}-settings", opts=self._options())
        return docker.Container(
            name,
            image=image,
            user=user,
            uploads=[
                docker.ContainerUploadArgs(file=path, content=content, permissions="0444")
                for path, content in (files or {}).items()
            ],
            ports=_publish(port),
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=self.network.name)],
            volumes=[
                docker.ContainerVolumeArgs(container_path=path, volume_name=volume.name)
                for path, volume in mounts.items()
            ],
            # Only the volumes and /tmp are writable, and no process can gain a privilege.
            read_only=True,
            tmpfs={"/tmp": "rw,noexec,nosuid,nodev,size=64m"},  # noqa: S108  # a mount, not a file
            capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
            security_opts=["no-new-privileges:true"],
            ulimits=[
                docker.ContainerUlimitArgs(name="nofile", soft=20_000, hard=20_000),
                docker.ContainerUlimitArgs(name="nproc", soft=1_024, hard=1_024),
            ],
            memory=memory_mib,
            memory_swap=memory_mib,
            # The first process of a container ignores signals that it has no handler for.
            init=True,
            restart="unless-stopped",
            opts=self._options(),
            **options,
        )


def _publish(port: tuple[int, int] | None) -> Sequence[docker.ContainerPortArgs]:
    """Publish a port on the loopback address of the host; no other address reaches it."""
    if port is None:
        return []
    internal, external = port
    return [docker.ContainerPortArgs(internal=internal, external=external, ip="127.0.0.1")]


def _list_variables(variables: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in variables.items()]


def _build_health_check(port: int, path: str) -> docker.ContainerHealthcheckArgs:
    # A direct connection: urlopen would ask the proxy of HTTP_PROXY.
    probe = (
        f"import http.client as h; c = h.HTTPConnection('127.0.0.1', {port}, timeout=2); "
        f"c.request('GET', {path!r}); exit(c.getresponse().status != 200)"
    )
    return docker.ContainerHealthcheckArgs(
        tests=["CMD", "python3", "-c", probe],
        interval="10s",
        timeout="3s",
        start_period="20s",
        retries=3,
    )
