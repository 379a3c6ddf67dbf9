"""Overload over HTTP: disconnects, full queues, timeouts, and a server that drains."""

import asyncio
import re
from contextlib import AsyncExitStack

import pytest

from convoy.service.lifecycle import Phase
from tests.harness.calls import INFER, check_error, classes, infer_body
from tests.harness.http import Answer, Connection, ask, request
from tests.harness.server import Running, Serve


async def infer(running: Running, *firsts: int, **parameters: int) -> Answer:
    """Infer on a connection of its own."""
    return await ask("POST", running.url + INFER, infer_body(*firsts, parameters=parameters))


def ended(running: Running, code: str, model: str = "tiny") -> float | None:
    """Return the number of inference calls with this status."""
    return running.sample("convoy_requests_total", model=model, method="ModelInfer", code=code)


async def connects(running: Running) -> bool:
    """Return whether the server accepts a new HTTP connection."""
    try:
        async with Connection(running.url):
            return True
    except ConnectionError:
        return False


async def until_idle(running: Running) -> None:
    """Wait until no call is in flight."""
    await running.until(lambda: running.in_flight == 0)


async def test_disconnect_in_the_queue(running: Running) -> None:
    """
    A client that closes its connection gives its place back at once and costs no inference.
    """
    async with AsyncExitStack() as stack:
        with running.device_held():
            first = asyncio.create_task(infer(running, 3))
            await running.until_running(1)
            leavers = [await stack.enter_async_context(Connection(running.url)) for _ in range(5)]
            for leaver in leavers:
                await leaver.send(request("POST", INFER, infer_body(0, 1)))
            await running.until_waiting(10)
            for leaver in leavers:
                leaver.hang_up()
            await running.until_waiting(0)
            await running.until(lambda: running.in_flight == 1)
            assert ended(running, "CANCELLED") == 5
        assert classes(await first) == [3]
    assert running.sample("convoy_batch_size_sum", model="tiny") == 1
    assert ended(running, "OK") == 1


async def test_disconnect_during_the_run(running: Running) -> None:
    """
    A client that disconnects while its batch runs does not affect the others in it.
    """
    async with Connection(running.url) as leaver:
        with running.device_held():
            await leaver.send(request("POST", INFER, infer_body(0)))
            await running.until_running(1)
            staying = [asyncio.create_task(infer(running, first)) for first in (1, 2)]
            await running.until_waiting(2)
            leaver.hang_up()
            await running.until(lambda: ended(running, "CANCELLED") == 1)
        assert [classes(await call) for call in staying] == [[1], [2]]


async def test_disconnect_within_the_body(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A client that never finishes its request is counted as cancelled, not as an error.
    """
    body = infer_body(0)
    whole = request("POST", INFER, body)
    chunked = request("POST", INFER, headers={"transfer-encoding": "chunked"}) + b"5\r\n{"
    for sent in (whole[:-1], whole[: -len(body)], chunked):
        async with Connection(running.url) as leaver:
            await leaver.send(sent)
            await running.until(lambda: running.in_flight == 1)
        await until_idle(running)
    assert ended(running, "CANCELLED", "") == 3
    assert ended(running, "INTERNAL", "") is None
    assert "internal error" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_many_disconnects(running: Running) -> None:
    """
    A hundred clients that disconnect at any moment leave no state behind.
    """
    for number in range(100):
        async with Connection(running.url) as leaver:
            await leaver.send(request("POST", INFER, infer_body(number))[: 150 + 5 * number])
            for _ in range(number % 7):
                await asyncio.sleep(0)
    await until_idle(running)
    await running.until_waiting(0)
    assert classes(await infer(running, 3)) == [3]


async def test_full_queue_refuses_at_once(serve: Serve) -> None:
    """
    With the queue full the next call gets 429 and the time to wait, and the others their answers.
    """
    async with serve(max_batch_size=2, max_queue_size=4, max_images_per_call=4) as running:
        with running.device_held():
            calls = [asyncio.create_task(infer(running, 0))]
            await running.until_running(1)
            calls += [asyncio.create_task(infer(running, first)) for first in range(1, 5)]
            await running.until_waiting(4)
            refused = await infer(running, 5)
            message = check_error(refused, 429, "QUEUE_FULL")
            assert "4 images are waiting" in message
            assert re.fullmatch("[1-9][0-9]*", refused.headers["retry-after"])
        assert [classes(await call) for call in calls] == [[0], [1], [2], [3], [4]]
        assert running.sample("convoy_rejected_total", model="tiny", reason="QUEUE_FULL") == 1
        assert "retry-after" not in (await infer(running, 0)).headers


async def test_timeout(running: Running) -> None:
    """
    A request that waits longer than its `timeout` fails with 504 at once, and is not computed.
    """
    with running.device_held():
        first = asyncio.create_task(infer(running, 3))
        await running.until_running(1)
        check_error(await infer(running, 0, timeout=1), 504, "REQUEST_EXPIRED")
    assert classes(await first) == [3]
    assert classes(await infer(running, 4, timeout=60_000_000)) == [4]
    assert running.sample("convoy_batch_size_sum", model="tiny") == 2
    assert running.sample("convoy_rejected_total", model="tiny", reason="REQUEST_EXPIRED") == 1


async def test_priority(serve: Serve) -> None:
    """
    The most urgent of the waiting requests go first.
    """
    order: list[int] = []

    async def note(running: Running, priority: int) -> None:
        assert (await infer(running, 0, priority=priority)).status == 200
        order.append(priority)

    async with serve(max_batch_size=1) as running:
        with running.device_held():
            first = asyncio.create_task(infer(running, 0))
            await running.until_running(1)
            calls = []
            for place, priority in enumerate((3, 2, 1), 1):
                calls.append(asyncio.create_task(note(running, priority)))
                await running.until_waiting(place)
        await asyncio.gather(first, *calls)
    assert order == [1, 2, 3]


async def test_serves_during_the_grace_period(running: Running) -> None:
    """
    In the grace the server says that it is not ready, and answers as before.
    """
    draining = asyncio.create_task(running.server.drain(60.0))
    await running.until(lambda: running.server.lifecycle.phase is Phase.LEAVING)
    ready = await ask("GET", f"{running.url}/v2/health/ready")
    assert "leaving" in check_error(ready, 503, "MODEL_NOT_READY")
    ready = await ask("GET", f"{running.url}/v2/models/tiny/ready")
    check_error(ready, 503, "MODEL_NOT_READY")
    assert (await ask("GET", f"{running.url}/v2/health/live")).status == 200
    assert classes(await infer(running, 3)) == [3]
    draining.cancel()


async def test_finishes_what_is_in_flight_and_refuses_the_rest(running: Running) -> None:
    """
    After the grace period, calls in flight are answered and new ones refused, except metadata.
    """
    async with Connection(running.url) as kept:
        assert classes(await kept.ask("POST", INFER, infer_body(1))) == [1]
        with running.device_held():
            accepted = [asyncio.create_task(infer(running, first)) for first in range(10)]
            await running.until(lambda: running.in_flight == 10)
            draining = asyncio.create_task(running.server.drain(0.0))
            await running.until(lambda: running.server.lifecycle.phase is Phase.REFUSING)
            refused = await kept.ask("POST", INFER, infer_body(0), {"x-request-id": "r-1"})
            check_error(refused, 503, "SHUTTING_DOWN")
            assert refused.headers["x-request-id"] == "r-1"
            check_error(await infer(running, 0), 503, "SHUTTING_DOWN")
            assert (await kept.ask("GET", "/v2/models/tiny")).status == 200
            assert (await kept.ask("GET", "/v2/health/live")).status == 200
            assert not draining.done()
        assert [classes(await call) for call in accepted] == [[first % 5] for first in range(10)]
        async with asyncio.timeout(1):
            await draining
    assert ended(running, "UNAVAILABLE", "") == 2


async def test_answers_in_flight_outlive_the_stop(serve: Serve) -> None:
    """
    A server that stops without a drain still sends the answers that are under way.
    """
    async with serve() as running:
        with running.device_held():
            calls = [asyncio.create_task(infer(running, first)) for first in range(4)]
            await running.until(lambda: running.in_flight == 4)
            stopping = asyncio.create_task(running.server.http.stop())
            async with asyncio.timeout(10):
                while await connects(running):
                    pass
        await stopping
        assert [classes(await call) for call in calls] == [[0], [1], [2], [3]]
