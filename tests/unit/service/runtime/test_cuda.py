"""Graphs on a GPU: filled-up batches, graphs, precisions; and what of it a CPU can show."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from convoy.artifact.files import Artifact
from convoy.artifact.repository import ModelRepository
from convoy.service.errors import ModelLoadError
from convoy.service.runtime import cuda
from convoy.service.runtime.cuda import CudaRunner, gpu_used_bytes
from convoy.service.runtime.device import Device, Gpu
from convoy.service.runtime.runs import CPU, CUDA, TENSORRT, open_session, session_options
from convoy.service.runtime.session import Session
from convoy.service.telemetry.batch_record import Outputs
from tests.harness import tiny

ON_CPU = Device(policy="cpu", cores=1)


def on_gpu(**options: Any) -> Device:
    return Device(policy="cuda", cores=2, gpu=Gpu(**options))


@pytest.fixture
def lenet(lenet_repository: Path) -> Artifact:
    return ModelRepository(lenet_repository).read("lenet5", 1)


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CudaRunner:
    """The runner of a GPU, whose memory is the process's, with batches of 1, 2, 4 and 6."""
    monkeypatch.setattr(cuda, "DEVICE", "cpu")
    monkeypatch.setattr(cuda, "pinned", np.zeros)
    run = cuda._Bucket.run

    def copied(bucket: cuda._Bucket, images: npt.NDArray[Any]) -> tuple[Outputs, float]:
        """Return a copy, as from a GPU."""
        outputs, seconds = run(bucket, images)
        return {name: value.copy() for name, value in outputs.items()}, seconds

    monkeypatch.setattr(cuda._Bucket, "run", copied)
    tiny.write(tmp_path)
    artifact = ModelRepository(tmp_path).read("tiny", 1)
    session = open_session(artifact.model_path, session_options(), [(CPU, {})])
    thread = ThreadPoolExecutor(1)
    return CudaRunner(session, artifact, thread, sizes=[1, 2, 4, 6], graphs=True, used_bytes=0)


def classes(results: list[dict[str, Any]]) -> list[list[int]]:
    return [result["logits"].argmax(1).tolist() for result in results]


def test_every_request_gets_its_own_rows(runner: CudaRunner) -> None:
    """
    Each request gets its own rows, with any padding and after any earlier run in the same memory.
    """
    for firsts in ([1], [4, 3, 2], [0, 1, 2, 3, 4], [2, 2], [3], [4, 3, 2, 1, 0, 4], [1, 0, 3]):
        results, _ = runner.run([tiny.pixels(first) for first in firsts])
        assert classes(results) == [[tiny.answer(first)] for first in firsts]


def test_requests_of_several_images(runner: CudaRunner) -> None:
    """
    Their rows stay together, and answers outlive the next run.
    """
    pair = np.concatenate([tiny.pixels(1), tiny.pixels(2)])
    first, _ = runner.run([pair, tiny.pixels(4)])
    second, _ = runner.run([tiny.pixels(3), pair])
    assert classes(first) == [[1, 2], [4]]
    assert classes(second) == [[3], [1, 2]]
    assert all(set(result) == {"logits", "probabilities"} for result in first)


@pytest.mark.parametrize(("size", "filled"), [(1, 0), (2, 0), (3, 1), (4, 0), (5, 1), (6, 0)])
def test_padding(runner: CudaRunner, size: int, filled: int) -> None:
    """
    A batch is filled up to the next power of two, or to the largest one.
    """
    _, times = runner.run([tiny.pixels(1)] * size)
    assert times.padding == filled


def test_several_threads(runner: CudaRunner) -> None:
    """
    They run one after the other, each with its own images.
    """
    with ThreadPoolExecutor(8) as pool:
        firsts = [number % 5 for number in range(200)]
        runs = pool.map(lambda first: runner.run([tiny.pixels(first, 3)])[0], firsts)
        assert [classes(run) for run in runs] == [[[first] * 3] for first in firsts]


def test_failure_does_not_affect_the_next_run(runner: CudaRunner) -> None:
    """
    An error reaches its caller, and the next run is not affected.
    """
    with pytest.raises(Exception, match="indices element out of data bounds"):
        runner.run([tiny.pixels(tiny.POISON)])
    assert classes(runner.run([tiny.pixels(2)])[0]) == [[2]]


def test_tensorrt_that_is_not_installed(
    lenet: Artifact, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    It is named, with what to install.
    """
    monkeypatch.setattr(cuda, "has_cuda", lambda: True)
    monkeypatch.setattr(cuda, "gpu_used_bytes", lambda: 0)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ModelLoadError, match="install the extra tensorrt"):
        Session(lenet, on_gpu(tensorrt=True, engine_folder=tmp_path))


def test_engines_that_cannot_be_kept(
    lenet: Artifact,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    TensorRT runs without its folder of engines, if that cannot be made.
    """
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    (tmp_path / "file").touch()
    gpu = Gpu(tensorrt=True, engine_folder=tmp_path / "file/engines")
    (_, options), _ = cuda.providers(lenet, gpu, 8)
    assert "trt_engine_cache_enable" not in options
    assert "engines are not cached" in caplog.text


def test_options(lenet: Artifact, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """
    The provider's options follow from precision and settings.
    """
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    half = replace(lenet, manifest=lenet.manifest.model_copy(update={"precision": "float16"}))
    ((_, plain),) = cuda.providers(lenet, Gpu(cuda_graphs=False), 8)
    assert (plain["use_tf32"], plain["prefer_nhwc"], plain["enable_cuda_graph"]) == ("0", "0", "0")
    assert "gpu_mem_limit" not in plain
    gpu = Gpu(memory_limit_bytes=1 << 30, tf32=True)
    ((_, other),) = cuda.providers(half, gpu, 8)
    assert (other["use_tf32"], other["prefer_nhwc"], other["enable_cuda_graph"]) == ("1", "1", "1")
    assert other["gpu_mem_limit"] == str(1 << 30)
    engines = tmp_path / "engines"
    with_tensorrt = replace(gpu, tensorrt=True, engine_folder=engines)
    (name, first), (second, _) = cuda.providers(half, with_tensorrt, 8)
    assert (name, second) == ("TensorrtExecutionProvider", CUDA)
    assert first["trt_profile_min_shapes"] == "image:1x32x32x1"
    assert first["trt_profile_max_shapes"] == "image:8x32x32x1"
    assert (first["trt_fp16_enable"], first["trt_int8_enable"]) == ("1", "0")
    assert engines.is_dir()


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"cuda_graphs": False}, {"tf32": True}], ids=str)
def test_answers_are_those_of_the_cpu(lenet: Artifact, options: dict[str, Any]) -> None:
    """
    At every size of a batch, filled up or not, again and again.
    """
    images = lenet.golden.images
    expected = Session(lenet, ON_CPU).run(images)["logits"]
    session = Session(lenet, on_gpu(**options))
    took = session.warm()
    assert sorted(took) == [1, 2, 4, 8, 16, 32]
    assert (session.provider, set(session.nodes)) == (CUDA, {CUDA})
    assert session.device_bytes > 0
    near = 1e-2 if options.get("tf32") else 1e-4
    for size in (1, 3, 32, 2, 5, 1, 17, 4, 3):
        batch = np.resize(images, (size, *images.shape[1:]))
        logits = session.run(batch)["logits"]
        difference = np.abs(logits - np.resize(expected, logits.shape)).max()
        assert difference <= near * np.ptp(expected), size
    session.close()


@pytest.mark.gpu
def test_tensorrt(lenet: Artifact, tmp_path: Path) -> None:
    """
    Answers are those of the CPU at every size, and the engine is built once for all starts.
    """
    pytest.importorskip("tensorrt", reason="needs the extra tensorrt")
    images = lenet.golden.images
    expected = Session(lenet, ON_CPU).run(images)["logits"]
    built = []
    for _ in range(2):
        session = Session(lenet, on_gpu(tensorrt=True, engine_folder=tmp_path))
        session.warm()
        assert session.provider == TENSORRT
        for size in (1, 3, 32, 2):
            logits = session.run(np.resize(images, (size, *images.shape[1:])))["logits"]
            difference = np.abs(logits - np.resize(expected, logits.shape)).max()
            assert difference <= 1e-2 * np.ptp(expected), size
        session.close()
        built.append({path: path.stat().st_mtime_ns for path in tmp_path.glob("*.engine")})
    assert built[0]
    assert built[0] == built[1]


@pytest.mark.gpu
def test_unloaded_model_frees_its_memory(lenet: Artifact) -> None:
    """
    Unloading a model frees its GPU memory, captured or not.
    """

    def load_and_close() -> int:
        for graphs in (False, True):
            session = Session(lenet, on_gpu(cuda_graphs=graphs))
            session.warm()
            session.close()
        return gpu_used_bytes()

    before = load_and_close()
    for _ in range(5):
        after = load_and_close()
    assert after - before < 1 << 24


@pytest.mark.gpu
@pytest.mark.parametrize("graphs", [False, True])
def test_two_models_at_once(lenet: Artifact, graphs: bool) -> None:
    """
    One that is loaded, and captured, while another one serves disturbs it not.
    """
    device = on_gpu(cuda_graphs=graphs)
    serving = Session(lenet, device)
    serving.warm()
    expected = serving.run(lenet.golden.images)["logits"]

    def load() -> None:
        for _ in range(3):
            other = Session(lenet, device)
            other.warm()
            other.close()

    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load)
        while not loading.done():
            assert np.array_equal(serving.run(lenet.golden.images)["logits"], expected)
        loading.result()


@pytest.mark.gpu
def test_too_little_memory(lenet: Artifact) -> None:
    """
    A model that does not fit into the limit is refused with the reason.
    """
    with pytest.raises(ModelLoadError, match="memory"):
        Session(lenet, on_gpu(memory_limit_bytes=1024))
