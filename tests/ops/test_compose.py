"""docker-compose.yml is valid and does what the documentation says; no Docker engine is needed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from convoy.service.settings import Settings

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "tests/data/schemas/compose-spec.json").read_text())
FILES = ("docker-compose.yml", "docker-compose.gpu.yml")


def read(name: str) -> Any:
    """A Compose file."""
    return yaml.safe_load((ROOT / name).read_text())


SERVICES = read(FILES[0])["services"]


def merged() -> Any:
    """Both files together, as Compose puts the second one over the first."""

    def over(below: Any, above: Any) -> Any:
        if not (isinstance(below, dict) and isinstance(above, dict)):
            return above
        return below | {key: over(below.get(key), value) for key, value in above.items()}

    return over(read(FILES[0]), read(FILES[1]))


(DOCUMENTED,) = re.findall(
    r'^```yaml title="docker-compose.override.yml"\n(.*?)^```',
    (ROOT / "docs/how-to/containers.md").read_text(),
    re.DOTALL | re.MULTILINE,
)
"""The documented file for TLS and tokens."""


@pytest.mark.parametrize(
    "content",
    [*map(read, FILES), merged(), yaml.safe_load(DOCUMENTED)],
    ids=[*FILES, "merged", "documented"],
)
def test_valid(content: Any) -> None:
    """
    The Compose Specification's schema accepts each file, and both together.
    """
    errors = jsonschema.Draft201909Validator(SCHEMA).iter_errors(content)
    assert [error.message for error in errors] == []


def test_on_a_gpu() -> None:
    """
    With the second file the server has one GPU and keeps its limits; NVIDIA's exporter is optional.
    """
    services = merged()["services"]
    resources = services["server"]["deploy"]["resources"]
    assert resources["limits"] == SERVICES["server"]["deploy"]["resources"]["limits"]
    (device,) = resources["reservations"]["devices"]
    assert len(device["device_ids"]) == 1
    assert services["server"]["read_only"]
    assert services["dcgm-exporter"]["profiles"] == ["dcgm"]


def test_tls_and_tokens() -> None:
    """
    The documented file sets settings of the server, to files in the folder that it mounts.
    """
    server = yaml.safe_load(DOCUMENTED)["services"]["server"]
    (mount,) = server["volumes"]
    _, target, mode = mount.split(":")
    assert mode == "ro"
    for name, path in server["environment"].items():
        assert name.removeprefix("CONVOY_").lower() in Settings.model_fields
        assert path.startswith(f"{target}/")


def test_no_login() -> None:
    """
    Every visitor of Grafana is a viewer; there is no form, no basic login and no admin.
    """
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


@pytest.mark.parametrize("name", FILES)
def test_images_are_pinned(name: str) -> None:
    """
    Each image that is not built here has an exact version.
    """
    for service in read(name)["services"].values():
        _, _, tag = service["image"].rpartition(":")
        assert "build" in service or any(digit in tag for digit in "0123456789"), service["image"]
        assert tag != "latest"


@pytest.mark.parametrize("name", SERVICES)
def test_stays_up_within_limits(name: str) -> None:
    """
    Every service that runs for ever comes back after a crash; none can take all memory.
    """
    service = SERVICES[name]
    assert (service.get("restart") == "unless-stopped") == (name != "export")
    assert service["deploy"]["resources"]["limits"]["memory"]


def test_order() -> None:
    """
    Prometheus waits for a healthy server, Grafana for a healthy Prometheus.
    """
    assert SERVICES["prometheus"]["depends_on"]["server"]["condition"] == "service_healthy"
    assert SERVICES["grafana"]["depends_on"]["prometheus"]["condition"] == "service_healthy"
    assert SERVICES["prometheus"]["healthcheck"]


def test_health_check_is_that_of_the_image() -> None:
    """
    Compose asks as the image does: podman's format of images has no health check.
    """
    (options, command) = re.findall(
        r"^HEALTHCHECK (.*) \\\n +CMD (.*)", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )[0]
    check = SERVICES["server"]["healthcheck"]
    kind, asked = check.pop("test")
    assert (kind, asked.replace("$$", "$")) == ("CMD-SHELL", command)
    flags = {f"--{name.replace('_', '-')}={value}" for name, value in check.items()}
    assert flags == set(options.split())


def test_what_is_mounted_is_there() -> None:
    """
    Each file of ours that a service mounts exists, and each volume is declared.
    """
    declared = read(FILES[0])["volumes"]
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (ROOT / source).is_dir() if source.startswith(".") else source in declared


def test_server_is_locked_down() -> None:
    """
    The server may write nowhere but to its cache, and its drain is not cut short.
    """
    server = SERVICES["server"]
    assert server["read_only"]
    assert server["cap_drop"] == ["ALL"]
    writable = [mount for mount in server["volumes"] if not mount.endswith(":ro")]
    assert writable == ["cache:/var/cache/convoy"]
    assert int(server["stop_grace_period"].removesuffix("s")) > 35


def test_one_source_of_data() -> None:
    """
    Dashboards ask the data source that is provisioned, where Prometheus listens.
    """
    folder = ROOT / "deploy/grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    assert (source["uid"], source["url"]) == ("prometheus", "http://prometheus:9090")
    (provider,) = yaml.safe_load((folder / "dashboards/convoy.yml").read_text())["providers"]
    mounts = SERVICES["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in mounts
