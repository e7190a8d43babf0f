"""Pulumi program: one stack is one Spawn service with its data, and Prometheus if configured."""

import pulumi
from deployment import ServiceConfig, SpawnService
from metrics_collection import PrometheusConfig, PrometheusServer

config = pulumi.Config("spawn")
service = SpawnService("spawn", ServiceConfig.read(config))
prometheus_config = PrometheusConfig.read(config)
if prometheus_config is not None:
    key = config.require_secret("metrics_key")
    PrometheusServer("prometheus", prometheus_config, service, key)

pulumi.export("url", service.url)
pulumi.export("ready_url", service.ready_url)
pulumi.export("container", service.container.name)
pulumi.export("data_volume", service.volume.name)
