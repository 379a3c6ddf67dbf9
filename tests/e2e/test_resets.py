"""Many calls that end at once, on a connection that other calls share."""

from __future__ import annotations

import asyncio
import re
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest

from convoy import AsyncClient
from tests.harness import tiny
from tests.harness.images import png
from tests.harness.server_process import ServerProcess

pytestmark = pytest.mark.skipif(not find_spec("pygrpc_native"), reason="the extra fast is missing")

CALLS = 25

RESETS = 50
"""More than the 20 resets of calls not yet begun, above which the transport closes a connection."""

BURSTS = 10
"""Most bursts until one of them closes the connection."""

IMAGE = png(3) + bytes(500_000)
"""An image as large as a photograph: gRPC keeps no more than 256 KiB of a call for a retry."""

# No batch is full, so that each call waits.
OPTIONS = ("--transport", "native", "--max-batch-size", "1024", "--max-queue-delay-ms", "500")


def ended_by_the_transport(server: ServerProcess) -> int:
    """Return the number of images whose calls the transport ended."""
    pattern = r'^convoy_requests_total{code="CANCELLED",method="Classify",.*} (\S+)$'
    found = re.search(pattern, server.get("/metrics"), re.MULTILINE)
    return int(float(found[1])) if found else 0


async def reset_many(client: AsyncClient, server: ServerProcess) -> None:
    """Cancel `RESETS` calls that the server reads all at once, with their cancellations."""
    server.process.send_signal(signal.SIGSTOP)
    calls = [asyncio.create_task(client.models()) for _ in range(RESETS)]
    await asyncio.sleep(0.1)  # gRPC sends them
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    server.process.send_signal(signal.SIGCONT)


async def test_our_client_repeats_what_a_closed_connection_ended(tmp_path: Path) -> None:
    """
    The native transport closes a connection with many resets; our client's other calls succeed.
    """
    tiny.write(tmp_path)
    with ServerProcess(tmp_path, *OPTIONS) as server:
        async with AsyncClient(server.address) as client:
            for _ in range(BURSTS):
                calls = [
                    asyncio.create_task(client.classify(IMAGE, model="tiny")) for _ in range(CALLS)
                ]
                await asyncio.sleep(0.2)  # the calls arrive
                await reset_many(client, server)
                for answer in await asyncio.gather(*calls):
                    assert answer.predictions[0].class_index == tiny.answer(3)
                if ended_by_the_transport(server):
                    return
    pytest.fail(f"no connection was closed by {BURSTS} bursts of {RESETS} resets")
