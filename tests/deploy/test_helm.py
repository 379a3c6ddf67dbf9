"""The Helm chart renders what kustomize builds, and valid resources for each of its values."""

from __future__ import annotations

import shutil
import subprocess
from operator import itemgetter
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from convoy.service.settings import Settings
from tests.deploy.emulators import BUILD

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/convoy"
KUSTOMIZE = ROOT / "deploy/kubernetes"
HELM = BUILD / "layer/helm/helm"
KUBECTL = BUILD / "layer/kubectl/kubectl"
VERSION = "1.37"

GPU_LIMIT = "nvidia.com/gpu"


def run(*command: str | Path) -> str:
    """The output of a command."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def by_name(text: str) -> dict[tuple[str, str], Any]:
    """The resources of a stream of YAML, by kind and name."""
    resources = [one for one in yaml.safe_load_all(text) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in resources}


def rendered(*values: str) -> dict[tuple[str, str], Any]:
    """The resources that the chart renders."""
    options = [f"--set={value}" for value in values]
    return by_name(run(HELM, "template", "convoy", CHART, "--namespace=convoy", *options))


def refused(*values: str) -> str:
    """Helm's error on values that the chart refuses."""
    with pytest.raises(subprocess.CalledProcessError) as failed:
        rendered(*values)
    return str(failed.value.stderr)


def built(overlay: str, folder: Path = KUSTOMIZE) -> dict[tuple[str, str], Any]:
    """The resources that kustomize builds, but for the namespace, which Helm makes."""
    resources = by_name(run(KUBECTL, "kustomize", folder / overlay))
    del resources["Namespace", "convoy"]
    return resources


def deployment(*values: str) -> Any:
    """The Deployment that the chart renders."""
    return rendered(*values)["Deployment", "convoy"]


def pod(*values: str) -> Any:
    """Its pod."""
    return deployment(*values)["spec"]["template"]["spec"]


def container(*values: str) -> Any:
    """Its container."""
    return pod(*values)["containers"][0]


def variables(*values: str) -> dict[str, str]:
    """The variables of its container; none of them may be there twice."""
    listed = [(one["name"], one["value"]) for one in container(*values)["env"]]
    assert len(dict(listed)) == len(listed)
    return dict(listed)


def test_lint() -> None:
    """
    Helm finds no fault.
    """
    run(HELM, "lint", "--strict", CHART)


@pytest.mark.parametrize(("overlay", "values"), [("base", ()), ("gpu", ("gpu=1",))])
def test_same_as_kustomize(overlay: str, values: tuple[str, ...]) -> None:
    """
    The chart renders what kustomize builds, without a GPU and with one; Helm never deletes models.
    """
    resources = rendered(*values)
    claim = resources["PersistentVolumeClaim", "models"]["metadata"]
    assert claim.pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert resources == built(overlay)


@pytest.mark.parametrize(
    ("components", "values"),
    [
        (["tls"], ["tls.secret=convoy-tls"]),
        (["tokens"], ["tokens.secret=convoy-tokens"]),
        (
            ["prometheus-operator", "tls", "tokens"],
            [
                *("tls.secret=convoy-tls", "tokens.secret=convoy-tokens"),
                *("monitoring.enabled=true", "monitoring.tokenSecret=convoy-observe-token"),
            ],
        ),
        # The URL is in the Secret for kustomize, and a value for the chart.
        (["object-store"], ["models.url=s3://models", "models.credentialsSecret=convoy-store"]),
    ],
    ids=lambda names: names[-1],
)
def test_same_as_the_components(components: list[str], values: list[str], tmp_path: Path) -> None:
    """
    The chart's values change what it renders as kustomize's components change the base.
    """
    copy = tmp_path / "kubernetes"
    shutil.copytree(KUSTOMIZE, copy)
    (copy / "mine").mkdir()
    kustomization = {
        "resources": ["../base"],
        "components": [f"../components/{name}" for name in components],
        "namespace": "convoy",
        "labels": [{"pairs": {"app.kubernetes.io/name": "convoy"}}],
    }
    (copy / "mine/kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    resources = rendered(*values)
    if claim := resources.get(("PersistentVolumeClaim", "models")):
        del claim["metadata"]["annotations"]
    expected = built("mine", copy)
    for one in (resources, expected):
        spec = one["Deployment", "convoy"]["spec"]["template"]["spec"]
        (server,) = spec["containers"]
        server["env"] = [
            variable for variable in server["env"] if variable["name"] != "CONVOY_MODEL_REPOSITORY"
        ]
        # Their order means nothing, and differs.
        for listed in (server["env"], server["volumeMounts"], spec["volumes"]):
            listed.sort(key=itemgetter("name"))
    assert resources == expected


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("gpu=1", "image.tag=server-gpu"),
        ("tls.secret=tls", "tokens.secret=tokens"),
        ("models.url=s3://bucket/models", "models.credentialsSecret=s3"),
        ("models.claim.create=false", "settings.CONVOY_MAX_QUEUE_SIZE=500", "replicas=5"),
        ("models.claim.storageClass=nfs", "models.cacheSize=8Gi", "image.pullSecrets={login}"),
        (
            "models.required=resnet50",
            "serviceAccount=models",
            "network.egress[0].ports[0].port=9000",
        ),
    ],
    ids=lambda values: values[0] if values else "defaults",
)
def test_valid(values: tuple[str, ...]) -> None:
    """
    Kubernetes' schemas accept what the chart renders, and each variable is a setting.
    """
    for resource in rendered(*values).values():
        kubernetes_validate.validate(resource, VERSION, strict=True)
    for variable in container(*values)["env"]:
        assert variable["name"].removeprefix("CONVOY_").lower() in Settings.model_fields


def test_gpu() -> None:
    """
    A server has one GPU, which an old server frees before a new one starts.
    """
    assert container("gpu=1")["resources"]["limits"][GPU_LIMIT] == "1"
    strategy = deployment("gpu=1")["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 0, "maxUnavailable": 1}
    assert "one server uses one GPU" in refused("gpu=2")
    assert container("gpu=1", "image.tag=mine")["image"] == "convoy:mine"


def test_tls() -> None:
    """
    With TLS, Kubernetes probes over it, and no gateway takes the port for one in the clear.
    """
    server = container("tls.secret=tls")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["httpGet"]["scheme"] == "HTTPS"
    resources = rendered("tls.secret=tls")
    for name in ("convoy", "convoy-headless"):
        for port in resources["Service", name]["spec"]["ports"]:
            assert "appProtocol" not in port
    assert "probes of Kubernetes have no certificate" in refused(
        "tls.secret=tls", "settings.CONVOY_TLS_CLIENT_CA=/etc/convoy/tls/ca.crt"
    )


def test_settings(tmp_path: Path) -> None:
    """
    A setting replaces the chart's own, a large number stays one, and the drain gets its time.
    """
    path = tmp_path / "values.yaml"
    path.write_text(
        "settings:\n"
        "  CONVOY_MAX_MESSAGE_BYTES: 67108864\n"
        "  CONVOY_ALLOWED_HOSTS: models.example.com\n"
        "  CONVOY_SHUTDOWN_TIMEOUT_S: 60.5\n"
    )
    listed = run(HELM, "template", "convoy", CHART, "--values", path)
    spec = by_name(listed)["Deployment", "convoy"]["spec"]["template"]["spec"]
    found = [(one["name"], one["value"]) for one in spec["containers"][0]["env"]]
    assert len(dict(found)) == len(found)
    assert dict(found)["CONVOY_MAX_MESSAGE_BYTES"] == "67108864"
    assert dict(found)["CONVOY_ALLOWED_HOSTS"] == "models.example.com"
    assert spec["terminationGracePeriodSeconds"] == 81
    assert "settings.CONVOY_HTTP_PORT" in refused("settings.CONVOY_HTTP_PORT=80")


def test_names_of_hosts() -> None:
    """
    Only a server that anybody may use answers to the names of its Service alone.
    """
    assert variables()["CONVOY_ALLOWED_HOSTS"] == "convoy.convoy"
    assert "CONVOY_ALLOWED_HOSTS" not in variables("tls.secret=tls")
    assert "CONVOY_ALLOWED_HOSTS" not in variables("tokens.secret=tokens")


@pytest.mark.parametrize(
    "value",
    ["replica=3", "image.repo=mine", "models.claim.class=nfs", "resources.memory=4Gi", "tls=on"],
)
def test_unknown_values(value: str) -> None:
    """
    A value that the chart does not know, or of another type, is an error.
    """
    assert "values don't meet the specifications of the schema" in refused(value)


def test_what_a_registry_and_a_store_need() -> None:
    """
    The pod can log in to a registry, has the identity that may read a store, and can reach it.
    """
    found = pod("image.pullSecrets={login}", "serviceAccount=reader")
    assert found["imagePullSecrets"] == [{"name": "login"}]
    assert found["serviceAccountName"] == "reader"
    policy = rendered("network.egress[0].ports[0].port=9000")["NetworkPolicy", "convoy"]["spec"]
    assert policy["egress"][-1] == {"ports": [{"port": 9000}]}
    claim = rendered("models.claim.storageClass=nfs")["PersistentVolumeClaim", "models"]["spec"]
    assert claim["storageClassName"] == "nfs"
    assert len(policy["egress"]) == 1 + len(
        built("base")["NetworkPolicy", "convoy"]["spec"]["egress"]
    )


def test_required_model() -> None:
    """
    The readiness probe asks for a model that is required, and the startup probe for none.
    """
    server = container("models.required=resnet50")
    assert server["readinessProbe"]["grpc"] == {"port": 8001, "service": "resnet50"}
    assert server["startupProbe"]["grpc"] == {"port": 8001}
    asked = container("models.required=resnet50", "tls.secret=tls")["readinessProbe"]["httpGet"]
    assert asked["path"] == "/v2/models/resnet50/ready"


def test_object_store() -> None:
    """
    With a store there is no volume for models, and the store can be reached.
    """
    resources = rendered("models.url=s3://bucket/models")
    assert ("PersistentVolumeClaim", "models") not in resources
    egress = resources["NetworkPolicy", "convoy"]["spec"]["egress"]
    assert {"port": 443, "protocol": "TCP"} in egress[1]["ports"]


def test_monitoring() -> None:
    """
    The ServiceMonitor is that of the kustomize component; with tokens it shows one.
    """
    path = ROOT / "deploy/kubernetes/components/prometheus-operator/servicemonitor.yaml"
    monitor = rendered("monitoring.enabled=true")["ServiceMonitor", "convoy"]
    assert monitor["spec"] == yaml.safe_load(path.read_text())["spec"]
    values = ("monitoring.enabled=true", "monitoring.tokenSecret=observer", "tls.secret=tls")
    (endpoint,) = rendered(*values)["ServiceMonitor", "convoy"]["spec"]["endpoints"]
    assert endpoint["authorization"] == {"credentials": {"name": "observer", "key": "token"}}
    assert endpoint["scheme"] == "https"
    assert "monitoring.tokenSecret" in refused("monitoring.enabled=true", "tokens.secret=tokens")
    labels = rendered("monitoring.enabled=true", "monitoring.labels.release=stack")[
        "ServiceMonitor", "convoy"
    ]["metadata"]["labels"]
    assert labels == {"app.kubernetes.io/name": "convoy", "release": "stack"}
