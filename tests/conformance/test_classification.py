"""Classification: the best classes in place of an output's values (Triton's extension)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.conformance.target import BAD_REQUEST, Target, refused
from tests.conformance.tensors import Array, Spec, arrays

pytestmark = pytest.mark.extension("classification")


@pytest.fixture
def scores(target: Target) -> Spec:
    """An output with a number for each class."""
    for spec in target.outputs:
        if len(spec.shape) == 2 and spec.datatype in ("FP32", "FP64") and spec.shape[1] > 1:
            return spec
    pytest.skip("no output of the model is [N, classes]")


def best(target: Target, output: str, count: object, batch: int = 1) -> Any:
    """Answer to a request for the best classes; *count* may be of any type."""
    request = target.request(batch)
    wanted = request.outputs.add(name=output)
    kind = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    setattr(wanted.parameters["classification"], kind[type(count)], count)
    return target.call("ModelInfer", request)


def parted(element: bytes) -> tuple[float, int, str]:
    """Value, index and label of one element; the label is empty if it has none."""
    value, index, *label = element.decode().split(":", 2)
    return float(value), int(index), label[0] if label else ""


def expected(values: Array, count: int) -> list[tuple[float, int]]:
    """The best classes of one row, best first."""
    order = np.argsort(-values, kind="stable")[:count]
    return [(float(values[index]), int(index)) for index in order]


@pytest.mark.parametrize("count", [1, 2, "all"])
@pytest.mark.parametrize("batch", [1, 3])
def test_best_classes(target: Target, scores: Spec, count: int | str, batch: int) -> None:
    """Elements are `value:index[:label]` of the output's own values, best first."""
    count = scores.shape[1] if count == "all" else int(count)
    batch = min(batch, target.max_batch_size)
    answer = best(target, scores.name, count, batch)
    (output,) = answer.outputs
    assert (output.name, output.datatype) == (scores.name, "BYTES")
    assert list(output.shape) == [batch, count]
    values = target.infer(batch)[scores.name]
    for row, elements in enumerate(arrays(answer)[scores.name]):
        found = [parted(element) for element in elements]
        assert [value for value, _, _ in found] == sorted((v for v, _, _ in found), reverse=True)
        wanted = expected(values[row], count)
        np.testing.assert_allclose(
            [value for value, _, _ in found], [value for value, _ in wanted], rtol=1e-3, atol=1e-4
        )
        np.testing.assert_allclose(
            [values[row, index] for _, index, _ in found], [value for value, _ in wanted], atol=1e-4
        )


def test_more_than_there_are(target: Target, scores: Spec) -> None:
    """More classes than the output has are all of them, each once."""
    answer = best(target, scores.name, scores.shape[1] + 5)
    assert list(answer.outputs[0].shape) == [1, scores.shape[1]]
    indices = [parted(element)[1] for element in arrays(answer)[scores.name][0]]
    assert sorted(indices) == list(range(scores.shape[1]))


@pytest.mark.parametrize("count", [0, -1, -(2**63), "2", True, 1.0])
def test_wrong_count(target: Target, scores: Spec, count: object) -> None:
    """A count below 1, or one that is no integer, is INVALID_ARGUMENT."""
    with refused("INVALID_ARGUMENT"):
        best(target, scores.name, count)


def test_other_outputs_stay(target: Target, scores: Spec) -> None:
    """Only the outputs that ask for it are classified."""
    request = target.request()
    request.outputs.add(name=scores.name).parameters["classification"].int64_param = 1
    others = [spec for spec in target.outputs if spec.name != scores.name]
    for spec in others:
        request.outputs.add(name=spec.name)
    answer = target.call("ModelInfer", request)
    assert [output.datatype for output in answer.outputs] == [
        "BYTES",
        *(spec.datatype for spec in others),
    ]


def test_labels_belong_to_indices(target: Target, scores: Spec) -> None:
    """A class has the same label in every answer, and no other class has it."""
    labels: dict[int, str] = {}
    for _, index, label in (
        parted(element)
        for row in arrays(best(target, scores.name, scores.shape[1], target.max_batch_size))[
            scores.name
        ]
        for element in row
    ):
        assert labels.setdefault(index, label) == label
    assert len(set(labels.values()) - {""}) in (0, len(labels))


@pytest.mark.rest
@pytest.mark.parametrize("in_binary", [False, True])
def test_same_over_http(target: Target, scores: Spec, in_binary: bool) -> None:
    """HTTP has the same elements: texts in JSON, or BYTES behind it."""
    parameters = {"classification": 2, "binary_data": in_binary}
    body = target.body(2, outputs=[{"name": scores.name, "parameters": parameters}])
    answer = target.rest.post(target.path("/infer"), body)
    (output,) = answer.json["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    found = [
        element if isinstance(element, bytes) else element.encode()
        for element in answer.arrays[scores.name].ravel()
    ]
    expected = arrays(best(target, scores.name, 2, 2))[scores.name].ravel()
    assert [parted(element)[1:] for element in found] == [
        parted(element)[1:] for element in expected
    ]


@pytest.mark.rest
@pytest.mark.parametrize("count", [0, -1, "2", True, 1.5])
def test_wrong_count_over_http(target: Target, scores: Spec, count: object) -> None:
    """A count below 1, or one that is no integer, is 400."""
    wanted = {"name": scores.name, "parameters": {"classification": count}}
    assert (
        target.rest.post(target.path("/infer"), target.body(outputs=[wanted])).status in BAD_REQUEST
    )
