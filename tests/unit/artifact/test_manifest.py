from typing import Any

import pytest
from pydantic import ValidationError

from convoy.artifact.manifest import (
    InputTensor,
    Manifest,
    Normalization,
    OutputTensor,
    Preprocessing,
)
from tests.harness import tiny


def test_json_round_trip() -> None:
    """
    A manifest is read as it was written.
    """
    manifest = tiny.manifest()
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-x", "x" * 65, "a b", "ü"])
def test_names_that_are_no_folder_and_label(name: str) -> None:
    """
    A name can neither climb out of the repository nor break a metric.
    """
    with pytest.raises(ValidationError):
        tiny.manifest(name=name)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 0},
        {"labels": ("one",)},
        {"model_sha256": "0"},
        {"normalization": Normalization(mean=(0.5,) * 3, std=(0.5,), where="graph")},
        {"normalization": Normalization(mean=(0.5,), std=(0.5,) * 3, where="graph")},
        {"normalization": Normalization(mean=(0.5,), std=(0.5,), where="server")},
        {
            "preprocessing": Preprocessing(
                color="L", resize_px=4, crop_height_px=4, crop_width_px=4, pad_px=1
            )
        },
        {
            "input": InputTensor(
                name="image", dtype="uint8", layout="NHWC", channels=3, height=4, width=4
            )
        },
        {"outputs": (OutputTensor(name="features", kind="other", shape=(512,)),)},
        {"outputs": (OutputTensor(name="logits", kind="logits", shape=(6,)),)},
        {"outputs": (OutputTensor(name="logits", kind="logits", shape=(5, -1)),)},
        {"outputs": (OutputTensor(name="logits", kind="logits", dtype="int64"),)},
        {"outputs": tuple(OutputTensor(name=k, kind=k) for k in ("logits", "independent"))},
    ],
)
def test_parts_that_disagree(changes: dict[str, Any]) -> None:
    """
    A manifest that contradicts itself is refused.
    """
    with pytest.raises(ValidationError):
        tiny.manifest(**changes)


def test_unknown_field() -> None:
    """
    Unknown fields are refused.
    """
    with pytest.raises(ValidationError, match="extra"):
        tiny.manifest(extra=1)


def test_crop_larger_than_image() -> None:
    """
    A crop must fit into what resizing leaves.
    """
    with pytest.raises(ValidationError, match="crop"):
        Preprocessing(color="L", resize_px=4, crop_height_px=5, crop_width_px=4)
