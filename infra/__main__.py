"""Pulumi program: one stack is one Spawn service with its data."""

import pulumi
from deployment import ServiceConfig, SpawnService

service = SpawnService("spawn", ServiceConfig.read(pulumi.Config("spawn")))

pulumi.export("url", service.url)
pulumi.export("ready_url", service.ready_url)
pulumi.export("container", service.container.name)
pulumi.export("data_volume", service.volume.name)
