"""Unsupported: shared memory and traces say so, unless the server names the extension."""

from __future__ import annotations

import pytest

from tests.conformance.target import BAD_REQUEST, Target, refused

SYSTEM, CUDA, TRACE = "system_shared_memory", "cuda_shared_memory", "trace"

RPCS = {
    "SystemSharedMemoryStatus": SYSTEM,
    "SystemSharedMemoryRegister": SYSTEM,
    "SystemSharedMemoryUnregister": SYSTEM,
    "CudaSharedMemoryStatus": CUDA,
    "CudaSharedMemoryRegister": CUDA,
    "CudaSharedMemoryUnregister": CUDA,
    "TraceSetting": TRACE,
}

ROUTES = {
    ("GET", "/v2/systemsharedmemory/status"): SYSTEM,
    ("GET", "/v2/systemsharedmemory/region/a/status"): SYSTEM,
    ("POST", "/v2/systemsharedmemory/region/a/register"): SYSTEM,
    ("POST", "/v2/systemsharedmemory/unregister"): SYSTEM,
    ("GET", "/v2/cudasharedmemory/status"): CUDA,
    ("POST", "/v2/cudasharedmemory/region/a/register"): CUDA,
    ("POST", "/v2/cudasharedmemory/region/a/unregister"): CUDA,
    ("GET", "/v2/trace/setting"): TRACE,
    ("POST", "/v2/trace/setting"): TRACE,
    ("GET", "/v2/models/{model}/trace/setting"): TRACE,
    ("POST", "/v2/models/{model}/generate"): "generate",
    ("POST", "/v2/models/{model}/generate_stream"): "generate",
}


def _skip_if_named(target: Target, extension: str) -> None:
    if extension in target.extensions:
        pytest.skip(f"the server names {extension}, which this kit does not check")


@pytest.mark.parametrize(("rpc", "extension"), RPCS.items())
def test_rpc(target: Target, rpc: str, extension: str) -> None:
    """An rpc of an extension that the server does not have is UNIMPLEMENTED (gRPC)."""
    _skip_if_named(target, extension)
    with refused("UNIMPLEMENTED"):
        target.ask(rpc)


@pytest.mark.rest
@pytest.mark.parametrize(("route", "extension"), ROUTES.items(), ids=map(" ".join, ROUTES))
def test_route(target: Target, route: tuple[str, str], extension: str) -> None:
    """Its route is 501 as in Triton, or there is none: 404, 405."""
    _skip_if_named(target, extension)
    method, path = route
    body = b"{}" if method == "POST" else None
    answer = target.rest.send(method, path.format(model=target.model), body)
    assert answer.status in {501, 404, 405}


@pytest.mark.parametrize("side", ["input", "output"])
def test_tensor_in_shared_memory(target: Target, side: str) -> None:
    """A tensor in shared memory is refused, not answered as if it was a usual one."""
    _skip_if_named(target, SYSTEM)
    request = target.request()
    output = request.outputs.add(name=target.outputs[0].name)
    holder = request.inputs[0] if side == "input" else output
    holder.parameters["shared_memory_region"].string_param = "a"
    holder.parameters["shared_memory_byte_size"].int64_param = len(request.raw_input_contents[0])
    if side == "input":
        del request.raw_input_contents[:]
    with refused("UNIMPLEMENTED", "INVALID_ARGUMENT"):
        target.call("ModelInfer", request)


@pytest.mark.rest
@pytest.mark.parametrize("side", ["input", "output"])
def test_tensor_in_shared_memory_over_http(target: Target, side: str) -> None:
    """The same over HTTP."""
    _skip_if_named(target, SYSTEM)
    body = target.body(outputs=[{"name": target.outputs[0].name}])
    body[f"{side}s"][0]["parameters"] = {
        "shared_memory_region": "a",
        "shared_memory_byte_size": 1024,
    }
    if side == "input":
        del body["inputs"][0]["data"]
    assert target.rest.post(target.path("/infer"), body).status in {*BAD_REQUEST, 501}
