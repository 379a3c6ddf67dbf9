"""Graphs in which images influence each other, or in which chance decides, are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, helper, numpy_helper

from convoy.export.errors import ProofError
from convoy.pb.convoy.v1 import classifier_pb2
from tests.harness import foreign
from tests.harness.images import encode, gradient
from tests.harness.server import Serve


def between(
    before: str, nodes: Sequence[NodeProto], constants: dict[str, Any] | None = None
) -> onnx.ModelProto:
    """The usual classifier with *nodes*, which make `new`, between *before* and what reads it."""
    made = foreign.classifier()
    for node in made.graph.node:
        node.input[:] = ["new" if name == before else name for name in node.input]
    place = next(i for i, node in enumerate(made.graph.node) if before in node.output) + 1
    body = list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend([*body[:place], *nodes, *body[place:]])
    made.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in (constants or {}).items()
    )
    return made


def node(operator: str, inputs: str, outputs: str = "new", **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs.split(), outputs.split(), outputs, **attributes)


def statistics(scale: float, bias: float, mean: float, variance: float) -> dict[str, Any]:
    """The weights of a batch normalisation."""
    values = {"s": scale, "b": bias, "m": mean, "v": variance}
    return {name: np.full(foreign.FEATURES, value, np.float32) for name, value in values.items()}


TRAINING = node("BatchNormalization", "convolved s b m v", "new mean var", training_mode=1)
TRAINED = statistics(1.5, 0.1, 0.2, 2)

INFLUENCES = {
    "BatchNormalization new mean var in training mode": between("convolved", [TRAINING], TRAINED),
    "ReduceMax most": between(
        "features",
        [node("ReduceMax", "features", "most", axes=[0]), node("Add", "features most")],
    ),
    "ReduceSum sum": between(
        "features",
        [node("ReduceSum", "features axis", "sum"), node("Add", "features sum")],
        {"axis": np.array([0])},
    ),
    "MeanVarianceNormalization new": between(
        "convolved", [node("MeanVarianceNormalization", "convolved")]
    ),
    # Along the batch, by operators that do not show it.
    "": between(
        "features",
        [
            node("Transpose", "features", "turned", perm=[1, 0]),
            node("ReduceMean", "turned", "average", axes=[1]),
            node("Transpose", "average", "level", perm=[1, 0]),
            node("Add", "features level"),
        ],
    ),
}
ALONG_BATCH = between("features", [node("Softmax", "features", axis=0)])


@pytest.mark.parametrize("tolerance", [None, 0.99])
@pytest.mark.parametrize("operator", INFLUENCES)
def test_influence_is_refused(tmp_path: Path, operator: str, tolerance: float | None) -> None:
    """
    The message names the operator and both remedies; no tolerance makes it acceptable.
    """
    file = foreign.save(INFLUENCES[operator], tmp_path / "x.onnx")
    with pytest.raises(ProofError) as refused:
        foreign.run(file, tmp_path, golden_tolerance=tolerance)
    message = str(refused.value)
    assert "images of a batch influence each other: at batch 2" in message
    assert (f" ({operator}). No" if operator else "neighbours. No") in message
    assert "in eval mode (PyTorch: model.eval()), or give --max-batch-size 1" in message
    assert "--golden-tolerance" not in message


@pytest.mark.parametrize("tolerance", [None, 0.99])
def test_batch_of_one_is_no_remedy(tmp_path: Path, tolerance: float | None) -> None:
    """
    It is not offered if the graph gives all images the same scores then, and refused if given.
    """
    file = foreign.save(ALONG_BATCH, tmp_path / "x.onnx")
    with pytest.raises(ProofError, match=r"\(Softmax new\)\. No tolerance .*model\.eval\(\)\)$"):
        foreign.run(file, tmp_path, golden_tolerance=tolerance)
    with pytest.raises(ProofError, match=r"same answer .*eval mode \(PyTorch: model\.eval\(\)\)"):
        foreign.run(file, tmp_path, max_batch_size=1)


def test_influence_in_large_batches_only(tmp_path: Path) -> None:
    """
    The largest batch is tested as well as pairs.
    """
    # In a batch of 20 or more, the features of the first image are added to those of all.
    made = between(
        "features",
        [
            node("Gather", "features zero", "first", axis=0),
            node("Shape", "features", "size", start=0, end=1),
            node("Greater", "size nineteen", "is_large"),
            node("Cast", "is_large", "share", to=onnx.TensorProto.FLOAT),
            node("Mul", "first share", "added"),
            node("Add", "features added"),
        ],
        {"zero": np.array([0]), "nineteen": np.array([19])},
    )
    file = foreign.save(made, tmp_path / "x.onnx")
    with pytest.raises(ProofError, match="at batch 32 the scores of an image change"):
        foreign.run(file, tmp_path)
    foreign.run(file, tmp_path, max_batch_size=19)


def test_little_influence(tmp_path: Path) -> None:
    """
    A batch normalisation in training mode is refused even if it changes less than rounding may.
    """
    made = between(
        "convolved",
        [
            node("BatchNormalization", "convolved s b m v", "normal mean var", training_mode=1),
            node("Mul", "normal little", "added"),
            node("Add", "convolved added"),
        ],
        TRAINED | {"little": np.float32(1e-4)},
    )
    file = foreign.save(made, tmp_path / "x.onnx")
    with pytest.raises(ProofError, match=r"change by [1-9]\.\de-05 .*\(BatchNormalization normal"):
        foreign.run(file, tmp_path)


async def test_one_image_at_a_time(tmp_path: Path, serve: Serve) -> None:
    """
    With --max-batch-size 1 an image's neighbours do not matter, in one call and in several; import
    says whose statistics these are.
    """
    file = foreign.save(between("convolved", [TRAINING], TRAINED), tmp_path / "x.onnx")
    artifact, told = foreign.run(file, tmp_path / "models", max_batch_size=1)
    assert artifact.manifest.max_batch_size == 1
    assert "var in training mode: each image is normalised by its own statistics" in told
    images = [encode(gradient().rotate(angle)) for angle in (0, 90, 180, 270)]
    async with serve(model_repository=tmp_path / "models") as running:
        alone = [
            await running.classifier.Classify(
                classifier_pb2.ClassifyRequest(image=image, model="foreign")
            )
            for image in images
        ]
        together = await running.classifier.ClassifyBatch(
            classifier_pb2.ClassifyBatchRequest(images=images, model="foreign")
        )
    for one, outcome in zip(alone, together.outcomes, strict=True):
        assert outcome.response.predictions == one.predictions


@pytest.mark.parametrize("options", [{}, {"max_batch_size": 1}, {"golden_tolerance": 0.99}])
def test_statistics_that_change(tmp_path: Path, options: dict[str, Any]) -> None:
    """
    A run that changes the weights of the next one is refused with any options.

    ONNX Runtime keeps equal weights once, and updates the statistics of training in place.
    """
    made = between("convolved", [TRAINING], statistics(1, 0, 0, 1))
    file = foreign.save(made, tmp_path / "x.onnx")
    with pytest.raises(ProofError, match=r"changed by each run: .*\(BatchNorm.*model\.eval\(\)"):
        foreign.run(file, tmp_path, **options)


RANDOM = {
    "RandomNormalLike noise": between(
        "features",
        [node("RandomNormalLike", "features", "noise", scale=1e-6), node("Add", "features noise")],
    ),
    "RandomUniform noise": between(
        "features",
        [node("RandomUniform", "", "noise", shape=[1], seed=1.0), node("Mul", "features noise")],
    ),
    # A layer that is left out once in a hundred thousand runs.
    "RandomUniformLike chance": between(
        "features",
        [
            node("RandomUniformLike", "features", "chance"),
            node("Greater", "chance rare", "is_kept"),
            node("Cast", "is_kept", "kept", to=onnx.TensorProto.FLOAT),
            node("Mul", "features kept"),
        ],
        {"rare": np.float32(1e-5)},
    ),
    "Dropout new": between(
        "features",
        [node("Dropout", "features half yes")],
        {"half": np.float32(0.5), "yes": np.array(True)},
    ),
}


@pytest.mark.parametrize("operator", RANDOM)
@pytest.mark.parametrize("options", [{}, {"max_batch_size": 1}, {"golden_tolerance": 0.99}])
def test_chance_is_refused(tmp_path: Path, operator: str, options: dict[str, Any]) -> None:
    """
    A graph that may answer otherwise in the next run is refused with any options, however small or
    rare the difference is.
    """
    file = foreign.save(RANDOM[operator], tmp_path / "x.onnx")
    with pytest.raises(ProofError, match=rf"graph is random: .* on {operator}\. .*model\.eval\(\)"):
        foreign.run(file, tmp_path, **options)


@pytest.mark.parametrize(
    "made",
    [
        between(
            "features",
            [node("Dropout", "features half no")],
            {"half": np.float32(0.5), "no": np.array(False)},
        ),
        between("features", [node("Dropout", "features")]),
        between(
            "features",
            [node("Dropout", "features none yes")],
            {"none": np.float32(0), "yes": np.array(True)},
        ),
        between("convolved", [node("BatchNormalization", "convolved s b m v")], TRAINED),
        between(
            "convolved",
            [node("InstanceNormalization", "convolved s b")],
            {name: TRAINED[name] for name in "sb"},
        ),
        # Its range is that of the batch, which moves scores by less than int8 may.
        between(
            "features",
            [
                node("DynamicQuantizeLinear", "features", "bytes scale zero"),
                node("DequantizeLinear", "bytes scale zero"),
            ],
        ),
        # Random numbers that the scores do not depend on.
        between(
            "features",
            [node("RandomNormalLike", "features", "noise"), node("Identity", "features")],
        ),
    ],
)
def test_eval_mode_is_taken(tmp_path: Path, made: onnx.ModelProto) -> None:
    """
    The same operators in eval mode are no fault.
    """
    artifact, told = foreign.run(foreign.save(made, tmp_path / "x.onnx"), tmp_path)
    assert artifact.manifest.max_batch_size == 32
    assert "training mode" not in told
