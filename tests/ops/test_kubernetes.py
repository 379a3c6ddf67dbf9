"""The manifests are valid by the published schemas and agree with the server; no cluster is needed.

KServe publishes no schema for use without a cluster: its examples are held against what its
documentation asks of a runtime.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from convoy.service.serving.policy import VersionPolicy
from convoy.service.settings import Settings
from tests.harness.name_server import TTL_S

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
SCHEMAS = Path(__file__).parent / "kubernetes"

VERSION = "1.37"
"""Version of Kubernetes whose schemas are used."""

COMPONENTS = {
    "prometheus-operator": "ServiceMonitor",
    "keda": "ScaledObject",
    "gateway-api": "GRPCRoute",
}
"""Components, and the kind that each of them adds: the cluster needs an operator for it."""

CHANGES = ("tls", "tokens", "object-store")
"""Components that change the base: the cluster needs Secrets for them."""

CUSTOM = set(COMPONENTS.values())
NAME = {"app.kubernetes.io/name": "convoy"}


def read(path: str) -> list[dict[str, Any]]:
    """The resources of a file."""
    return list(yaml.safe_load_all((FOLDER / path).read_text()))


def listed(folder: str) -> Iterator[dict[str, Any]]:
    """The resources that a kustomization lists."""
    (kustomization,) = read(f"{folder}/kustomization.yaml")
    for path in kustomization["resources"]:
        yield from read(f"{folder}/{path}")


def base() -> Iterator[dict[str, Any]]:
    """The resources of the base."""
    yield from listed("base")


def custom() -> Iterator[dict[str, Any]]:
    """The resources of the components."""
    for component in COMPONENTS:
        yield from listed(f"components/{component}")


def of_kind(kind: str) -> list[dict[str, Any]]:
    """Resources of the base and the components."""
    return [resource for resource in (*base(), *custom()) if resource["kind"] == kind]


def pod() -> dict[str, Any]:
    """The pod of the deployment."""
    (deployment,) = of_kind("Deployment")
    template: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return template


def container() -> dict[str, Any]:
    """The server in the pod."""
    (server,) = pod()["containers"]
    found: dict[str, Any] = server
    return found


@pytest.mark.parametrize(
    "resource", list(base()), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}"
)
def test_valid(resource: dict[str, Any]) -> None:
    """
    Kubernetes' own schemas accept it, unknown fields included.
    """
    kubernetes_validate.validate(resource, VERSION, strict=True)


def test_base_needs_no_operator() -> None:
    """
    Every kind of the base is Kubernetes' own, and each component adds the kind of its operator.
    """
    assert not {resource["kind"] for resource in base()} & CUSTOM
    for component, kind in COMPONENTS.items():
        assert [resource["kind"] for resource in listed(f"components/{component}")] == [kind]


@pytest.mark.parametrize(
    "folder", ["base", *(f"components/{name}" for name in (*COMPONENTS, *CHANGES))]
)
def test_every_file_is_listed(folder: str) -> None:
    """
    No manifest is forgotten.
    """
    (kustomization,) = read(f"{folder}/kustomization.yaml")
    files = {path.name for path in (FOLDER / folder).iterdir()} - {"kustomization.yaml"}
    patches = {one["path"] for one in kustomization.get("patches", []) if "path" in one}
    assert files == {*kustomization.get("resources", []), *patches}


def test_every_component_is_known() -> None:
    """
    No component is left out of these tests.
    """
    assert {path.name for path in (FOLDER / "components").iterdir()} == {*COMPONENTS, *CHANGES}


@pytest.fixture(scope="module")
def schemas() -> Path:
    """A folder with the schemas of custom resources, from npm."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    folder = ROOT / "build/kubernetes-schemas"
    folder.mkdir(parents=True, exist_ok=True)
    for path in SCHEMAS.iterdir():
        shutil.copy(path, folder)
    if not (folder / "node_modules").is_dir():
        subprocess.run(["npm", "ci", "--silent"], cwd=folder, check=True, timeout=300)
    return folder


def validated(resources: list[dict[str, Any]], schemas: Path) -> str:
    """Return the errors that the published schemas find."""
    done = subprocess.run(
        ["node", "validate.mjs"],
        input=json.dumps(resources),
        cwd=schemas,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode == 0) == (not done.stdout), done.stderr
    return done.stdout


def test_custom_resources(schemas: Path) -> None:
    """
    The schemas of the Prometheus operator, KEDA and the Gateway API accept ours.
    """
    assert validated([*custom(), *read("canary/route.yaml")], schemas) == ""
    (route,) = read("canary/route.yaml")
    route["spec"]["rules"][0]["backendRefs"][0]["weight"] = "90"
    assert "weight must be integer" in validated([route], schemas)
    (monitor,) = of_kind("ServiceMonitor")
    monitor["spec"]["endpoints"] = 5
    assert "endpoints must be array" in validated([monitor], schemas)


KINDS = {resource["kind"] for resource in base()}
BUILT = {
    # Kinds, image and replicas.
    "base": (KINDS, "convoy:server", 2),
    "gpu": (KINDS, "convoy:server-gpu", 2),
    "operators": (KINDS | CUSTOM, "convoy:server", None),
}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("overlay", BUILT)
def test_built(overlay: str) -> None:
    """
    kustomize builds each overlay, and what it builds is valid; an autoscaler owns the replicas.
    """
    resources = built(overlay)
    for resource in resources:
        if resource["kind"] not in CUSTOM:
            kubernetes_validate.validate(resource, VERSION, strict=True)
        if resource["kind"] != "Namespace":
            assert resource["metadata"]["namespace"] == "convoy"
        assert resource["metadata"]["labels"].items() >= NAME.items()
    (spec,) = (resource["spec"] for resource in resources if resource["kind"] == "Deployment")
    (server,) = spec["template"]["spec"]["containers"]
    kinds = {resource["kind"] for resource in resources}
    assert (kinds, server["image"], spec.get("replicas")) == BUILT[overlay]
    assert ("nvidia.com/gpu" in server["resources"]["limits"]) == (overlay == "gpu")


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("component", COMPONENTS)
def test_component_alone(component: str, tmp_path: Path) -> None:
    """
    Each component adds its kind to the base without the others.
    """
    copy = tmp_path / "kubernetes"
    shutil.copytree(FOLDER, copy)
    path = copy / "operators/kustomization.yaml"
    kustomization = yaml.safe_load(path.read_text())
    kustomization["components"] = [f"../components/{component}"]
    path.write_text(yaml.safe_dump(kustomization))
    kinds = {resource["kind"] for resource in built("operators", copy)}
    assert kinds == KINDS | {COMPONENTS[component]}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_canary() -> None:
    """
    The canary is the base once more, valid, with pods that only its own Service selects.
    """
    resources = built("canary")
    for resource in resources:
        assert resource["metadata"]["labels"].items() >= NAME.items()  # a ServiceMonitor selects it
        if resource["kind"] not in CUSTOM:
            kubernetes_validate.validate(resource, VERSION, strict=True)
    found = {(one["kind"], one["metadata"]["name"]): one.get("spec", {}) for one in resources}
    stable, canary = (found["Deployment", name] for name in ("convoy", "convoy-canary"))
    assert (stable["replicas"], canary["replicas"]) == (2, 1)
    settings = [
        {one["name"]: one["value"] for one in spec["template"]["spec"]["containers"][0]["env"]}
        for spec in (stable, canary)
    ]
    assert [one["CONVOY_VERSION_POLICY"] for one in settings] == [
        *("lenet5=specific:1", "lenet5=specific:2")
    ]
    for one in settings:
        VersionPolicy.parse(one["CONVOY_VERSION_POLICY"].partition("=")[2])
    for name, spec in (("convoy", stable), ("convoy-canary", canary)):
        labels = {"app.kubernetes.io/name": name}
        assert spec["template"]["metadata"]["labels"] == labels
        assert spec["selector"]["matchLabels"] == labels
        assert found["Service", name]["selector"] == labels
        assert found["NetworkPolicy", name]["podSelector"]["matchLabels"] == labels
        (volume,) = (v for v in spec["template"]["spec"]["volumes"] if v["name"] == "models")
        assert volume["persistentVolumeClaim"]["claimName"] == "models"
    assert [name for kind, name in found if kind == "PersistentVolumeClaim"] == ["models"]


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_shares_of_the_canary() -> None:
    """
    The route names Services that there are, with weights that are percentages.
    """
    (route,) = read("canary/route.yaml")
    (rule,) = route["spec"]["rules"]
    services = {one["metadata"]["name"] for one in built("canary") if one["kind"] == "Service"}
    assert {one["name"] for one in rule["backendRefs"]} == {"convoy", "convoy-canary"} <= services
    assert sum(one["weight"] for one in rule["backendRefs"]) == 100


GUIDE = (ROOT / "docs/how-to/kubernetes.md").read_text()

DOCUMENTED = dict(
    re.findall(r'^```yaml title="([^"]+)"\n(.*?)^```', GUIDE, re.DOTALL | re.MULTILINE)
)
"""The files that the documentation shows."""


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("overlay", BUILT)
def test_documented_overlay(overlay: str, tmp_path: Path) -> None:
    """
    A user's kustomization names the image and the class of storage, over each overlay of ours.
    """
    copy = tmp_path / "kubernetes"
    shutil.copytree(FOLDER, copy)
    shown = DOCUMENTED["deploy/kubernetes/mine/kustomization.yaml"]
    (copy / "mine").mkdir()
    (copy / "mine/kustomization.yaml").write_text(shown.replace("../base", f"../{overlay}", 1))
    found = {
        (one["kind"], one["metadata"]["name"]): one.get("spec", {}) for one in built("mine", copy)
    }
    (server,) = found["Deployment", "convoy"]["template"]["spec"]["containers"]
    assert server["image"] == "registry.example.com/convoy:server-1"
    assert found["PersistentVolumeClaim", "models"]["storageClassName"] == "nfs"


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_documented_probe_of_a_model(tmp_path: Path) -> None:
    """
    The documented patch lets the readiness probe ask for a model, and the startup probe for none.
    """
    copy = tmp_path / "kubernetes"
    shutil.copytree(FOLDER, copy)
    shown = yaml.safe_load(DOCUMENTED["deploy/kubernetes/mine/kustomization.yaml"])
    shown["patches"] += yaml.safe_load(DOCUMENTED["patches"])
    (copy / "mine").mkdir()
    (copy / "mine/kustomization.yaml").write_text(yaml.safe_dump(shown))
    (deployment,) = (one for one in built("mine", copy) if one["kind"] == "Deployment")
    kubernetes_validate.validate(deployment, VERSION, strict=True)
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    assert server["readinessProbe"]["grpc"] == {"port": 8001, "service": "resnet50"}
    assert server["startupProbe"]["grpc"] == {"port": 8001}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("overlay", [*BUILT, "canary"])
@pytest.mark.parametrize("components", [[one] for one in CHANGES] + [list(CHANGES)], ids="+".join)
def test_changed(overlay: str, components: list[str], tmp_path: Path) -> None:
    """
    A component that changes the base fits each overlay: the result is valid and mounts all volumes.
    """
    resources = changed(overlay, components, tmp_path)
    for resource in resources:
        if resource["kind"] not in CUSTOM:
            kubernetes_validate.validate(resource, VERSION, strict=True)
    deployments = [one for one in resources if one["kind"] == "Deployment"]
    assert len(deployments) == (2 if overlay == "canary" else 1)
    for deployment in deployments:
        spec = deployment["spec"]["template"]["spec"]
        (server,) = spec["containers"]
        names = [one["name"] for one in server["env"]]
        assert len(set(names)) == len(names)
        for name in names:
            assert name.removeprefix("CONVOY_").lower() in Settings.model_fields
        # With either, the server itself answers to every name.
        assert ("CONVOY_ALLOWED_HOSTS" in names) == ({"tls", "tokens"}.isdisjoint(components))
        assert {one["name"] for one in server["volumeMounts"]} == {
            one["name"] for one in spec["volumes"]
        }
        assert ("models" in {one["name"] for one in spec["volumes"]}) == (
            "object-store" not in components
        )


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("overlay", ["operators", "canary"])
def test_tls(overlay: str, tmp_path: Path) -> None:
    """
    With TLS, Kubernetes probes over it, and no gateway takes a port for one in the clear.
    """
    for resource in changed(overlay, ["tls"], tmp_path):
        if resource["kind"] == "Deployment":
            (server,) = resource["spec"]["template"]["spec"]["containers"]
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert "grpc" not in server[probe]
                assert server[probe]["httpGet"]["scheme"] == "HTTPS"
            settings = {one["name"]: one["value"] for one in server["env"]}
            (mount,) = (one["mountPath"] for one in server["volumeMounts"] if one["name"] == "tls")
            # The keys of a Secret of the type kubernetes.io/tls.
            assert settings["CONVOY_TLS_CERTIFICATE"] == f"{mount}/tls.crt"
            assert settings["CONVOY_TLS_KEY"] == f"{mount}/tls.key"
        if resource["kind"] == "Service":
            assert not any("appProtocol" in port for port in resource["spec"]["ports"])


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_tokens(tmp_path: Path) -> None:
    """
    With tokens, the server reads the file in the Secret.
    """
    (deployment,) = (
        one for one in changed("base", ["tokens"], tmp_path) if one["kind"] == "Deployment"
    )
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    settings = {one["name"]: one["value"] for one in server["env"]}
    (mount,) = (one["mountPath"] for one in server["volumeMounts"] if one["name"] == "tokens")
    assert settings["CONVOY_TOKEN_FILE"] == f"{mount}/tokens"


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_object_store(tmp_path: Path) -> None:
    """
    With an object store there is no claim to wait for, and all servers can reach the store.
    """
    resources = changed("canary", ["object-store"], tmp_path)
    assert "PersistentVolumeClaim" not in {one["kind"] for one in resources}
    policies = [one for one in resources if one["kind"] == "NetworkPolicy"]
    assert len(policies) == 2
    for policy in policies:
        assert {"ports": [{"port": 443, "protocol": "TCP"}]} in policy["spec"]["egress"]


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_monitoring_with_tls_and_tokens(schemas: Path, tmp_path: Path) -> None:
    """
    Prometheus speaks TLS and sends its token where the servers require them.
    """
    (monitor,) = (
        one
        for one in changed("operators", ["tls", "tokens"], tmp_path)
        if one["kind"] == "ServiceMonitor"
    )
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"]["serverName"] == "convoy.convoy"
    assert endpoint["authorization"]["credentials"]["name"] == "convoy-observe-token"
    assert validated([monitor], schemas) == ""


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_documented_secrets(tmp_path: Path) -> None:
    """
    The documented commands make the Secrets and the keys that the components read.
    """
    made = {
        name: set(re.findall(r"--from-(?:file|literal)=(\w[\w.]*)", options))
        for name, options in re.findall(
            r"^kubectl create secret generic (\S+) --namespace convoy((?: \\\n|.)*)",
            GUIDE,
            re.MULTILINE,
        )
    }
    text = json.dumps(changed("operators", list(CHANGES), tmp_path))
    read_here = set(re.findall(r'"(?:name|secretName)": "(convoy-[\w-]*)"', text))
    assert set(made) == read_here - {"convoy-headless"}
    for found in re.findall(r'\{[^{}]*"key": [^{}]*\}', text):
        reference = json.loads(found)
        assert reference["key"] in made[reference["name"]]
    assert {"tls.crt", "tls.key"} < made["convoy-tls"]
    assert made["convoy-tokens"] == {"tokens"}
    assert "CONVOY_MODEL_REPOSITORY" in made["convoy-store"]


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_documented_probe_of_a_model_with_tls(tmp_path: Path) -> None:
    """
    The documented patch for TLS lets the readiness probe ask for a model.
    """
    patches = yaml.safe_load(DOCUMENTED["patches with TLS"])
    (deployment,) = (
        one for one in changed("base", ["tls"], tmp_path, patches) if one["kind"] == "Deployment"
    )
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    assert server["readinessProbe"]["httpGet"]["path"] == "/v2/models/resnet50/ready"
    assert server["startupProbe"]["httpGet"]["path"] == "/v2/health/ready"


def changed(
    overlay: str, components: list[str], folder: Path, patches: Iterable[Any] = ()
) -> list[dict[str, Any]]:
    """
    The resources of a user's kustomization that adds *components* to *overlay*.

    Args:
        components: Some of those that the documented kustomization names.
        folder: Place of a copy of the manifests.
        patches: More patches beside the documented ones.
    """
    copy = folder / "kubernetes"
    shutil.copytree(FOLDER, copy)
    documented = yaml.safe_load(DOCUMENTED["components"])["components"]
    assert documented == [f"../components/{name}" for name in CHANGES]
    shown = yaml.safe_load(DOCUMENTED["deploy/kubernetes/mine/kustomization.yaml"])
    shown["resources"] = [f"../{overlay}"]
    shown["components"] = [one for one in documented if Path(one).name in components]
    shown["patches"] += patches
    (copy / "mine").mkdir()
    (copy / "mine/kustomization.yaml").write_text(yaml.safe_dump(shown))
    return built("mine", copy)


def test_documented_job() -> None:
    """
    The job that writes models is valid, allowed in a restricted namespace, and no server.
    """
    (job,) = yaml.safe_load_all(DOCUMENTED["export.yaml"])
    kubernetes_validate.validate(job, VERSION, strict=True)
    assert job["metadata"]["namespace"] == "convoy"
    assert "labels" not in job["spec"]["template"].get("metadata", {})
    spec = job["spec"]["template"]["spec"]
    assert spec["securityContext"] == pod()["securityContext"]
    (writer,) = spec["containers"]
    assert writer["securityContext"].items() <= container()["securityContext"].items()
    (mount,) = writer["volumeMounts"]
    assert not mount.get("readOnly")
    (volume,) = spec["volumes"]
    (claim,) = of_kind("PersistentVolumeClaim")
    assert volume["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}


def built(overlay: str, folder: Path = FOLDER) -> list[dict[str, Any]]:
    """The resources that kustomize builds."""
    command = ["kubectl", "kustomize", str(folder / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return list(yaml.safe_load_all(done.stdout))


def test_selectors() -> None:
    """
    Everything that selects pods selects those of the deployment.
    """
    (deployment,) = of_kind("Deployment")
    assert deployment["spec"]["template"]["metadata"]["labels"] == NAME
    assert deployment["spec"]["selector"]["matchLabels"] == NAME
    assert {tuple(one["spec"]["selector"].items()) for one in of_kind("Service")} == {
        tuple(NAME.items())
    }
    (budget,) = of_kind("PodDisruptionBudget")
    (policy,) = of_kind("NetworkPolicy")
    assert budget["spec"]["selector"]["matchLabels"] == NAME
    assert policy["spec"]["podSelector"]["matchLabels"] == NAME


def test_the_drain_is_given_its_time() -> None:
    """
    Waiting before the signal, the grace and the longest call end before the pod is killed.
    """
    settings = {one["name"]: one["value"] for one in container()["env"]}
    before = int(container()["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = float(settings["CONVOY_SHUTDOWN_GRACE_S"]) + float(
        settings["CONVOY_SHUTDOWN_TIMEOUT_S"]
    )
    assert before + drain < pod()["terminationGracePeriodSeconds"]


def test_an_old_server_leaves_when_clients_can_know_the_new_one() -> None:
    """
    A new server is ready for as long as caches may keep names before an old one is stopped.
    """
    (deployment,) = of_kind("Deployment")
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert deployment["spec"]["minReadySeconds"] >= TTL_S


def test_fits_a_small_node() -> None:
    """
    All servers, and the one more of a rolling update, fit beside a small node's own pods.
    """
    (deployment,) = of_kind("Deployment")
    surge = deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    request = int(container()["resources"]["requests"]["cpu"].removesuffix("m"))
    assert (deployment["spec"]["replicas"] + surge) * request < 1000
    assert "cpu" not in container()["resources"]["limits"]


def test_variables_of_services_are_not_settings() -> None:
    """
    Kubernetes gives the pod no variables of the Services in its namespace.
    """
    assert pod()["enableServiceLinks"] is False


def test_settings_and_ports_are_the_servers() -> None:
    """
    Every variable is a setting, every port one that the server listens on.
    """
    for variable in container()["env"]:
        assert variable["name"].removeprefix("CONVOY_").lower() in Settings.model_fields
    usual = Settings()
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {"grpc": usual.grpc_port, "http": usual.http_port}
    for probe in ("startupProbe", "readinessProbe"):
        assert container()[probe]["grpc"]["port"] == usual.grpc_port


def test_locked_down() -> None:
    """
    Not root, no way to become it, and nothing writable but cache and temporary files.
    """
    assert pod()["securityContext"]["runAsNonRoot"]
    security = container()["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    writable = {one["mountPath"] for one in container()["volumeMounts"] if not one.get("readOnly")}
    assert writable == {"/var/cache/convoy", "/tmp"}


def test_scaling_asks_for_what_is_recorded() -> None:
    """
    The autoscaler asks what a recording rule of ours asks, of its namespace, without the rule.
    """
    (scaled,) = of_kind("ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
    (recorded,) = (
        rule["expr"]
        for group in rules["groups"]
        for rule in group["rules"]
        if rule["record"] == "job:convoy_waiting_seconds:rate2m"
    )
    (kustomization,) = read("base/kustomization.yaml")
    here = f'namespace="{kustomization["namespace"]}"'
    query = trigger["metadata"]["query"].replace(f", {here}", "").replace(f"{{{here}}}", "")
    assert here not in query
    assert recorded == query
    assert trigger["metadata"]["ignoreNullValues"] == "false"


def test_a_gpu_is_free_before_it_is_asked_for() -> None:
    """
    A rolling update on GPUs ends an old server first, and changes nothing else of the container.
    """
    (patch,) = read("gpu/deployment.yaml")
    assert patch["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    (server,) = patch["spec"]["template"]["spec"]["containers"]
    assert server["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_rules_for_the_operator(schemas: Path) -> None:
    """
    The command in the documentation makes resources that the operator's schema accepts.
    """
    (command,) = re.findall(r"^for name in rules.*?^done", GUIDE, re.DOTALL | re.MULTILINE)
    made = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, check=True).stdout
    rules = [resource for resource in yaml.safe_load_all(made) if resource]
    assert [rule["kind"] for rule in rules] == ["PrometheusRule"] * 2
    assert all(rule["spec"]["groups"] for rule in rules)
    assert validated(rules, schemas) == ""


def test_ports_under_kserve() -> None:
    """
    A pod of KServe's has one port at most, as Knative demands: gRPC's, or else HTTP on 8080.
    """
    (runtime,) = read("kserve/runtime.yaml")
    (server,) = runtime["spec"]["containers"]
    settings = {one["name"]: one["value"] for one in server["env"]}
    assert settings == {"CONVOY_HTTP_PORT": "8080"}
    assert runtime["spec"]["annotations"]["prometheus.kserve.io/port"] == "8080"
    for probe in ("readinessProbe", "livenessProbe"):
        assert server[probe]["httpGet"]["port"] == 8080
    for service in read("kserve/inferenceservice.yaml"):
        model = service["spec"]["predictor"]["model"]
        ports = [*server.get("ports", []), *model.get("ports", [])]
        assert [(port["name"], port["containerPort"]) for port in ports] == (
            [("h2c", Settings().grpc_port)] if model["protocolVersion"] == "grpc-v2" else []
        )


def test_kserve() -> None:
    """
    The runtime speaks both protocols of KServe's version 2, and the examples use it.
    """
    (runtime,) = read("kserve/runtime.yaml")
    spec = runtime["spec"]
    assert set(spec["protocolVersions"]) == {"v2", "grpc-v2"}
    (server,) = spec["containers"]
    assert server["name"] == "kserve-container"
    flags = [argument for argument in server["args"] if argument.startswith("--")]
    assert {flag[2:].replace("-", "_") for flag in flags} <= set(Settings.model_fields)
    services = read("kserve/inferenceservice.yaml")
    formats = {one["name"] for one in spec["supportedModelFormats"]}
    for service in services:
        model = service["spec"]["predictor"]["model"]
        assert model["runtime"] == runtime["metadata"]["name"]
        assert model["modelFormat"]["name"] in formats
    assert {one["spec"]["predictor"]["model"]["protocolVersion"] for one in services} == {
        *spec["protocolVersions"]
    }
