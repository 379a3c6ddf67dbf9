"""docker-compose.yml is valid and does what the documentation says; no Docker engine is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "tests/data/schemas/compose-spec.json").read_text())
FILES = ("docker-compose.yml", "docker-compose.gpu.yml")


def read(name: str) -> Any:
    """A Compose file."""
    return yaml.safe_load((ROOT / name).read_text())


SERVICES = read(FILES[0])["services"]


@pytest.mark.parametrize("name", FILES)
def test_valid(name: str) -> None:
    """
    The Compose Specification's schema accepts it.
    """
    errors = jsonschema.Draft201909Validator(SCHEMA).iter_errors(read(name))
    assert [error.message for error in errors] == []


@pytest.mark.parametrize("name", FILES)
def test_images_are_pinned(name: str) -> None:
    """
    What is not built here has an exact version.
    """
    for service in read(name)["services"].values():
        _, _, tag = service["image"].rpartition(":")
        assert "build" in service or any(digit in tag for digit in "0123456789"), service["image"]
        assert tag != "latest"


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "export"])
def test_stays_up_within_limits(name: str) -> None:
    """
    Every service that runs for ever comes back after a crash and cannot take all memory.
    """
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["deploy"]["resources"]["limits"]["memory"]


def test_order() -> None:
    """
    Prometheus waits for a healthy server, Grafana for a healthy Prometheus.
    """
    assert SERVICES["prometheus"]["depends_on"]["server"]["condition"] == "service_healthy"
    assert SERVICES["grafana"]["depends_on"]["prometheus"]["condition"] == "service_healthy"
    assert SERVICES["prometheus"]["healthcheck"]
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


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
