"""A real server process on a real GPU."""

import signal
from pathlib import Path

import pytest

from convoy import Client, ConvoyError
from tests.harness.images import encode, gradient
from tests.harness.server_process import ServerProcess

pytestmark = pytest.mark.gpu

LOSE_THE_GPU = """
import ctypes, signal, sys

KERNEL = b".version 7.0 .target sm_70 .address_size 64 .visible .entry lose() { trap; }"

def lose(*_):
    cuda = ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    module, kernel = ctypes.c_void_p(), ctypes.c_void_p()
    cuda.cuInit(0)
    cuda.cuDeviceGet(ctypes.byref(device), 0)
    cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    cuda.cuCtxSetCurrent(context)
    cuda.cuModuleLoadData(ctypes.byref(module), KERNEL)
    cuda.cuModuleGetFunction(ctypes.byref(kernel), module, b"lose")
    cuda.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, None, None, None)
    cuda.cuCtxSynchronize()

signal.signal(signal.SIGUSR1, lose)
from convoy.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def probabilities(repository: Path, *options: str) -> list[float]:
    """Return a server's probabilities of every class for many requests at once."""
    image = encode(gradient("L"))
    with ServerProcess(repository, *options) as server, Client(server.address) as client:
        answers = list(client.classify_batch([image] * 50, model="lenet5", top_k=10))
        metrics = server.get("/metrics")
    told = []
    for answer in answers:
        assert not isinstance(answer, ConvoyError)
        best = {one.class_index: one.probability for one in answer.predictions}
        told.append([best[index] for index in range(10)])
    assert all(one == pytest.approx(told[0], abs=1e-4) for one in told)
    provider = "CUDAExecutionProvider" if "cuda" in options else "CPUExecutionProvider"
    assert f'convoy_provider_nodes{{model="lenet5",provider="{provider}"}}' in metrics
    assert ('kind="device_at_load"' in metrics) == ("cuda" in options)
    return told[0]


def first_failure(client: Client) -> ConvoyError:
    """Ask until that fails: the signal is on its way."""
    for _ in range(1000):
        try:
            client.classify(encode(gradient("L")), model="lenet5")
        except ConvoyError as error:
            return error
    raise AssertionError("nothing failed")


@pytest.mark.parametrize("fronts", ["0", "2"])
@pytest.mark.parametrize("transport", ["grpcio", "native"])
def test_answers_as_the_processor_does(lenet_repository: Path, transport: str, fronts: str) -> None:
    """
    Over either transport, with and without front processes, and it says that it runs there.
    """
    options = ("--device", "cuda", "--transport", transport, "--front-processes", fronts)
    on_gpu = probabilities(lenet_repository, *options)
    assert on_gpu == pytest.approx(probabilities(lenet_repository, "--device", "cpu"), abs=1e-4)


def test_lost_gpu(lenet_repository: Path) -> None:
    """
    A GPU that was lost fails what it runs, the server says that it is not ready, and ends.
    """
    options = ["--device", "cuda", "--exit-on-fatal-error"]
    program = ("-c", LOSE_THE_GPU)
    with ServerProcess(lenet_repository, *options, program=program) as server:
        with Client(server.address, timeout_s=10) as client:
            client.classify(encode(gradient("L")), model="lenet5")
            server.process.send_signal(signal.SIGUSR1)
            assert first_failure(client).code == "INTERNAL"
        assert server.wait(30) == 1
    assert server.find("the model can no longer run")
    assert server.find("stopping after a fatal error")
