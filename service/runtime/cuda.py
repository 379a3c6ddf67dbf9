"""Sessions on an NVIDIA GPU, by CUDA or TensorRT.

ONNX Runtime silently falls back to the CPU unless a session is opened exactly as in `open_on_gpu`:
its list of available providers only names those it was built with, and with any list that ends
with the CPU, the session may end there. A missing cuDNN shows only when the first convolution runs;
the golden images run one before any request does.

Batches have a few sizes. The work for each size is captured as a CUDA graph when the model is
loaded, then replayed: ONNX Runtime plans every convolution again whenever a batch differs in size
from the one before (microsoft/onnxruntime#23006), which takes ResNet-50 0.1 s or more.

Once a graph is open, one thread does everything that touches the GPU. A copy or an allocation in
another thread would spoil a CUDA graph while it is captured, and a captured graph belongs to the
thread that captured it.
"""

from __future__ import annotations

import ctypes
import logging
import math
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime import OrtValue

from convoy.artifact.files import Artifact
from convoy.artifact.golden import TOLERANCES
from convoy.service.errors import GoldenDriftError, ModelLoadError
from convoy.service.runtime.device import Device, Gpu
from convoy.service.runtime.proof import prove
from convoy.service.runtime.runs import (
    CUDA,
    GPU_PROVIDERS,
    TENSORRT,
    Provider,
    batch_sizes,
    cut,
    open_session,
    session_options,
)
from convoy.service.telemetry.batch_record import BatchTimes, Outputs

logger = logging.getLogger(__name__)

ERROR, FATAL = 3, 4
"""Levels of ONNX Runtime's log."""

DEVICE = "cuda"
"""ONNX Runtime's name for the memory of a GPU."""

AHEAD_S = 0.002
"""Time before the expected end of a run at which the next batch is taken, in seconds.

Joining 32 images of 224 pixels and waking a thread take 0.6 ms (docs/explanation/benchmarks.md).
"""

JOINED_AT_ONCE = 2
"""Batches of one size in memory at once: the one that runs, and the next."""

NO_GRAPH = "-1"
"""Value of the run option `gpu_graph_id` for a run that ONNX Runtime must not capture."""


class CudaRunner:
    """
    Runs a graph on a GPU in batches of a few sizes; a batch is filled up to the next of them.

    The caller's thread joins a batch while the one before it runs.

    Attributes:
        session: The graph.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        artifact: Artifact,
        thread: Executor,
        *,
        sizes: Sequence[int],
        graphs: bool,
        used_bytes: int,
    ) -> None:
        """
        Args:
            thread: The only thread that uses the GPU.
            sizes: Sizes of batches, ascending.
            graphs: Whether runs are captured as CUDA graphs and replayed.
            used_bytes: GPU memory in use before the graph was opened.
        """
        self.session = session
        self._used_bytes = used_bytes
        self._artifact = artifact
        self._thread = thread
        self._sizes = sizes
        self._graphs = graphs
        self._buckets: dict[int, _Bucket] = {}

    def run(self, items: Sequence[npt.NDArray[Any]]) -> tuple[list[Outputs], BatchTimes]:
        """Run arrays `[n, ...]` as one batch; return the outputs of each. Thread-safe."""
        started = time.perf_counter()
        lengths = [len(item) for item in items]
        count = sum(lengths)
        size = self._size_for(count)
        bucket = self._bucket(size)
        with bucket.images() as images:
            np.concatenate(items, out=images[:count])
            joined = time.perf_counter()
            outputs, infer_s = self._thread.submit(bucket.run, images).result()
        ran = time.perf_counter()
        parts = cut(outputs, lengths)
        output_s = time.perf_counter() - ran
        return parts, BatchTimes(joined - started, infer_s, output_s, padding=size - count)

    @property
    def device_bytes(self) -> int:
        """GPU memory that is in use now and was free before the graph was opened."""
        return max(0, gpu_used_bytes() - self._used_bytes)

    def close(self) -> None:
        """Free the graph's memory."""
        self._thread.submit(self._close).result()

    def _size_for(self, size: int) -> int:
        return next((known for known in self._sizes if known >= size), size)

    def _bucket(self, size: int) -> _Bucket:
        """Return the bucket of a size; its first run, in the proof or the warm-up, makes it."""
        if size not in self._buckets:
            graph = str(size) if self._graphs else NO_GRAPH
            made = self._thread.submit(_Bucket, self.session, self._artifact, size, graph).result()
            self._buckets[size] = made
        return self._buckets[size]

    def _close(self) -> None:
        self._buckets.clear()
        del self.session


class _Bucket:
    """Runs batches of one size, from and to fixed memory, as a CUDA graph requires."""

    def __init__(
        self, session: onnxruntime.InferenceSession, artifact: Artifact, size: int, graph: str
    ) -> None:
        tensor, names = artifact.manifest.input, [one.name for one in artifact.manifest.outputs]
        shape = (size, *tensor.item_shape)
        self._free: SimpleQueue[npt.NDArray[Any]] = SimpleQueue()
        for _ in range(JOINED_AT_ONCE):
            self._free.put(pinned(shape, np.dtype(tensor.dtype)))
        self._session = session
        self._image = OrtValue.ortvalue_from_numpy(np.zeros(shape, tensor.dtype), DEVICE)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(tensor.name, self._image)
        for name in names:
            self._binding.bind_output(name, DEVICE)
        # The first run shows the shapes of the outputs; from then on their memory is fixed.
        session.run_with_iobinding(self._binding, _run_options(NO_GRAPH))
        self._outputs = dict(zip(names, self._binding.get_outputs(), strict=True))
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)
        self._options = _run_options(graph)

    @contextmanager
    def images(self) -> Iterator[npt.NDArray[Any]]:
        """Yield pinned memory for a batch, `[size, ...]`; wait until some is free."""
        images = self._free.get()
        try:
            yield images
        finally:
            self._free.put(images)

    def run(self, images: npt.NDArray[Any]) -> tuple[Outputs, float]:
        """Run *images*; return copies of the outputs, and the seconds that the GPU was busy."""
        started = time.perf_counter()
        self._image.update_inplace(images)
        self._session.run_with_iobinding(self._binding, self._options)
        outputs = {name: value.numpy() for name, value in self._outputs.items()}
        return outputs, time.perf_counter() - started


def has_cuda() -> bool:
    """Return whether this ONNX Runtime was built for CUDA; there may still be no GPU."""
    return CUDA in onnxruntime.get_available_providers()


def open_on_gpu(artifact: Artifact, device: Device, max_batch_size: int) -> CudaRunner:
    """
    Open the whole graph on the GPU, and prove it.

    Raises:
        ModelLoadError: If it cannot be opened or run there.
        GoldenDriftError: If its answers drift from the golden ones.
    """
    if not has_cuda():
        raise ModelLoadError(
            "this ONNX Runtime was built without CUDA: install the extra gpu in place of cpu"
        )
    onnxruntime.preload_dlls()
    gpu, used_bytes = device.gpu, gpu_used_bytes()
    if gpu.cuda_graphs:
        try:
            return _open(artifact, gpu, max_batch_size, used_bytes)
        except GoldenDriftError:
            raise
        except ModelLoadError as error:  # such as a loop in the graph, or any other failure
            logger.warning("opening the model without CUDA graphs", extra={"reason": str(error)})
    return _open(artifact, replace(gpu, cuda_graphs=False), max_batch_size, used_bytes)


def _open(artifact: Artifact, gpu: Gpu, max_batch_size: int, used_bytes: int) -> CudaRunner:
    options = session_options()
    # Without this and `enable_fallback`, ONNX Runtime would silently run on the CPU.
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    onnxruntime.set_default_logger_severity(ERROR)
    wanted = providers(artifact, gpu, max_batch_size)
    session = open_session(artifact.model_path, options, wanted, enable_fallback=0)
    session.disable_fallback()
    if session.get_providers()[0] not in GPU_PROVIDERS:
        raise ModelLoadError("CUDA could not be loaded; see ONNX Runtime's messages above")
    # Otherwise each plan that cuDNN cannot use is logged as an error, before it uses another.
    onnxruntime.set_default_logger_severity(FATAL)
    runner = CudaRunner(
        session,
        artifact,
        gpu.thread,
        sizes=_sizes(session, gpu, max_batch_size),
        graphs=gpu.cuda_graphs and not gpu.tensorrt,
        used_bytes=used_bytes,
    )
    prove(runner, artifact, _tolerance(artifact, gpu))
    return runner


def _sizes(session: onnxruntime.InferenceSession, gpu: Gpu, max_batch_size: int) -> list[int]:
    """Return the sizes of batches; only one where changing it would take longer than filling up."""
    if session.get_inputs()[0].shape[0] == 1:
        return [1]
    # CUDA graphs keep a plan for each size, and TensorRT plans for all sizes at once.
    several = gpu.cuda_graphs or gpu.tensorrt
    return batch_sizes(max_batch_size) if several else [max_batch_size]


def pinned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """
    Make an array of zeros in pinned memory, which the GPU reads without an extra copy.

    Raises:
        MemoryError: If there is not enough of it.
    """
    cuda = _cudart()
    address, size = ctypes.c_void_p(), math.prod(shape) * dtype.itemsize
    if code := cuda.cudaMallocHost(ctypes.byref(address), ctypes.c_size_t(size)):
        raise MemoryError(
            f"cannot allocate {size} bytes of pinned memory: {_error_text(cuda, code)}"
        )
    assert address.value is not None
    memory = (ctypes.c_uint8 * size).from_address(address.value)
    weakref.finalize(memory, cuda.cudaFreeHost, address)
    array = np.ctypeslib.as_array(memory)
    array[:] = 0
    return array.view(dtype).reshape(shape)


def gpu_used_bytes() -> int:
    """
    Return the GPU memory in use by all processes, in bytes.

    Raises:
        ModelLoadError: If there is no GPU, or CUDA is not available.
    """
    cuda, free, total = _cudart(), ctypes.c_size_t(), ctypes.c_size_t()
    if code := cuda.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)):
        raise ModelLoadError(f"no GPU can be used: {_error_text(cuda, code)}")
    return total.value - free.value


def _cudart() -> ctypes.CDLL:
    """Return CUDA's runtime library, which ONNX Runtime has loaded."""
    try:
        return ctypes.CDLL("libcudart.so.13")
    except OSError as error:
        raise ModelLoadError(f"CUDA could not be loaded: {error}") from error


def _error_text(cuda: ctypes.CDLL, code: int) -> str:
    cuda.cudaGetErrorString.restype = ctypes.c_char_p
    text: bytes = cuda.cudaGetErrorString(code)
    return text.decode()


def providers(artifact: Artifact, gpu: Gpu, max_batch_size: int) -> list[Provider]:
    """
    Return the providers of a graph: CUDA, or TensorRT and CUDA for the nodes that it lacks.

    Raises:
        ModelLoadError: If TensorRT is not installed.
    """
    precision = artifact.manifest.precision
    cuda = {
        "device_id": "0",  # the first one in CUDA_VISIBLE_DEVICES
        "use_tf32": _flag(gpu.tf32),
        # Tensor cores need channels last; without tensor cores that costs more than it gains.
        "prefer_nhwc": _flag(precision == "float16" or gpu.tf32),
        # EXHAUSTIVE takes seconds for each new size, and found nothing better in measurements.
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": _flag(gpu.cuda_graphs and not gpu.tensorrt),
    }
    if gpu.memory_limit_bytes:
        cuda["gpu_mem_limit"] = str(gpu.memory_limit_bytes)
    if not gpu.tensorrt:
        return [(CUDA, cuda)]
    return [(TENSORRT, _tensorrt_options(artifact, gpu, max_batch_size)), (CUDA, cuda)]


def _tensorrt_options(artifact: Artifact, gpu: Gpu, max_batch_size: int) -> dict[str, str]:
    try:
        import tensorrt  # noqa: F401 - an extra; ONNX Runtime finds its libraries once they are loaded
    except ImportError as error:
        raise ModelLoadError("TensorRT is not installed: install the extra tensorrt") from error
    tensor, precision = artifact.manifest.input, artifact.manifest.precision
    image = "x".join(map(str, tensor.item_shape))
    options = {
        "device_id": "0",
        # Without shapes, an engine is built again whenever a batch is larger than all before it.
        "trt_profile_min_shapes": f"{tensor.name}:1x{image}",
        "trt_profile_opt_shapes": f"{tensor.name}:{max_batch_size}x{image}",
        "trt_profile_max_shapes": f"{tensor.name}:{max_batch_size}x{image}",
        "trt_fp16_enable": _flag(precision == "float16"),
        "trt_int8_enable": _flag(precision == "int8"),
        "trt_cuda_graph_enable": _flag(gpu.cuda_graphs),
    }
    if (folder := gpu.engine_folder) and _made(folder):
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(folder),
            "trt_engine_cache_prefix": artifact.manifest.model_sha256[:16],
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(folder),
        }
    return options


def _made(folder: Path) -> bool:
    """Make *folder* unless it exists; warn and return False if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        logger.warning(
            "TensorRT engines are not cached: set --graph-cache to a writable folder",
            extra={"reason": str(error)},
        )
        return False
    return True


def _tolerance(artifact: Artifact, gpu: Gpu) -> float:
    """Return the largest drift from the golden answers that is accepted on *gpu*."""
    tolerance = artifact.manifest.golden_tolerance
    # TF32 rounds float32 to float16's 10 bits. TensorRT uses TF32 wherever it can.
    rounded = gpu.tf32 or gpu.tensorrt
    return max(tolerance, TOLERANCES["float16"]) if rounded else tolerance


def _run_options(graph: str) -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", graph)
    return options


def _flag(value: bool) -> str:
    return str(int(value))
