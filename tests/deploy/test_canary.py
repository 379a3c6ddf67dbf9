"""The canary's GRPCRoute gives each version its share of the calls, and none is lost on the way.

Gateways translate a GRPCRoute to weighted clusters of Envoy, which this does, too; Envoy is real.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from convoy import AsyncClient
from tests.deploy.emulators import TOOLS
from tests.harness.images import png
from tests.harness.lenet import add_version
from tests.harness.server_process import ServerProcess

ROUTE = Path(__file__).parents[2] / "deploy/kubernetes/canary/route.yaml"
ENVOY = TOOLS / "envoy"

TYPE = "type.googleapis.com/"
HTTP = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"
UPSTREAM = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
ROUTES = "envoy.config.route.v3.RouteConfiguration"


class Gateway:
    """
    Envoy with the routes of a GRPCRoute, which may be replaced while it runs.

    Args:
        folder: Place of its files.
        ports: Port of each backend of the route.
    """

    def __init__(self, folder: Path, ports: Mapping[str, int]) -> None:
        self._folder = folder
        self._ports = ports
        self.address = ""

    @contextmanager
    def running(self, route: Mapping[str, Any]) -> Iterator[Gateway]:
        """Run it with *route*."""
        self.apply(route)
        config, admin = self._folder / "envoy.json", self._folder / "admin"
        config.write_text(json.dumps(self._config()))
        options = ("--concurrency", "1", "--log-level", "warning", "--use-dynamic-base-id")
        files = ("--config-path", str(config), "--admin-address-path", str(admin))
        process = subprocess.Popen([str(ENVOY), *files, *options])
        try:
            self.address = _listens(admin, process)
            yield self
        finally:
            process.terminate()
            process.wait(30)

    def apply(self, route: Mapping[str, Any]) -> None:
        """Replace the route; Envoy takes it up at once."""
        (rule,) = route["spec"]["rules"]
        clusters = [
            {"name": backend["name"], "weight": backend["weight"]}
            for backend in rule["backendRefs"]
        ]
        action = {
            "match": {"prefix": "/", "grpc": {}},
            "route": {"weighted_clusters": {"clusters": clusters}, "timeout": "0s"},
        }
        found = {
            "@type": TYPE + ROUTES,
            "name": "route",
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [action]}],
        }
        # Envoy watches for files that are moved to this name.
        fresh = self._folder / "fresh.json"
        fresh.write_text(json.dumps({"resources": [found]}))
        fresh.rename(self._folder / "route.json")

    def _config(self) -> dict[str, Any]:
        source = {"path_config_source": {"path": str(self._folder / "route.json")}}
        router = {"@type": TYPE + ROUTER}
        manager = {
            "@type": TYPE + HTTP,
            "stat_prefix": "grpc",
            "codec_type": "HTTP2",
            "rds": {"route_config_name": "route", "config_source": source},
            "http_filters": [{"name": "router", "typed_config": router}],
        }
        filters = [{"name": "http", "typed_config": manager}]
        return {
            "node": {"id": "gateway", "cluster": "gateway"},
            "admin": {"address": _address(0)},
            "static_resources": {
                "listeners": [
                    {
                        "name": "grpc",
                        "address": _address(0),
                        "filter_chains": [{"filters": filters}],
                    }
                ],
                "clusters": [_cluster(name, port) for name, port in self._ports.items()],
            },
        }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(port)}}
    options = {
        "@type": TYPE + UPSTREAM,
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "name": name,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {UPSTREAM: options},
    }


def _listens(admin: Path, process: subprocess.Popen[bytes]) -> str:
    """Wait until Envoy listens; return the address."""
    ends_at = time.monotonic() + 30
    while time.monotonic() < ends_at and process.poll() is None:
        if admin.exists() and (place := admin.read_text()):
            with urllib.request.urlopen(
                f"http://{place}/listeners?format=json", timeout=10
            ) as answer:
                found = json.load(answer).get("listener_statuses", [])
            if found:
                place = found[0]["local_address"]["socket_address"]
                return f"{place['address']}:{place['port_value']}"
        time.sleep(0.1)
    raise RuntimeError("Envoy does not listen")


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """The ports of two servers, of which each serves one version, as in the kustomization."""
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            add_version(Path(folder), "lenet5")
        policy = "--version-policy"
        with (
            ServerProcess(Path(folder), policy, "lenet5=specific:1") as usual,
            ServerProcess(Path(folder), policy, "lenet5=specific:2") as canary,
        ):
            yield {
                "convoy": int(usual.address.rpartition(":")[2]),
                "convoy-canary": int(canary.address.rpartition(":")[2]),
            }


def _weighted(weights: Sequence[int]) -> dict[str, Any]:
    """The route of the repository with other weights."""
    route: dict[str, Any] = yaml.safe_load(ROUTE.read_text())
    for backend, weight in zip(route["spec"]["rules"][0]["backendRefs"], weights, strict=True):
        backend["weight"] = weight
    return route


async def _versions(client: AsyncClient, calls: int) -> Counter[int]:
    """The number of answers by version."""
    found: Counter[int] = Counter()
    for _ in range(calls):
        answer = await client.classify(png(1), model="lenet5")
        found[answer.model_version] += 1
    return found


async def test_shares(ports: dict[str, int], tmp_path: Path) -> None:
    """
    With the weights of the repository, the canary answers a tenth of the calls of one connection.
    """
    route = yaml.safe_load(ROUTE.read_text())
    with Gateway(tmp_path, ports).running(route) as gateway:
        async with AsyncClient(gateway.address) as client:
            found = await _versions(client, 1000)
    # 100 on average, with a standard deviation of 9.5; five of them are less likely than 1e-6.
    assert 52 < found[2] < 148
    assert found[1] == 1000 - found[2]


async def test_promotion_and_rollback(ports: dict[str, int], tmp_path: Path) -> None:
    """
    Other weights promote the canary and roll it back, without the loss of a call.
    """
    with Gateway(tmp_path, ports).running(_weighted((90, 10))) as gateway:
        async with AsyncClient(gateway.address) as client:
            for weights, version in (((0, 100), 2), ((100, 0), 1)):
                before = asyncio.create_task(_versions(client, 200))
                gateway.apply(_weighted(weights))
                assert (await before).total() == 200
                async with asyncio.timeout(30):
                    while set(await _versions(client, 10)) != {version}:
                        pass
                assert await _versions(client, 200) == {version: 200}
