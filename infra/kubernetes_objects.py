"""Objects of the stack in a Kubernetes cluster, as plain mappings: one writer and its guards."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import monitoring_files
from stack_config import (
    BACKUP_FOLDER,
    DATA_FOLDER,
    METRICS_KEY,
    ONTOLOGY_PORT,
    RUNBOOKS_URL,
    SECRETS_FOLDER,
    SERVICE_PORT,
    SERVICE_SECRETS,
    USER_ID,
    StackConfig,
    build_environment,
)

NAME = "spawn"
ONTOLOGY_NAME = "spawn-ontology"
SECRET_NAME = "spawn-secrets"  # noqa: S105  # the name of an object
DATA_CLAIM = "spawn-data"
BACKUP_CLAIM = "spawn-backups"
USED_SECRETS = (METRICS_KEY, *SERVICE_SECRETS)
SMALL_MIB = 256

Object = dict[str, Any]


def build_objects(config: StackConfig, secrets: Mapping[str, Any]) -> list[Object]:
    """Return the objects of a stack, in the order of their creation.

    Args:
        config: the settings of the stack.
        secrets: the secrets of the stack by name; the values may be known only later.
    """
    ontology = config.service.ontology_server
    used = {name: secrets[name] for name in USED_SECRETS if name in secrets}
    secret_names = frozenset(used)
    objects = [
        _build_namespace(config),
        _build_service_account(),
        *([_build_secret(used)] if used else []),
        _build_claim(config, DATA_CLAIM, config.kubernetes.data_gib),
        _build_claim(config, BACKUP_CLAIM, config.kubernetes.backup_gib),
        *_build_network_policies(config),
        *(_build_ontology_server(config) if ontology else []),
        _build_stateful_set(config, secret_names),
        _build_service(NAME, SERVICE_PORT),
        _build_disruption_budget(),
        _build_verification(config, secret_names),
        *_build_monitoring(config, secret_names),
    ]
    for each in objects:
        if each["kind"] != "Namespace":
            each["metadata"]["namespace"] = config.kubernetes.namespace
    return objects


def _labels(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": NAME}


def _object(api_version: str, kind: str, name: str, **fields: Any) -> Object:
    metadata = {"name": name, "labels": _labels(NAME)}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def _build_namespace(config: StackConfig) -> Object:
    """Return the namespace, which admits only pods of the standard `restricted`."""
    namespace = _object("v1", "Namespace", config.kubernetes.namespace)
    namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "restricted"
    return namespace


def _build_service_account() -> Object:
    return _object("v1", "ServiceAccount", NAME, automountServiceAccountToken=False)


def _build_secret(secrets: Mapping[str, Any]) -> Object:
    return _object("v1", "Secret", SECRET_NAME, type="Opaque", stringData=dict(secrets))


def _build_claim(config: StackConfig, name: str, gib: int) -> Object:
    spec: Object = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": f"{gib}Gi"}},
    }
    if config.kubernetes.storage_class:
        spec["storageClassName"] = config.kubernetes.storage_class
    return _object("v1", "PersistentVolumeClaim", name, spec=spec)


def _build_network_policies(config: StackConfig) -> list[Object]:
    """Return who may connect to the pods, and where these may connect to."""
    names = [config.kubernetes.clients_namespace, config.kubernetes.monitoring_namespace]
    clients = [_namespace_peer(name) for name in names]
    dns = {
        "to": [_namespace_peer("kube-system")],
        "ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")],
    }
    # The ontology server, webhooks, collectors and identity providers may be anywhere.
    web = {"ports": [_tcp(port) for port in sorted({443, _find_ontology_port(config)})]}
    policies = [
        _build_policy("spawn-default", {}, ingress=[], egress=[]),
        _build_policy(
            NAME,
            {"matchLabels": {"app.kubernetes.io/name": NAME}},
            ingress=[{"from": clients, "ports": [_tcp(SERVICE_PORT)]}],
            egress=[dns, web, *_reach_ontology_server(config)],
        ),
    ]
    if config.service.ontology_server:
        policies.append(
            _build_policy(
                ONTOLOGY_NAME,
                {"matchLabels": {"app.kubernetes.io/name": ONTOLOGY_NAME}},
                ingress=[{"from": [_pod_peer(NAME)], "ports": [_tcp(ONTOLOGY_PORT)]}],
                egress=[],
            )
        )
    return policies


def _find_ontology_port(config: StackConfig) -> int:
    """Return the port of the organisation's ontology server; that of TLS if there is none."""
    parts = urlsplit(config.service.ontology_url)
    return parts.port or (80 if parts.scheme == "http" else 443)


def _reach_ontology_server(config: StackConfig) -> list[Object]:
    if not config.service.ontology_server:
        return []
    return [{"to": [_pod_peer(ONTOLOGY_NAME)], "ports": [_tcp(ONTOLOGY_PORT)]}]


def _build_policy(name: str, selector: Object, *, ingress: list[Any], egress: list[Any]) -> Object:
    spec = {
        "podSelector": selector,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": egress,
    }
    return _object("networking.k8s.io/v1", "NetworkPolicy", name, spec=spec)


def _namespace_peer(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _pod_peer(name: str) -> Object:
    return {"podSelector": {"matchLabels": {"app.kubernetes.io/name": name}}}


def _tcp(port: int) -> Object:
    return {"port": port, "protocol": "TCP"}


def _build_ontology_server(config: StackConfig) -> list[Object]:
    container = _build_container(
        config,
        ONTOLOGY_NAME,
        SMALL_MIB,
        # On all addresses of the pod, which only the service may reach.
        args=["ontology-server", "--host", "0.0.0.0", "--port", str(ONTOLOGY_PORT)],  # noqa: S104
        ports=[{"name": "http", "containerPort": ONTOLOGY_PORT}],
        readinessProbe=_build_probe("/health"),
    )
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {"app.kubernetes.io/name": ONTOLOGY_NAME}},
        "template": _build_pod(ONTOLOGY_NAME, [container], volumes=[]),
    }
    deployment = _object("apps/v1", "Deployment", ONTOLOGY_NAME, spec=spec)
    return [deployment, _build_service(ONTOLOGY_NAME, ONTOLOGY_PORT)]


def _build_stateful_set(config: StackConfig, secrets: frozenset[str]) -> Object:
    """Return the one writer: an update stops it before it starts its successor."""
    key_mounts, key_volumes = _mount_keys(secrets)
    mounts = [
        {"name": "data", "mountPath": DATA_FOLDER},
        {"name": "backups", "mountPath": BACKUP_FOLDER},
        *key_mounts,
    ]
    volumes = [
        _claim_volume("data", DATA_CLAIM),
        _claim_volume("backups", BACKUP_CLAIM),
        *key_volumes,
    ]
    container = _build_container(
        config,
        NAME,
        config.service.memory_mib,
        args=["serve"],
        mounts=mounts,
        env=_build_variables(config, secrets),
        ports=[{"name": "http", "containerPort": SERVICE_PORT}],
        # A store whose tables are rebuilt is alive and not ready; that may take minutes.
        startupProbe=_build_probe("/monitoring/live", failures=60),
        readinessProbe=_build_probe("/monitoring/ready"),
        livenessProbe=_build_probe("/monitoring/live", failures=6),
    )
    spec = {
        "replicas": 1,
        "serviceName": NAME,
        "updateStrategy": {"type": "RollingUpdate"},
        "selector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
        "template": _build_pod(NAME, [container], volumes=volumes),
    }
    return _object("apps/v1", "StatefulSet", NAME, spec=spec)


def _mount_keys(secrets: frozenset[str]) -> tuple[list[Object], list[Object]]:
    """Return the mount and the volume of the keys of the service; no other secret is mounted."""
    items = [{"key": name, "path": name} for name in SERVICE_SECRETS if name in secrets]
    if not items:
        return [], []
    secret = {"secretName": SECRET_NAME, "defaultMode": 0o440, "items": items}
    mount = {"name": "secrets", "mountPath": SECRETS_FOLDER, "readOnly": True}
    return [mount], [{"name": "secrets", "secret": secret}]


def _build_variables(config: StackConfig, secrets: frozenset[str]) -> list[Object]:
    url = config.service.ontology_url
    if config.service.ontology_server:
        url = f"http://{ONTOLOGY_NAME}:{ONTOLOGY_PORT}"
    namespace = config.kubernetes.namespace
    hosts = (NAME, f"{NAME}.{namespace}", f"{NAME}.{namespace}.svc")
    variables = build_environment(config, url, secrets, hosts)
    return [{"name": name, "value": value} for name, value in variables.items()]


def _build_pod(name: str, containers: list[Object], *, volumes: list[Object]) -> Object:
    spec = {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": False,
        # Else the cluster sets SPAWN_PORT and other variables that the service does not know.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": containers,
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}, *volumes],
    }
    return {"metadata": {"labels": _labels(name)}, "spec": spec}


def _build_container(
    config: StackConfig,
    name: str,
    memory_mib: int,
    *,
    mounts: list[Object] | None = None,
    **fields: Any,
) -> Object:
    """Return a container without privileges; its memory is reserved, so that nobody takes it."""
    memory = f"{memory_mib}Mi"
    return {
        "name": name,
        "image": config.service.image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {
            "requests": {"cpu": "100m", "memory": memory, "ephemeral-storage": "64Mi"},
            "limits": {"memory": memory, "ephemeral-storage": "256Mi"},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *(mounts or [])],  # noqa: S108  # a mount
        **fields,
    }


def _build_probe(path: str, *, failures: int = 3) -> Object:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": 10,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _claim_volume(name: str, claim: str) -> Object:
    return {"name": name, "persistentVolumeClaim": {"claimName": claim}}


def _build_service(name: str, port: int) -> Object:
    spec = {
        "type": "ClusterIP",
        "selector": {"app.kubernetes.io/name": name},
        "ports": [{"name": "http", "port": port, "targetPort": "http", "protocol": "TCP"}],
    }
    service = _object("v1", "Service", name, spec=spec)
    service["metadata"]["labels"] = _labels(name)
    return service


def _build_disruption_budget() -> Object:
    """Return the budget: a drain may move the writer, which stops in order, and one that is ill."""
    spec = {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
    }
    return _object("policy/v1", "PodDisruptionBudget", NAME, spec=spec)


def _build_verification(config: StackConfig, secrets: frozenset[str]) -> Object:
    """Return the job that reads the backups again each night; it fails if one is not good."""
    key_mounts, key_volumes = _mount_keys(secrets)
    variables = _build_variables(config, secrets)
    container = _build_container(
        config,
        "verify",
        SMALL_MIB,
        args=["verify", BACKUP_FOLDER],
        env=[each for each in variables if each["name"] in SERVICE_SECRETS.values()],
        mounts=[{"name": "backups", "mountPath": BACKUP_FOLDER, "readOnly": True}, *key_mounts],
    )
    volumes = [_claim_volume("backups", BACKUP_CLAIM), *key_volumes]
    pod = _build_pod("spawn-verify", [container], volumes=volumes)
    pod["spec"]["restartPolicy"] = "Never"
    # A claim of one node is read on the node of the writer.
    same_node = {
        "labelSelector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
        "topologyKey": "kubernetes.io/hostname",
    }
    required = {"requiredDuringSchedulingIgnoredDuringExecution": [same_node]}
    pod["spec"]["affinity"] = {"podAffinity": required}
    spec = {
        "schedule": config.backup.verify_schedule,
        "concurrencyPolicy": "Forbid",
        "jobTemplate": {"spec": {"backoffLimit": 0, "template": pod}},
    }
    return _object("batch/v1", "CronJob", "spawn-verify", spec=spec)


def _build_monitoring(config: StackConfig, secrets: frozenset[str]) -> list[Object]:
    """Return what the operator of the cluster's Prometheus and its Grafana read."""
    if not config.kubernetes.has_prometheus_operator:
        return []
    objects = []
    if METRICS_KEY in secrets:
        endpoint = {
            "port": "http",
            "path": "/monitoring/metrics",
            "interval": "15s",
            "authorization": {"credentials": {"name": SECRET_NAME, "key": METRICS_KEY}},
        }
        selector = {"matchLabels": {"app.kubernetes.io/name": NAME}}
        spec = {"jobLabel": "app.kubernetes.io/name", "endpoints": [endpoint], "selector": selector}
        objects.append(_object("monitoring.coreos.com/v1", "ServiceMonitor", NAME, spec=spec))
    monitoring = config.monitoring
    groups = monitoring_files.read_rule_groups(
        RUNBOOKS_URL if monitoring is None else monitoring.runbooks_url
    )
    if groups:
        rules = {"groups": groups}
        objects.append(_object("monitoring.coreos.com/v1", "PrometheusRule", NAME, spec=rules))
    dashboards = monitoring_files.read_dashboards()
    if dashboards:
        board = _object("v1", "ConfigMap", "spawn-dashboards", data=dashboards)
        board["metadata"]["labels"]["grafana_dashboard"] = "1"  # the label of Grafana's chart
        objects.append(board)
    return objects
