"""Prometheus beside the service, with a key of its own for the metrics."""

import json
from typing import Annotated, Any

import msgspec
import pulumi
import pulumi_docker as docker
from deployment import CONTAINER_PORT, Port, SpawnService, Text

PROMETHEUS_PORT = 9090
USER = "65534:65534"  # nobody, as in the image
CONFIG_FOLDER = "/etc/spawn"
KEY_FILE = f"{CONFIG_FOLDER}/metrics-key"


class PrometheusConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the collection: `spawn:prometheus`. The key is the secret `spawn:metrics_key`."""

    image: Text
    port: Port
    memory_mib: Annotated[int, msgspec.Meta(ge=128)] = 512

    @classmethod
    def read(cls, config: pulumi.Config) -> "PrometheusConfig | None":
        """Read the stack's settings; None if it collects no metrics."""
        values = config.get_object("prometheus")
        return None if values is None else msgspec.convert(values, cls)


class PrometheusServer(pulumi.ComponentResource):
    """Prometheus with its data, published on the host's loopback address only.

    The root of the container is read-only, so the configuration and the key are uploaded to a
    volume. The key is a file there, and no environment variable, which `inspect` would show.
    """

    def __init__(
        self,
        name: str,
        config: PrometheusConfig,
        service: SpawnService,
        key: pulumi.Output[str],
    ) -> None:
        super().__init__("spawn:index:Prometheus", name)
        options = pulumi.ResourceOptions(parent=self)
        self._config = config
        self.settings_volume = docker.Volume(f"{name}-settings", opts=options)
        self.data_volume = docker.Volume(f"{name}-data", opts=options)
        self.container = docker.Container(
            f"{name}-server",
            image=config.image,
            user=USER,
            command=[
                f"--config.file={CONFIG_FOLDER}/prometheus.yml",
                "--storage.tsdb.path=/prometheus",
                "--storage.tsdb.retention.time=30d",
            ],
            uploads=[
                docker.ContainerUploadArgs(
                    file=f"{CONFIG_FOLDER}/prometheus.yml",
                    content=service.container.name.apply(build_prometheus_yaml),
                ),
                docker.ContainerUploadArgs(file=KEY_FILE, content=key),
            ],
            ports=[
                docker.ContainerPortArgs(
                    internal=PROMETHEUS_PORT, external=config.port, ip="127.0.0.1"
                )
            ],
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=service.network.name)],
            volumes=[
                docker.ContainerVolumeArgs(
                    container_path=CONFIG_FOLDER, volume_name=self.settings_volume.name
                ),
                docker.ContainerVolumeArgs(
                    container_path="/prometheus", volume_name=self.data_volume.name
                ),
            ],
            read_only=True,
            capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
            security_opts=["no-new-privileges:true"],
            memory=config.memory_mib,
            memory_swap=config.memory_mib,
            restart="unless-stopped",
            opts=options,
        )
        self.register_outputs({"url": f"http://127.0.0.1:{config.port}"})


def build_prometheus_yaml(service: str) -> str:
    """Return the configuration of Prometheus; JSON is YAML."""
    scrape: dict[str, Any] = {
        "job_name": "spawn",
        "metrics_path": "/monitoring/metrics",
        "authorization": {"credentials_file": KEY_FILE},
        "static_configs": [{"targets": [f"{service}:{CONTAINER_PORT}"]}],
    }
    document = {"global": {"scrape_interval": "15s"}, "scrape_configs": [scrape]}
    return json.dumps(document, indent=2) + "\n"
