"""Every call that reaches the process is counted once, however it ends; its wait is measured."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import grpc
import pytest

from convoy.pb.convoy.v1 import classifier_pb2
from convoy.pb.convoy.v1.classifier_pb2_grpc import ClassifierServiceStub
from convoy.pb.inference.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from convoy.service.rpc.backlog import IDLE_INTERVAL_S
from convoy.service.rpc.fast_path import INFER_PATH
from tests.harness.calls import infer_request
from tests.harness.images import png
from tests.harness.server import Running, Serve
from tests.soak.wire import Wire, framed, request_headers

pytestmark = pytest.mark.both_transports

CODES = ("OK", "CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")


def handled(running: Running) -> int:
    """Return the calls that handlers have counted, by any code."""
    return int(
        sum(
            running.sample("convoy_requests_total", model=model, method=method, code=code) or 0
            for model in ("tiny", "unknown", "")
            for method in ("ModelInfer", "Classify")
            for code in CODES
        )
    )


def counts(running: Running) -> dict[str, int]:
    """Return the calls that the transport received, that handlers counted, and the others."""
    return {
        "received": int(running.sample("convoy_transport_calls_total") or 0),
        "handled": handled(running),
        "dropped": int(running.sample("convoy_transport_dropped_calls_total") or 0),
    }


def in_a_thread(running: Running, work: Callable[[grpc.Channel], None], stall_s: float) -> None:
    """Let a thread call the server, whose event loop stands still for *stall_s* seconds or more."""
    with ThreadPoolExecutor() as threads, grpc.insecure_channel(running.address) as channel:
        done = threads.submit(work, channel)
        time.sleep(stall_s)  # on purpose not `asyncio.sleep`
        done.result()


def end_early(channel: grpc.Channel) -> None:
    """Make calls that their client cancels, and calls that expire, before the server reads them."""
    infer = GRPCInferenceServiceStub(channel).ModelInfer
    classify = ClassifierServiceStub(channel).Classify
    image = classifier_pb2.ClassifyRequest(model="tiny", image=png(3))
    grpc.channel_ready_future(channel).result(10)
    leaving = [infer.future(infer_request(3)) for _ in range(10)]
    leaving += [classify.future(image) for _ in range(10)]
    late = [infer.future(infer_request(3), timeout=0.1) for _ in range(10)]
    late += [classify.future(image, timeout=0.1) for _ in range(10)]
    for call in late:
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    for call in leaving:
        call.cancel()


async def test_calls_that_end_before_their_handler(running: Running) -> None:
    """
    Calls that are cancelled or expire while they wait are counted: by their code if a handler saw
    them, as dropped by the transport otherwise.
    """
    before = await settled(running, at_least=0)
    in_a_thread(running, end_early, stall_s=0.3)
    after = await settled(running, at_least=before["received"] + 40)
    assert after["received"] - before["received"] == 40
    await running.until(lambda: sum_of(counts(running)) - sum_of(before) == 40)


def sum_of(found: dict[str, int]) -> int:
    return found["handled"] + found["dropped"]


async def settled(running: Running, *, at_least: int) -> dict[str, int]:
    """Return the counts, once the transport has received *at_least* so many calls."""
    await running.until(lambda: counts(running)["received"] >= at_least)
    return counts(running)


async def test_calls_cancelled_at_any_moment_are_counted(running: Running) -> None:
    """
    A call is counted once whether its client leaves before its turn, during the run, or after it.
    """

    async def leave(after_s: float) -> None:
        call = running.classifier.Classify(
            classifier_pb2.ClassifyRequest(model="tiny", image=png(3))
        )
        asyncio.get_running_loop().call_later(after_s, call.cancel)
        with suppress(asyncio.CancelledError):
            await call

    for number in range(100):
        await asyncio.gather(*(leave(number * 1e-4) for _ in range(4)))
    # A call that was cancelled before it was sent has not reached the server.
    await running.until(lambda: running.in_flight == 0)
    await running.until(lambda: sum_of(counts(running)) == counts(running)["received"])
    assert 100 < counts(running)["received"] <= 400


def ask(channel: grpc.Channel, *, times: int, timeout_s: float = 20.0) -> None:
    """Make some calls at once, and wait for their answers."""
    infer = GRPCInferenceServiceStub(channel).ModelInfer
    for call in [infer.future(infer_request(3)) for _ in range(times)]:
        assert call.result(timeout_s)


async def test_wait_before_the_handler(running: Running) -> None:
    """
    Calls that arrive while the event loop stands still have waited in the transport.
    """
    threads = ThreadPoolExecutor()
    with grpc.insecure_channel(running.address) as channel:
        await asyncio.to_thread(ask, channel, times=1)
        asked = threads.submit(partial(ask, channel, times=40))
        time.sleep(0.5)  # noqa: ASYNC251 (the event loop is to stand still)
        await asyncio.wrap_future(asked)
    await running.until(lambda: running.sample("convoy_transport_wait_seconds_count") == 41)
    # 40 calls wait half a second each. A sample that is taken after the first of them were answered
    # sees a part of that.
    waited_s = running.sample("convoy_transport_wait_seconds_sum") or 0
    taken_s = running.sample("convoy_request_duration_seconds_sum", model="tiny") or 0
    assert waited_s + taken_s > 1
    await running.until(lambda: running.sample("convoy_transport_waiting_calls") == 0)


@pytest.mark.slow
async def test_calls_that_wait_for_long_are_answered(running: Running) -> None:
    """
    Calls that wait longer than the 30 s of gRPC's own limit are answered, and none waits for ever.
    """
    threads = ThreadPoolExecutor()
    with grpc.insecure_channel(running.address) as channel:
        await asyncio.to_thread(ask, channel, times=1)
        asked = threads.submit(partial(ask, channel, times=40, timeout_s=90))
        time.sleep(32)  # noqa: ASYNC251 (the event loop is to stand still)
        await asyncio.wrap_future(asked)
    await running.until(lambda: running.sample("convoy_transport_waiting_calls") == 0)
    assert counts(running)["dropped"] == 0


async def test_streams_and_unknown_methods_are_received(running: Running) -> None:
    """
    Health, streams and calls of unknown methods count as received, and never as dropped.
    """
    for path in ("/grpc.health.v1.Health/Check", "/no.such/Method"):
        with suppress(grpc.aio.AioRpcError):
            method: Any = running.channel.unary_unary(path)
            await method(b"")
    stream = running.inference.ModelStreamInfer(infer_request(one) for one in range(3))
    assert len([answer async for answer in stream]) == 3
    await running.until(lambda: counts(running)["received"] == 3)
    await running.until(lambda: running.sample("convoy_transport_waiting_calls") == 0)
    assert counts(running)["dropped"] == 0


def end_at_once(address: str) -> None:
    """Make calls that are malformed, and calls whose connection is closed."""
    get = request_headers(INFER_PATH).replace(b"\x04POST", b"\x03GET")
    with Wire(address) as wire:
        wire.socket.settimeout(5)
        streams = [wire.send(get, framed(b"")) for _ in range(10)]
        while any(stream in wire.open for stream in streams):
            wire.flush()
            list(wire.receive())
    for _ in range(20):
        with Wire(address) as wire:
            for _ in range(4):
                wire.send(request_headers(INFER_PATH), framed(b""))
            wire.flush()


async def test_calls_that_grpc_loses_do_not_wait(running: Running) -> None:
    """
    Calls that gRPC ends by itself, and whose end it does not count, are dropped and wait no more.
    """
    await asyncio.to_thread(end_at_once, running.address)
    await asyncio.sleep(IDLE_INTERVAL_S + 0.1)  # until a sample has all of them
    await running.until(lambda: running.sample("convoy_transport_waiting_calls") == 0)
    await running.until(
        lambda: counts(running)["dropped"] + ended(running) == counts(running)["received"]
    )


def ended(running: Running) -> int:
    """Return the calls that handlers have ended, by whatever code."""
    return int(
        sum(
            sample.value
            for family in running.server.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "convoy_requests_total"
        )
    )


async def test_more_than_a_thousand_calls_at_once(serve: Serve) -> None:
    """
    Many calls that wait for their handler are all answered: gRPC's own limit ends none of them.
    """
    async with serve(max_queue_size=4096) as running, asyncio.TaskGroup() as calls:
        for _ in range(8):
            calls.create_task(ask_from_a_connection(running.address, 256))
    ok = running.sample("convoy_requests_total", model="tiny", method="ModelInfer", code="OK")
    assert ok == 8 * 256


async def ask_from_a_connection(address: str, calls: int) -> None:
    """Make that many calls at once over a connection of their own."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(address, options) as channel:
        infer = GRPCInferenceServiceStub(channel).ModelInfer
        await asyncio.gather(*(infer(infer_request(3), timeout=60) for _ in range(calls)))


async def test_calls_in_flight(running: Running) -> None:
    """
    The gauge of calls in flight has the calls that handlers work on at the moment.
    """
    assert running.sample("convoy_calls_in_flight") == 0
    with running.device_held():
        asked = [asyncio.ensure_future(running.inference.ModelInfer(infer_request(1)))]
        asked += [asyncio.ensure_future(running.inference.ModelInfer(infer_request(2)))]
        await running.until(lambda: running.sample("convoy_calls_in_flight") == 2)
    await asyncio.gather(*asked)
    await running.until(lambda: running.sample("convoy_calls_in_flight") == 0)
