"""One Spawn service on a container host: network, data, image and hardened container."""

from typing import Annotated

import msgspec
import pulumi
import pulumi_docker as docker

MIB_PER_GIB = 1024
CONTAINER_PORT = 8000
USER = "10001:10001"  # as in the Containerfile

Port = Annotated[int, msgspec.Meta(ge=1024, le=65535)]
MemoryMib = Annotated[int, msgspec.Meta(ge=256, le=64 * MIB_PER_GIB)]
Url = Annotated[str, msgspec.Meta(pattern=r"^(bundled|https?)://")]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class ServiceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings that differ between stacks: `spawn:service` in `Pulumi.<stack>.yaml`.

    `keep_data` protects the data volume and keeps it when the stack is destroyed.
    """

    image: Text
    base_image: Text
    ontology_url: Url
    port: Port
    memory_mib: MemoryMib
    keep_data: bool

    @classmethod
    def read(cls, config: pulumi.Config) -> "ServiceConfig":
        """Read the stack's settings; `msgspec.ValidationError` names an invalid key."""
        return msgspec.convert(config.require_object("service"), cls)


class SpawnService(pulumi.ComponentResource):
    """The service and its resources, published on the host's loopback address only."""

    def __init__(self, name: str, config: ServiceConfig) -> None:
        super().__init__("spawn:index:Service", name)
        self._config = config
        self._child_options = pulumi.ResourceOptions(parent=self)
        self.network = docker.Network(f"{name}-network", driver="bridge", opts=self._child_options)
        self.volume = self._create_volume(f"{name}-data")
        self.image = self._create_image(f"{name}-image")
        self.container = self._create_container(f"{name}-service")
        self.url = pulumi.Output.from_input(f"http://127.0.0.1:{config.port}")
        self.ready_url = pulumi.Output.concat(self.url, "/monitoring/ready")
        self.register_outputs({"url": self.url, "ready_url": self.ready_url})

    def _create_volume(self, name: str) -> docker.Volume:
        keep = self._config.keep_data
        return docker.Volume(
            name,
            opts=pulumi.ResourceOptions(parent=self, protect=keep, retain_on_delete=keep),
        )

    def _create_image(self, name: str) -> docker.Image:
        return docker.Image(
            name,
            image_name=self._config.image,
            skip_push=True,
            build=docker.DockerBuildArgs(
                context="..",
                dockerfile="../Containerfile",
                args={"BASE_IMAGE": self._config.base_image},
            ),
            opts=self._child_options,
        )

    def _create_container(self, name: str) -> docker.Container:
        return docker.Container(
            name,
            image=self.image.image_name,
            user=USER,
            envs=self._build_environment(),
            ports=[
                docker.ContainerPortArgs(
                    internal=CONTAINER_PORT, external=self._config.port, ip="127.0.0.1"
                )
            ],
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=self.network.name)],
            volumes=[
                docker.ContainerVolumeArgs(container_path="/data", volume_name=self.volume.name)
            ],
            # Only /data and /tmp are writable, and no process can gain a privilege.
            read_only=True,
            tmpfs={"/tmp": "rw,noexec,nosuid,nodev,size=64m"},  # noqa: S108  # a mount, not a file
            capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
            security_opts=["no-new-privileges:true"],
            ulimits=[docker.ContainerUlimitArgs(name="nofile", soft=20_000, hard=20_000)],
            memory=self._config.memory_mib,
            # The same as `memory`: no swap, since a swapping database hangs.
            memory_swap=self._config.memory_mib,
            healthcheck=self._build_health_check(),
            restart="unless-stopped",
            # The service drains, projects and checkpoints before it exits.
            stop_timeout=30,
            opts=self._child_options,
        )

    def _build_environment(self) -> list[str]:
        return [
            # All addresses of the container's own network; callers need an API key. The host
            # publishes the loopback address only.
            "SPAWN_HOST=0.0.0.0",
            f"SPAWN_PORT={CONTAINER_PORT}",
            f"SPAWN_ONTOLOGY_URL={self._config.ontology_url}",
            "SPAWN_STORAGE_URL=duckdb:////data/spawn.duckdb",
        ]

    def _build_health_check(self) -> docker.ContainerHealthcheckArgs:
        ready = f"http://127.0.0.1:{CONTAINER_PORT}/monitoring/ready"
        probe = f"import urllib.request as r; r.urlopen({ready!r}, timeout=2)"
        return docker.ContainerHealthcheckArgs(
            tests=["CMD", "python3", "-c", probe],
            interval="10s",
            timeout="3s",
            start_period="20s",
            retries=3,
        )
