"""What the transports share, and what one of them needs."""

import asyncio
import sys

import grpc
import pytest

from convoy.pb.convoy.v1 import classifier_pb2
from service.app import Server
from service.errors import StartError
from service.settings import Settings
from tests import tiny
from tests.contract.conftest import Running
from tests.images import png


async def test_native_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Asking for the native transport where its package is missing is one clear error.
    """
    monkeypatch.delitem(sys.modules, "service.rpc.native", raising=False)
    monkeypatch.setitem(sys.modules, "pygrpc_native", None)
    with pytest.raises(StartError, match="extra fast"):
        Server(Settings(transport="native"))


async def test_burst(running: Running) -> None:
    """
    Many calls at once, more than one burst holds, each get their own answer.
    """
    firsts = [number % tiny.POISON for number in range(600)]
    calls = [
        running.classifier.Classify(
            classifier_pb2.ClassifyRequest(model="tiny", image=png(first), top_k=1)
        )
        for first in firsts
    ]
    answers = await asyncio.gather(*calls)
    found = [answer.predictions[0].class_index for answer in answers]
    assert found == [tiny.answer(first) for first in firsts]


async def test_compressed_request(running: Running) -> None:
    """
    A client may compress its requests.
    """
    request = classifier_pb2.ClassifyRequest(model="tiny", image=png(3), top_k=1)
    answer = await running.classifier.Classify(request, compression=grpc.Compression.Gzip)
    assert answer.predictions[0].class_index == tiny.answer(3)
