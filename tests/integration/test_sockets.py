import socket

import pytest

from convoy import AsyncClient
from convoy.service.errors import StartError
from convoy.service.machine.sockets import resolve
from tests.harness.http import get
from tests.harness.server import Serve

pytestmark = pytest.mark.both_transports


def has_ipv6() -> bool:
    """Return whether this machine has the loopback address of IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1"]),
        ("::1", ["[::1]"]),
        ("[::1]", ["[::1]"]),
        ("::", ["127.0.0.1", "[::1]"]),
        ("", ["127.0.0.1", "[::1]"]),
    ],
)
async def test_both_transports_listen_alike(serve: Serve, host: str, addresses: list[str]) -> None:
    """
    HTTP answers on each address on which gRPC does.
    """
    if "[::1]" in addresses and not has_ipv6():
        pytest.skip("no IPv6 here")
    async with serve(host=host) as running:
        for address in addresses:
            async with AsyncClient(f"{address}:{running.server.grpc_port}") as client:
                assert [model.name for model in await client.models()] == ["tiny"]
            url = f"http://{address}:{running.server.http_port}/v2/health/ready"
            assert (await get(url))[0] == 200


async def test_name_is_resolved_once(serve: Serve) -> None:
    """
    A name stands for one address, the same one for both transports.
    """
    address = resolve("localhost")
    shown = f"[{address}]" if ":" in address else address
    async with serve(host="localhost") as running:
        async with AsyncClient(f"{shown}:{running.server.grpc_port}") as client:
            assert await client.models()
        url = f"http://{shown}:{running.server.http_port}/v2/health/ready"
        assert (await get(url))[0] == 200


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
async def test_host_of_another_machine(serve: Serve, host: str) -> None:
    """
    An address that is not this machine's is one clear error.
    """
    with pytest.raises(StartError, match="cannot listen"):
        async with serve(host=host):
            pass
