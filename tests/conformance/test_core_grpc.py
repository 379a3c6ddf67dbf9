"""Core rpcs: the six that every server of the protocol has."""

from __future__ import annotations

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.conformance.target import Target
from tests.conformance.tensors import FIELDS, arrays, assert_rows, assert_same

DATATYPES = {*FIELDS, "FP16", "BF16"}


@pytest.mark.parametrize("rpc", ["ServerLive", "ServerReady"])
def test_server_health(target: Target, rpc: str) -> None:
    """A server with a ready model is live and ready (OIP, ServerLive and ServerReady)."""
    answer = target.ask(rpc)
    assert getattr(answer, rpc.removeprefix("Server").lower()) is True


@pytest.mark.parametrize("versioned", [False, True])
def test_model_ready(target: Target, versioned: bool) -> None:
    """A model that answers is ready, with its version and without (OIP, ModelReady)."""
    version = target.version if versioned else ""
    assert target.ask("ModelReady", name=target.model, version=version).ready


def test_server_metadata(target: Target) -> None:
    """A server has a name and a version, and lists each extension once (OIP, ServerMetadata)."""
    answer = target.ask("ServerMetadata")
    assert answer.name
    assert answer.version
    assert len(set(answer.extensions)) == len(answer.extensions)


@pytest.mark.parametrize("versioned", [False, True])
def test_model_metadata(target: Target, versioned: bool) -> None:
    """A model describes itself and each of its tensors fully (OIP, ModelMetadata)."""
    version = target.version if versioned else ""
    answer = target.ask("ModelMetadata", name=target.model, version=version)
    assert answer.name == target.model
    assert not answer.versions or target.version in answer.versions
    assert answer.platform
    assert answer.inputs
    assert answer.outputs
    for tensor in [*answer.inputs, *answer.outputs]:
        assert tensor.name
        assert tensor.datatype in DATATYPES
        assert all(size == -1 or size > 0 for size in tensor.shape)


def test_infer_answers_as_described(target: Target) -> None:
    """Each output has the name, datatype and shape that the metadata says (OIP, ModelInfer)."""
    answer = target.call("ModelInfer", target.request())
    assert answer.model_name == target.model
    assert [output.name for output in answer.outputs] == [spec.name for spec in target.outputs]
    for output, spec in zip(answer.outputs, target.outputs, strict=True):
        assert output.datatype == spec.datatype
        assert len(output.shape) == len(spec.shape)
        for size, described in zip(output.shape, spec.shape, strict=True):
            assert size == described or (described == -1 and size > 0)


def test_infer_with_version(target: Target) -> None:
    """The version that a request names is the one that answers (OIP, model_version)."""
    answer = target.call("ModelInfer", target.request(model_version=target.version))
    assert answer.model_version == target.version
    assert_same(arrays(answer), target.infer())


def test_same_input_same_answer(target: Target) -> None:
    """Two equal requests have equal answers, and another one another answer."""
    first, again, other = target.infer(seed=1), target.infer(seed=1), target.infer(seed=2)
    assert_same(again, first)
    assert any((other[name] != values).any() for name, values in first.items())


@pytest.mark.usefixtures("batches")
@pytest.mark.parametrize("size", [2, 3, "max"])
def test_batch(target: Target, size: int | str) -> None:
    """Each row of a batch is answered as it is alone, up to the largest batch."""
    count = target.max_batch_size if size == "max" else int(size)
    requests = [target.request(seed=seed) for seed in range(count)]
    together = pb.ModelInferRequest(model_name=target.model)
    for index, spec in enumerate(target.inputs):
        shape = [count, *requests[0].inputs[index].shape[1:]]
        together.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
        rows = [request.raw_input_contents[index] for request in requests]
        together.raw_input_contents.append(b"".join(rows))
    answer = arrays(target.call("ModelInfer", together))
    for row in {0, 1, count - 1}:
        assert_rows(answer, row, target.infer(seed=row))


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_message(target: Target, compression: grpc.Compression) -> None:
    """A message may be compressed in either way that gRPC has."""
    answer = target.call("ModelInfer", target.request(), compression=compression)
    assert_same(arrays(answer), target.infer())


def test_unknown_field_is_ignored(target: Target) -> None:
    """A request of a later version of the protocol is answered (protobuf's unknown fields)."""
    extended = target.request()
    extended.MergeFromString(b"\xaa\x3e\x03new")  # field 997, a text
    assert_same(arrays(target.call("ModelInfer", extended)), target.infer())
