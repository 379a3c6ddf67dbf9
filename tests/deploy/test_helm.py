"""The Helm chart renders what kustomize builds, and valid resources for each of its values."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from convoy.service.settings import Settings
from tests.deploy.emulators import BUILD

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/convoy"
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


def deployment(*values: str) -> Any:
    """The Deployment that the chart renders."""
    return rendered(*values)["Deployment", "convoy"]


def container(*values: str) -> Any:
    """Its container."""
    return deployment(*values)["spec"]["template"]["spec"]["containers"][0]


def test_lint() -> None:
    """
    Helm finds no fault.
    """
    run(HELM, "lint", "--strict", CHART)


def test_defaults_are_those_of_kustomize() -> None:
    """
    Without values the chart renders the base, but for the namespace, which Helm makes.
    """
    base = by_name(run(KUBECTL, "kustomize", ROOT / "deploy/kubernetes/base"))
    del base["Namespace", "convoy"]
    assert rendered() == base


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("gpu=1", "image.tag=server-gpu"),
        ("tls.secret=tls", "tokens.secret=tokens"),
        ("models.url=s3://bucket/models", "models.credentialsSecret=s3"),
        ("models.claim.create=false", "settings.CONVOY_MAX_QUEUE_SIZE=500", "replicas=5"),
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
    with pytest.raises(subprocess.CalledProcessError) as failed:
        deployment("gpu=2")
    assert "one server uses one GPU" in failed.value.stderr


def test_tls() -> None:
    """
    With TLS, Kubernetes probes over it.
    """
    server = container("tls.secret=tls")
    assert server["readinessProbe"]["exec"]["command"][-1] == "--tls"
    assert server["livenessProbe"]["httpGet"]["scheme"] == "HTTPS"


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
