from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from convoy.artifact.golden import Golden, as_scores
from convoy.artifact.manifest import OutputTensor
from convoy.artifact.repository import ModelRepository
from convoy.service.errors import ModelLoadError
from convoy.service.machine.resources import has_gpu, has_gpu_driver
from convoy.service.runtime.cuda import has_cuda
from convoy.service.runtime.device import Device
from convoy.service.runtime.runs import CPU, CUDA, batch_sizes
from convoy.service.runtime.session import Session
from tests.harness import tiny
from tests.harness.tiny import CLASSES

ON_CPU = Device(policy="cpu", cores=1)
HAS_CUDA = has_cuda()


def load(root: Path, device: Device = ON_CPU, **changes: Any) -> Session:
    tiny.write(root, **changes)
    repository = ModelRepository(root)
    return Session(repository.read("tiny", repository.versions("tiny")[-1]), device)


def test_run_each_cuts_the_batch_up_again(tmp_path: Path) -> None:
    """
    Each request gets its own rows back, for any number of images.
    """
    session = load(tmp_path)
    items = [tiny.pixels(3), np.concatenate([tiny.pixels(1), tiny.pixels(2)]), tiny.pixels(9)]
    results, _ = session.runner.run(items)
    answers = [result["logits"].argmax(1).tolist() for result in results]
    assert answers == [[3], [1, 2], [4]]
    assert all(set(result) == {"logits", "probabilities"} for result in results)
    assert session.runner.run([items[1]])[0][0]["logits"].argmax(1).tolist() == [1, 2]


def test_provider_and_nodes(tmp_path: Path) -> None:
    """
    The session reports the provider of its nodes and their number.
    """
    session = load(tmp_path)
    assert session.provider == CPU
    assert session.fallback_reason == ""
    assert set(session.nodes) == {CPU}
    assert session.nodes[CPU] > 5


@pytest.mark.skipif(HAS_CUDA, reason="this ONNX Runtime has CUDA")
def test_auto_logs_its_fallback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    On a GPU that CUDA cannot use, `auto` runs on the CPU and logs the reason once per server.
    """
    monkeypatch.setattr("convoy.service.runtime.session.has_gpu", lambda: True)
    device = Device(policy="auto", cores=1)
    for name in ("one", "two"):
        session = load(tmp_path / name, device)
        assert session.provider == CPU
        assert "built without CUDA" in session.fallback_reason
    (line,) = caplog.records
    assert line.message == "device auto: falling back to the CPU"


@pytest.mark.skipif(has_gpu() or has_gpu_driver(), reason="this machine has a GPU")
@pytest.mark.parametrize("is_gpu_build", [False, True])
def test_auto_without_a_gpu(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    is_gpu_build: bool,
) -> None:
    """
    Without a GPU, running on the CPU is no fallback and is not logged, in the GPU build neither.
    """
    monkeypatch.setattr("convoy.service.runtime.session.has_cuda", lambda: is_gpu_build)
    session = load(tmp_path, Device(policy="auto", cores=1))
    assert (session.provider, session.fallback_reason) == (CPU, "")
    assert not caplog.records


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
def test_auto_in_a_container_without_the_gpu_of_its_host(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    In the GPU build, a host's GPU that the container was not given is logged; else it is not.
    """
    monkeypatch.setattr("convoy.service.runtime.session.has_gpu_driver", lambda: True)
    for is_gpu_build in (False, True):
        assert not caplog.records
        monkeypatch.setattr("convoy.service.runtime.session.has_cuda", partial(bool, is_gpu_build))
        session = load(tmp_path / str(is_gpu_build), Device(policy="auto", cores=1))
        assert session.provider == CPU
        assert bool(session.fallback_reason) == is_gpu_build
    (line,) = caplog.records
    assert line.message == "device auto: falling back to the CPU"


@pytest.mark.skipif(HAS_CUDA, reason="this ONNX Runtime has CUDA")
def test_cuda_that_cannot_be_had_is_an_error(tmp_path: Path) -> None:
    """
    `cuda` never becomes a silent CPU.
    """
    with pytest.raises(ModelLoadError, match="built without CUDA"):
        load(tmp_path, Device(policy="cuda", cores=1))


@pytest.mark.gpu
@pytest.mark.parametrize("policy", ["auto", "cuda"])
def test_cuda(lenet_repository: Path, policy: Literal["auto", "cuda"]) -> None:
    """
    Every node runs on the GPU, and the golden answers hold there.
    """
    artifact = ModelRepository(lenet_repository).read("lenet5", 1)
    session = Session(artifact, Device(policy=policy, cores=1))
    assert session.provider == CUDA
    assert set(session.nodes) == {CUDA}
    assert session.fallback_reason == ""


def test_golden_drift_is_refused(tmp_path: Path) -> None:
    """
    A graph that does not answer as the reference did is not served.
    """
    golden = tiny.right_golden()
    drifted = golden.logits + np.float32(0.01) * np.eye(4, 5, dtype=np.float32)
    with pytest.raises(ModelLoadError, match=r"drift from the golden answers by 1\.0e-03"):
        load(tmp_path, golden=Golden(golden.images, drifted))


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    """
    A graph whose answers compare with nothing does not pass.
    """
    with pytest.raises(ModelLoadError, match="drift"):
        load(tmp_path, model=tiny.graph(nothing=np.nan))


@pytest.mark.parametrize("width", [3, 6])
def test_output_of_another_width(tmp_path: Path, width: int) -> None:
    """
    Every output that the manifest names must have as many classes as there are labels.
    """
    with pytest.raises(ModelLoadError, match=rf"probabilities has shape \[4, {width}\]"):
        load(tmp_path, model=tiny.graph(probabilities=width))


def test_output_of_another_type(tmp_path: Path) -> None:
    """
    An output must have the type that the metadata states.
    """
    promised = OutputTensor(name="logits", kind="logits", dtype="float16")
    with pytest.raises(ModelLoadError, match=r"type float32, but the manifest states .* float16"):
        load(tmp_path, outputs=(promised,))


def test_outputs_that_are_no_scores(tmp_path: Path) -> None:
    """
    Further outputs have shapes of their own; scores may be followed by dimensions of one.
    """
    model = tiny.graph()
    constants = {"squares": np.array([0, CLASSES, 1, 1])}
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    model.graph.node.extend(
        [
            helper.make_node("Reshape", ["logits", "squares"], ["square"]),
            helper.make_node("Cast", ["flat"], ["features"], to=onnx.TensorProto.FLOAT16),
        ]
    )
    model.graph.output.extend(
        [
            helper.make_tensor_value_info("square", onnx.TensorProto.FLOAT, None),
            helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT16, None),
        ]
    )
    outputs = (
        OutputTensor(name="features", kind="other", dtype="float16", shape=(-1,)),
        OutputTensor(name="square", kind="logits", shape=(CLASSES, 1, 1)),
    )
    outcome = load(tmp_path, model=model, outputs=outputs).run(tiny.pixels(3))
    assert outcome["features"].shape == (1, tiny.SIDE**2)
    assert as_scores(outcome["square"]).argmax(1).tolist() == [3]


def test_probabilities_that_are_others(tmp_path: Path) -> None:
    """
    The probabilities must be those of the logits: clients are answered from them.
    """
    with pytest.raises(ModelLoadError, match="probabilities"):
        load(tmp_path, model=tiny.graph(softmax_axis=0))


def test_graph_with_another_input(tmp_path: Path) -> None:
    """
    A graph that does not take what its manifest says is refused.
    """
    model = tiny.graph()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5
    with pytest.raises(ModelLoadError, match="the graph takes"):
        load(tmp_path, model=model)


def test_graph_without_an_output(tmp_path: Path) -> None:
    """
    An output that the manifest promises must be there.
    """
    promised = OutputTensor(name="scores", kind="logits")
    with pytest.raises(ModelLoadError, match="no output 'scores'"):
        load(tmp_path, outputs=(promised,))


def test_not_a_graph(tmp_path: Path) -> None:
    """
    A file that ONNX Runtime cannot open is named.
    """
    with pytest.raises(ModelLoadError, match=r"cannot open .*model\.onnx on"):
        load(tmp_path, model=onnx.ModelProto())


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_batch_sizes(largest: int, sizes: list[int]) -> None:
    """
    A model is warmed at powers of two and at its largest batch.
    """
    assert batch_sizes(largest) == sizes


def test_graph_that_fails_in_a_larger_batch(tmp_path: Path) -> None:
    """
    A graph that takes the golden images but no larger batch is found out before it serves.
    """
    baked = tiny.graph()
    baked.graph.initializer.append(numpy_helper.from_array(np.zeros((4, 5), np.float32), "same"))
    for node in baked.graph.node:
        if node.op_type == "Add":
            node.output[0] = "before"
    baked.graph.node.insert(
        len(baked.graph.node) - 2, helper.make_node("Add", ["before", "same"], ["logits"])
    )
    session = load(tmp_path, model=baked, max_batch_size=8)
    with pytest.raises(ModelLoadError, match="a batch of 2 images failed"):
        session.warm()
