"""What must hold for the resources of every stack, on either target."""

import json
from typing import Any

from policy.rules import RULES, Resource
from tests.infra.recording import SECRETS, Deployment, Registration

LOOPBACK = "127.0.0.1"
PROTECTED_STACKS = {"staging", "prod"}


def find_violations(deployment: Deployment, stack: str) -> list[str]:
    """Return how the resources break the rules of the policy pack."""
    return [
        f"{rule.name}: {registration.name}: {violation}"
        for registration in deployment.resources.values()
        for rule in RULES
        for violation in rule.find(
            Resource(
                type=registration.type,
                name=registration.name,
                stack=stack,
                inputs=registration.inputs,
                protect=registration.protect,
            )
        )
    ]


def check_stack(deployment: Deployment, stack: str, target: str) -> None:
    """Assert everything about one run."""
    assert find_violations(deployment, stack) == []
    check_secrets(deployment)
    check_data(deployment, stack)
    check_outputs(deployment)
    {"docker": check_docker, "kubernetes": check_kubernetes}[target](deployment, stack)


def check_secrets(deployment: Deployment) -> None:
    """Assert that no text of a secret is in what anybody can read, and that each is in a file."""
    revealed = [json.dumps(each.revealed) for each in deployment.resources.values()]
    for name, text in SECRETS.items():
        for registration in deployment.resources.values():
            assert text not in registration.plain_text, (registration.name, name)
        assert text not in json.dumps(deployment.outputs)
    for name in ("spawn:metrics_key", "spawn:backup_signing_key", "spawn:encryption_key"):
        assert any(SECRETS[name] in inputs for inputs in revealed), name


def check_data(deployment: Deployment, stack: str) -> None:
    """Assert that data and backups outlive every stack but dev."""
    kept = [
        each
        for each in deployment.resources.values()
        if each.name.endswith(("spawn-data", "spawn-backups"))
    ]
    kept += deployment.find("Namespace")
    assert len(kept) >= 2
    for each in kept:
        assert each.protect is (stack in PROTECTED_STACKS), each.name
        assert each.retain_on_delete is (stack in PROTECTED_STACKS), each.name


def check_outputs(deployment: Deployment) -> None:
    assert deployment.outputs["ready_url"] == f"{deployment.outputs['url']}/monitoring/ready"
    assert "next_step" not in deployment.outputs


def check_docker(deployment: Deployment, stack: str) -> None:
    containers = {each.name: each for each in deployment.find("Container")}
    expected = {"spawn-service", "spawn-prometheus", "spawn-alertmanager", "spawn-grafana"}
    assert set(containers) == expected | ({"spawn-ontology"} if stack == "dev" else set())
    for container in containers.values():
        check_container(container)
        names = deployment.dependencies(container.name)
        assert "spawn-network" in names, container.name
        mounts = {mount["volumeName"] for mount in container.inputs["volumes"]}
        assert mounts <= names, (container.name, mounts - names)
    check_docker_graph(deployment, stack)
    check_docker_service(containers["spawn-service"], stack)
    check_docker_monitoring(containers)


def check_container(container: Registration) -> None:
    inputs = container.inputs
    assert inputs["memory"] == inputs["memorySwap"], container.name
    assert inputs["restart"] == "unless-stopped"
    assert inputs["init"] is True
    assert {limit["name"] for limit in inputs["ulimits"]} == {"nofile", "nproc"}
    assert set(inputs["tmpfs"]) == {"/tmp"}  # noqa: S108  # a mount inside the container
    assert "noexec" in inputs["tmpfs"]["/tmp"]  # noqa: S108  # as above
    assert [each["name"] for each in inputs["networksAdvanced"]] == ["spawn-network"]
    folders = {mount["containerPath"] for mount in inputs["volumes"]}
    for upload in reveal_uploads(container):
        # The root is read-only, so a file is written to a volume.
        assert any(upload.startswith(f"{folder}/") for folder in folders), upload


def reveal_uploads(container: Registration) -> dict[str, str]:
    """Return the files of a container by path, secrets included."""
    uploads = container.revealed.get("uploads", [])
    return {upload["file"]: upload["content"] for upload in uploads}


def check_docker_graph(deployment: Deployment, stack: str) -> None:
    service = deployment.dependencies("spawn-service")
    wanted = {"spawn-network", "spawn-data", "spawn-backups", "spawn-image"}
    assert service >= wanted | ({"spawn-ontology"} if stack == "dev" else set())
    assert deployment.dependencies("spawn-prometheus") >= {"spawn-service", "spawn-alertmanager"}
    assert "spawn-prometheus" in deployment.dependencies("spawn-grafana")
    parent = deployment.resources["spawn"].urn
    others = [each for each in deployment.resources.values() if each.type.startswith("docker:")]
    assert {each.parent for each in others} == {parent}
    image = deployment.resources["spawn-image"]
    assert image.type.endswith("image:Image" if stack == "dev" else "remoteImage:RemoteImage")


def check_docker_service(service: Registration, stack: str) -> None:
    inputs = service.inputs
    mounts = {mount["containerPath"]: mount["volumeName"] for mount in inputs["volumes"]}
    assert mounts["/data"] == "spawn-data"
    assert mounts["/backups"] == "spawn-backups"
    assert inputs["user"] == "10001:10001"
    assert inputs["stopTimeout"] >= 30
    assert inputs["healthcheck"]["tests"][0] == "CMD"
    assert "/monitoring/ready" in inputs["healthcheck"]["tests"][-1]
    assert inputs["ports"] == [{"internal": 8000, "external": 8000, "ip": LOOPBACK}]
    check_environment(dict(each.split("=", 1) for each in inputs["envs"]), stack)
    uploads = reveal_uploads(service)
    for name in ("backup_signing_key", "encryption_key"):
        assert uploads[f"/run/spawn/{name}"] == SECRETS[f"spawn:{name}"]


def check_environment(variables: dict[str, str], stack: str) -> None:
    """Assert that the service can start with these variables, and takes backups."""
    from spawn.entrypoints.settings import read_settings

    settings = read_settings(variables)
    assert settings.auth == "keys"
    assert set(settings.allowed_hosts) & {"spawn", "spawn-service"}
    assert settings.environment == ("development" if stack == "dev" else "production")
    assert settings.storage_url == "duckdb:////data/spawn.duckdb"
    assert settings.backup_url == "file:///backups"
    assert settings.backup_interval_s > 0
    assert int(variables["SPAWN_BACKUP_RETENTION"]) == settings.backup_retention
    assert settings.backup_signing_key_file == "/run/spawn/backup_signing_key"
    assert settings.encryption_key_file == "/run/spawn/encryption_key"
    if stack == "dev":
        assert settings.ontology_url.endswith("spawn-ontology:8100")
    else:
        assert settings.ontology_url.startswith("https://ontology")
        assert settings.public_url.startswith("https://data")


def check_docker_monitoring(containers: dict[str, Registration]) -> None:
    prometheus = reveal_uploads(containers["spawn-prometheus"])
    assert prometheus["/etc/prometheus/metrics_key"] == SECRETS["spawn:metrics_key"]
    settings = json.loads(prometheus["/etc/prometheus/prometheus.json"])
    (scrape,) = settings["scrape_configs"]
    assert scrape["authorization"] == {"credentials_file": "/etc/prometheus/metrics_key"}
    assert scrape["static_configs"] == [{"targets": ["spawn-service:8000"]}]
    (alerting,) = settings["alerting"]["alertmanagers"]
    assert alerting["static_configs"] == [{"targets": ["spawn-alertmanager:9093"]}]
    assert [name for name in prometheus if name.endswith(".yml")]
    grafana = reveal_uploads(containers["spawn-grafana"])
    assert grafana["/etc/grafana/grafana_password"] == SECRETS["spawn:grafana_password"]
    assert [name for name in grafana if name.startswith("/etc/grafana/dashboards/")]
    variables = containers["spawn-grafana"].inputs["envs"]
    assert "GF_SECURITY_ADMIN_PASSWORD__FILE=/etc/grafana/grafana_password" in variables
    assert "PROMETHEUS_URL=http://spawn-prometheus:9090" in variables


def check_kubernetes(deployment: Deployment, stack: str) -> None:
    """Assert the graph of the objects, and the objects themselves."""
    objects = [each for each in deployment.resources.values() if "kubernetes:" in each.type]
    parent = deployment.resources["spawn"].urn
    namespace = f"spawn-namespace-{deployment.outputs['namespace']}"
    for each in objects:
        assert each.parent == parent
        if each.name != namespace:
            assert namespace in deployment.dependencies(each.name), each.name
    wanted = {"secret-spawn-secrets", "serviceaccount-spawn", "networkpolicy-spawn-default"}
    wanted |= {f"persistentvolumeclaim-spawn-{claim}" for claim in ("data", "backups")}
    for workload in ("statefulset-spawn", "cronjob-spawn-verify"):
        needed = deployment.dependencies(f"spawn-{workload}")
        assert needed >= {f"spawn-{name}" for name in wanted}, workload
    check_objects(
        [{"kind": each.type.rpartition(":")[2], **each.revealed} for each in objects],
        stack,
        deployment.outputs["namespace"],
    )


def find_object_violations(objects: list[dict[str, Any]], stack: str) -> list[str]:
    """Return how plain objects break the rules; what protects data is Pulumi's."""
    types = {"Service": "kubernetes:core/v1:Service"}
    return [
        f"{rule.name}: {violation}"
        for each in objects
        for rule in RULES
        for violation in rule.find(
            Resource(
                type=types.get(each["kind"], f"kubernetes:x:{each['kind']}"),
                name=each["metadata"]["name"],
                stack=stack,
                inputs=each,
            )
        )
    ]


def check_objects(objects: list[dict[str, Any]], stack: str, namespace: str) -> None:
    """Assert everything about the objects themselves."""
    assert find_object_violations(objects, stack) == []
    found: dict[str, list[Any]] = {}
    for each in objects:
        found.setdefault(each["kind"], []).append(each)
        if each["kind"] != "Namespace":
            assert each["metadata"]["namespace"] == namespace
    label = "pod-security.kubernetes.io/enforce"
    assert found["Namespace"][0]["metadata"]["labels"][label] == "restricted"
    for claim in found["PersistentVolumeClaim"]:
        assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]  # two nodes are two writers
    job = found["CronJob"][0]["spec"]["jobTemplate"]["spec"]["template"]
    for pod in (job, *(each["spec"]["template"] for each in find_workloads(found))):
        check_pod(pod["spec"])
    check_verification(job["spec"])
    check_writer(found["StatefulSet"][0]["spec"], stack)
    check_network(found["NetworkPolicy"], stack)
    (endpoint,) = found["ServiceMonitor"][0]["spec"]["endpoints"]
    credentials = {"name": "spawn-secrets", "key": "metrics_key"}
    assert endpoint["authorization"] == {"credentials": credentials}
    assert found["PrometheusRule"][0]["spec"]["groups"]
    assert found["ConfigMap"][0]["data"]
    assert found["PodDisruptionBudget"][0]["spec"]["maxUnavailable"] == 1
    assert len(found.get("Deployment", [])) == (1 if stack == "dev" else 0)
    assert set(found["Secret"][0]["stringData"]) == {
        "metrics_key",
        "backup_signing_key",
        "encryption_key",
    }


def find_workloads(found: dict[str, list[Any]]) -> list[Any]:
    """Return the objects that run pods all the time."""
    return [*found["StatefulSet"], *found.get("Deployment", [])]


def check_pod(pod: dict[str, Any]) -> None:
    """Assert that a pod takes no memory or disk of others, and that they read no secret."""
    for container in pod["containers"]:
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert requests["memory"] == limits["memory"]
        assert "ephemeral-storage" in limits
    for volume in pod["volumes"]:
        assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]
        assert "secret" not in volume or int(volume["secret"]["defaultMode"]) & 0o007 == 0


def check_verification(pod: dict[str, Any]) -> None:
    """Assert that the nightly job can read backups and signatures, and change neither."""
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert container["args"] == ["verify", "/backups"]
    assert mounts["/backups"]["readOnly"] is True
    assert mounts["/run/spawn"]["readOnly"] is True
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert variables["SPAWN_BACKUP_SIGNING_KEY_FILE"] == "/run/spawn/backup_signing_key"
    assert variables["SPAWN_ENCRYPTION_KEY_FILE"] == "/run/spawn/encryption_key"
    assert pod["restartPolicy"] == "Never"
    assert pod["affinity"]["podAffinity"]


def check_writer(spec: dict[str, Any], stack: str) -> None:
    """Assert that there is one writer, which stops in order and is given time to."""
    assert spec["replicas"] == 1
    pod = spec["template"]["spec"]
    # With service links the cluster sets SPAWN_PORT to a URL, and the service does not start.
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False
    assert pod["terminationGracePeriodSeconds"] >= 30
    assert pod["securityContext"]["fsGroup"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    probes = {name: container[name]["httpGet"]["path"] for name in container if "Probe" in name}
    assert probes == {
        "startupProbe": "/monitoring/live",
        "readinessProbe": "/monitoring/ready",
        "livenessProbe": "/monitoring/live",
    }
    startup = container["startupProbe"]
    # Tables that are rebuilt take minutes, and a pod that is killed meanwhile never gets ready.
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claims[mounts["/data"]] == "spawn-data"
    assert claims[mounts["/backups"]] == "spawn-backups"
    secrets = next(volume["secret"] for volume in pod["volumes"] if "secret" in volume)
    assert [item["key"] for item in secrets["items"]] == ["backup_signing_key", "encryption_key"]
    assert mounts["/run/spawn"] == "secrets"
    check_environment({each["name"]: each["value"] for each in container["env"]}, stack)


def check_network(policies_found: list[dict[str, Any]], stack: str) -> None:
    """Assert that all pods are closed but for named namespaces, and for one port."""
    policies = {each["metadata"]["name"]: each["spec"] for each in policies_found}
    closed = policies["spawn-default"]
    assert closed["podSelector"] == {}
    assert set(closed["policyTypes"]) == {"Ingress", "Egress"}
    assert not closed.get("ingress")
    assert not closed.get("egress")
    (ingress,) = policies["spawn"]["ingress"]
    assert [port["port"] for port in ingress["ports"]] == [8000]
    names = [
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for peer in ingress["from"]
    ]
    assert names == ["ingress-nginx", "monitoring"]
    ports = {port["port"] for rule in policies["spawn"]["egress"] for port in rule["ports"]}
    assert ports == {53, 443} | ({8100} if stack == "dev" else set())
    if stack == "dev":
        (ingress,) = policies["spawn-ontology"]["ingress"]
        service = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "spawn"}}}
        assert ingress == {"from": [service], "ports": [{"port": 8100, "protocol": "TCP"}]}
