"""Tensor rules: how elements travel over gRPC, and what is refused as INVALID_ARGUMENT."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.conformance.target import NOWHERE, Target, refused
from tests.conformance.tensors import FIELDS, arrays, assert_same, typed

Change = Callable[[Any], object]

WRONG_VALUES: dict[str, Any] = {
    "bool_contents": True,
    "int_contents": 1,
    "int64_contents": 1,
    "uint_contents": 1,
    "uint64_contents": 1,
    "fp32_contents": 1.0,
    "fp64_contents": 1.0,
    "bytes_contents": b"1",
}


@pytest.fixture
def in_field(target: Target) -> None:
    """Skip where the model's input has no typed field."""
    if any(spec.datatype not in FIELDS for spec in target.inputs):
        pytest.skip("the model's input has no typed field")


@pytest.fixture
def goes_on(target: Target) -> Iterator[None]:
    """Require that the server answers after any request."""
    yield
    target.assert_serves()


def test_answers_are_raw(target: Target) -> None:
    """Outputs are in `raw_output_contents`, one each and whole; clients read nothing else."""
    answer = target.call("ModelInfer", target.request(2))
    assert len(answer.raw_output_contents) == len(answer.outputs)
    assert not any(output.HasField("contents") for output in answer.outputs)
    for output, values in zip(answer.outputs, arrays(answer).values(), strict=True):
        assert values.size == np.prod(output.shape)


@pytest.mark.usefixtures("in_field")
def test_typed_contents(target: Target) -> None:
    """Elements in the typed field of their datatype mean the same as raw ones (OIP)."""
    request = typed(target.request(2), target.tensors(2))
    assert_same(arrays(target.call("ModelInfer", request)), target.infer(2))


@pytest.mark.usefixtures("in_field", "goes_on")
def test_raw_and_typed_together(target: Target) -> None:
    """Raw and typed contents exclude each other (OIP, raw_input_contents; Triton)."""
    request = typed(target.request(), target.tensors())
    request.raw_input_contents.extend(target.request().raw_input_contents)
    with refused("INVALID_ARGUMENT"):
        target.call("ModelInfer", request)


@pytest.mark.usefixtures("in_field", "goes_on")
@pytest.mark.parametrize("field", WRONG_VALUES)
def test_wrong_typed_field(target: Target, field: str) -> None:
    """Elements in the field of another datatype are refused (Triton)."""
    request = target.request()
    del request.raw_input_contents[:]
    spec, tensor = target.inputs[0], target.tensors()[0]
    if FIELDS[spec.datatype] == field:
        values: list[Any] = tensor.elements[:-1]  # its own field: one element too few
    else:
        values = [WRONG_VALUES[field]] * len(tensor.elements)
    getattr(request.inputs[0].contents, field).extend(values)
    with refused("INVALID_ARGUMENT"):
        target.call("ModelInfer", request)


@pytest.mark.usefixtures("in_field", "goes_on")
def test_two_typed_fields(target: Target) -> None:
    """Elements in the right field and in another one are refused (OIP: one field; Triton)."""
    request = typed(target.request(), target.tensors())
    other = "fp64_contents" if target.inputs[0].datatype != "FP64" else "fp32_contents"
    getattr(request.inputs[0].contents, other).extend([1.0, 2.0])
    with refused("INVALID_ARGUMENT"):
        target.call("ModelInfer", request)


@pytest.mark.usefixtures("in_field", "goes_on")
def test_typed_element_out_of_range(target: Target) -> None:
    """A typed element that its datatype cannot hold is refused: fields are wider than it."""
    limits = {"UINT8": 2**8, "UINT16": 2**16, "INT8": 2**7, "INT16": 2**15}
    if target.inputs[0].datatype not in limits:
        pytest.skip("the field of the model's datatype is as wide as it")
    request = typed(target.request(), target.tensors())
    contents = getattr(request.inputs[0].contents, FIELDS[target.inputs[0].datatype])
    contents[0] = limits[target.inputs[0].datatype]
    with refused("INVALID_ARGUMENT"):
        target.call("ModelInfer", request)


def _set(**values: Any) -> Change:
    def change(request: Any) -> None:
        for name, value in values.items():
            setattr(request.inputs[0], name, value)

    return change


def _shape(*added: int) -> Change:
    return lambda request: request.inputs[0].shape.extend(added)


def _first(size: int) -> Change:
    return lambda request: request.inputs[0].shape.__setitem__(0, size)


REFUSED: dict[str, Change] = {
    "no data": lambda request: request.raw_input_contents.pop(),
    "too many raw contents": lambda request: request.raw_input_contents.append(b"\0"),
    "a byte too few": lambda request: request.raw_input_contents.append(
        request.raw_input_contents.pop()[:-1]
    ),
    "a byte too many": lambda request: request.raw_input_contents.append(
        request.raw_input_contents.pop() + b"\0"
    ),
    "empty contents": lambda request: request.raw_input_contents.__setitem__(0, b""),
    "no shape": lambda request: request.inputs[0].ClearField("shape"),
    "another dimension": _shape(1),
    "a dimension less": lambda request: request.inputs[0].shape.pop(),
    "a negative dimension": _first(-1),
    "no rows": _first(0),
    "a row more than there are": _first(2),
    "a huge dimension": _first(2**62),
    "a product that wraps around": _shape(2**32, 2**32),
    "unknown datatype": _set(datatype="INT3"),
    "no datatype": _set(datatype=""),
    "datatype in small letters": lambda request: _set(datatype=request.inputs[0].datatype.lower())(
        request
    ),
    "unknown input": _set(name=NOWHERE),
    "no input name": _set(name=""),
    "no input": lambda request: (
        request.ClearField("inputs"),
        request.ClearField("raw_input_contents"),
    ),
    "an input twice": lambda request: (
        request.inputs.append(request.inputs[0]),
        request.raw_input_contents.append(request.raw_input_contents[0]),
    ),
    "unknown output": lambda request: request.outputs.add(name=NOWHERE),
    "no output name": lambda request: request.outputs.add(name=""),
}


@pytest.mark.usefixtures("goes_on")
@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_refused(target: Target, change: Change) -> None:
    """A request that does not fit the model is INVALID_ARGUMENT (all of OIP's servers)."""
    request = target.request()
    change(request)
    with refused("INVALID_ARGUMENT"):
        target.call("ModelInfer", request)


@pytest.mark.usefixtures("goes_on")
@pytest.mark.parametrize("datatype", [*FIELDS, "FP16", "BF16"])
def test_other_datatype(target: Target, datatype: str) -> None:
    """An input of another datatype is refused, even where its bytes would be as many (OIP)."""
    if datatype == target.inputs[0].datatype:
        return
    request = target.request()
    request.inputs[0].datatype = datatype
    with refused("INVALID_ARGUMENT"):
        target.call("ModelInfer", request)


@pytest.mark.usefixtures("batches")
def test_batch_too_large(target: Target) -> None:
    """A batch beyond the model's largest is refused (Triton, max_batch_size)."""
    if not target.told_max_batch_size:
        pytest.skip("the server does not tell the largest batch")
    with refused("INVALID_ARGUMENT"):
        target.call("ModelInfer", target.request(target.max_batch_size + 1))


@pytest.mark.parametrize("identifier", ["", "7", "Anfrage Nr. 7 ü", "x" * 4096])
def test_id_is_echoed(target: Target, identifier: str) -> None:
    """The answer carries the identifier of its request, and none if that has none (OIP, id)."""
    assert target.call("ModelInfer", target.request(id=identifier)).id == identifier


@pytest.mark.parametrize("reverse", [False, True])
def test_outputs_in_the_order_asked(target: Target, reverse: bool) -> None:
    """Only the outputs that are asked for come back, in that order (OIP, outputs)."""
    names = [spec.name for spec in target.outputs][:: -1 if reverse else 1]
    everything = target.infer()
    for wanted in (names, names[:1]):
        answer = target.infer(outputs=wanted)
        assert list(answer) == wanted
        assert_same(answer, {name: everything[name] for name in wanted})
