"""The stack in a Kubernetes cluster, through Pulumi."""

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
from kubernetes_objects import BACKUP_CLAIM, DATA_CLAIM, NAME, Object, build_objects
from pulumi_kubernetes.apiextensions import CustomResource
from stack_config import SERVICE_PORT, StackConfig

_TYPES: Mapping[str, Any] = {
    "ConfigMap": kubernetes.core.v1.ConfigMap,
    "CronJob": kubernetes.batch.v1.CronJob,
    "Deployment": kubernetes.apps.v1.Deployment,
    "Namespace": kubernetes.core.v1.Namespace,
    "NetworkPolicy": kubernetes.networking.v1.NetworkPolicy,
    "PersistentVolumeClaim": kubernetes.core.v1.PersistentVolumeClaim,
    "PodDisruptionBudget": kubernetes.policy.v1.PodDisruptionBudget,
    "Secret": kubernetes.core.v1.Secret,
    "Service": kubernetes.core.v1.Service,
    "ServiceAccount": kubernetes.core.v1.ServiceAccount,
    "StatefulSet": kubernetes.apps.v1.StatefulSet,
}
_CLAIMS = frozenset({DATA_CLAIM, BACKUP_CLAIM})
_PODS = frozenset({"CronJob", "Deployment", "StatefulSet"})


class KubernetesTarget(pulumi.ComponentResource):
    """The objects of the stack; claims are protected where data are kept."""

    def __init__(
        self, name: str, config: StackConfig, secrets: Mapping[str, pulumi.Output[str]]
    ) -> None:
        super().__init__("spawn:index:KubernetesTarget", name)
        self._name = name
        self._keep_data = config.service.keep_data
        # What pods need exists before them: everything that comes before the first workload.
        self._created: list[pulumi.Resource] = []
        for each in build_objects(config, secrets):
            self._create(each)
        namespace = config.kubernetes.namespace
        self.outputs: dict[str, pulumi.Input[Any]] = {
            "url": f"http://{NAME}.{namespace}.svc:{SERVICE_PORT}",
            "ready_url": f"http://{NAME}.{namespace}.svc:{SERVICE_PORT}/monitoring/ready",
            "image": config.service.image,
            "namespace": namespace,
            "data_claim": DATA_CLAIM,
            "backup_claim": BACKUP_CLAIM,
        }
        self.register_outputs(dict(self.outputs))

    def _create(self, each: Object) -> None:
        kind, name = each["kind"], each["metadata"]["name"]
        # A namespace takes its claims along when it is deleted.
        keep = self._keep_data and (name in _CLAIMS or kind == "Namespace")
        needed = self._created if kind in _PODS else self._created[:1]
        options = pulumi.ResourceOptions(
            parent=self, depends_on=list(needed), protect=keep, retain_on_delete=keep
        )
        fields = {key: value for key, value in each.items() if key not in {"apiVersion", "kind"}}
        logical_name = f"{self._name}-{kind.lower()}-{name}"
        if kind in _TYPES:
            arguments = {_SNAKE_CASE.get(key, key): value for key, value in fields.items()}
            resource = _TYPES[kind](logical_name, **arguments, opts=options)
        else:
            resource = CustomResource(
                logical_name,
                api_version=each["apiVersion"],
                kind=kind,
                metadata=fields["metadata"],
                spec=fields["spec"],
                opts=options,
            )
        self._created.append(resource)


_SNAKE_CASE = {
    "stringData": "string_data",
    "automountServiceAccountToken": "automount_service_account_token",
}
