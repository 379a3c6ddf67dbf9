"""The records of fronts, and the layout of a slot."""

import math

import numpy as np
import pytest

from convoy.artifact.manifest import OutputTensor
from convoy.service import errors
from convoy.service.serving.fronts.records import (
    DEMAND,
    ERRORS,
    METHODS,
    REPLY,
    Demand,
    Reply,
    decode_outputs,
    encode_outputs,
    error_index,
    slot_bytes,
)
from convoy.service.telemetry.metrics import INFERENCE_METHODS


def test_records_come_back() -> None:
    """
    Packing keeps every field of a record.
    """
    demand = Demand(3, 1, 4, 2**32 - 1, 7, 256, 2**40, 2**33, math.inf, 2**63)
    assert Demand(*DEMAND.unpack(DEMAND.pack(*demand))) == demand
    reply = Reply(2, 9, 1, 5, 2**31, 32, 1.5, 2.5, 0.1, 0.2, 0.3, 4.0)
    assert Reply(*REPLY.unpack(REPLY.pack(*reply))) == reply


def test_every_error_and_method_has_a_number() -> None:
    """
    An error keeps its class; one that nobody foresaw becomes an internal error.
    """
    for kind in vars(errors).values():
        known = isinstance(kind, type) and issubclass(kind, errors.ServiceError)
        if known and kind is not errors.ServiceError:
            assert ERRORS[error_index(kind("text"))] is kind
    assert ERRORS[error_index(ValueError("text"))] is errors.InternalError
    assert set(METHODS) == INFERENCE_METHODS | {""}


@pytest.mark.parametrize("images", [1, 3, 32])
def test_outputs_come_back(images: int) -> None:
    """
    Outputs of any type and shape, cut from those of a batch, fit into their slot and come back.
    """
    specs = [
        OutputTensor(name="logits", kind="logits", dtype="float16"),
        OutputTensor(name="flags", kind="other", dtype="bool", shape=(3,)),
        OutputTensor(name="boxes", kind="other", dtype="int64", shape=(2, 5)),
        OutputTensor(name="odd", kind="other", dtype="float32", shape=(7, 1)),
    ]
    batch = {
        "logits": np.random.default_rng(0).random((40, 11)).astype(np.float16),
        "flags": np.eye(40, 3, dtype=bool),
        "boxes": np.arange(400).reshape(40, 2, 5),
        # Not contiguous.
        "odd": np.arange(560, dtype=np.float32).reshape(40, 14, 1)[:, ::2],
    }
    outputs = {name: values[4 : 4 + images] for name, values in batch.items()}
    data = encode_outputs(outputs, specs)
    assert len(data) <= slot_bytes(0, specs, 11, images)
    found = decode_outputs(data, specs)
    for name, values in outputs.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)
