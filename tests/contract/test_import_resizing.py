"""Import's options about sizes: images become what the network was trained with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from convoy.__main__ import main
from convoy.artifact.preprocess import image_to_input, preprocess
from convoy.artifact.repository import ModelRepository
from convoy.export.errors import GraphError
from convoy.service.runtime.device import Device
from convoy.service.runtime.session import Session
from tests.harness.foreign import CLASSES, SIDE, made, run
from tests.harness.images import encode

CPU = Device(policy="cpu", cores=1)
NEAREST, BILINEAR = Image.Resampling.NEAREST, Image.Resampling.BILINEAR


def wide() -> Image.Image:
    """A wide image that is red at both ends, which a centre crop loses."""
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, :15, 0] = pixels[:, 45:, 0] = 255
    pixels[::3] //= 2
    return Image.fromarray(pixels)


@pytest.mark.parametrize("filter_", [NEAREST, BILINEAR])
def test_squashed_image_gets_the_answer_of_its_own_network(
    tmp_path: Path, filter_: Image.Resampling
) -> None:
    """
    A network that was trained on squashed images answers as it does to Pillow's pixels.
    """
    file = made(tmp_path)
    flags = ["--resize-mode", "squash", "--interpolation", filter_.name.lower(), "--name", "net"]
    assert main(["import", str(file), "--model-repository", str(tmp_path / "models"), *flags]) == 0
    artifact = ModelRepository(tmp_path / "models").read("net", 1)
    image = encode(wide())
    pixels = np.asarray(wide().resize((SIDE, SIDE), filter_))
    assert np.array_equal(preprocess(image, artifact.manifest.preprocessing), pixels)
    batch = (pixels[np.newaxis].transpose(0, 3, 1, 2) / 255).astype(np.float32)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"pixels": batch})
    served = Session(artifact, CPU).run(image_to_input(image, artifact.manifest)[np.newaxis])
    assert served["logits"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("flags", "description"),
    [
        ([], "shorter side resized to 8 (bilinear), cropped to 8x8"),
        (["--resize", "12"], "shorter side resized to 12 (bilinear), cropped to 8x8"),
        (["--resize", "8x8"], "squashed to 8x8 (bilinear)"),
        (["--resize", "10x9"], "squashed to 10x9 (bilinear), cropped to 8x8"),
        (["--resize-mode", "squash", "--resize", "9"], "squashed to 9x9 (bilinear), cropped"),
        (
            ["--resize-mode", "letterbox", "--fill", "114"],
            "resized to fit into 8x8 (bilinear), filled with (114, 114, 114)",
        ),
        (["--no-antialias", "--interpolation", "bicubic"], "(bicubic, not antialiased)"),
        (["--color", "BGR"], "large JPEGs decoded smaller, BGR"),
    ],
)
def test_options(tmp_path: Path, flags: list[str], description: str) -> None:
    """
    Each option is written into the manifest; without any, the shorter side is resized and cropped.
    """
    file, root = made(tmp_path), tmp_path / "models"
    assert main(["import", str(file), "--model-repository", str(root), "--name", "n", *flags]) == 0
    manifest = ModelRepository(root).read("n", 1).manifest
    assert description in manifest.preprocessing.description


@pytest.mark.parametrize(
    ("flags", "scaled"),
    [
        ([], True),
        (["--no-scaled-decoding"], False),
        (["--no-antialias"], False),
        (["--interpolation", "nearest"], False),
    ],
)
def test_scaled_decoding(tmp_path: Path, flags: list[str], scaled: bool) -> None:
    """
    New models decode large JPEGs smaller, unless the user or the way of resizing forbids it.
    """
    file, root = made(tmp_path), tmp_path / "models"
    assert main(["import", str(file), "--model-repository", str(root), "--name", "n", *flags]) == 0
    manifest = ModelRepository(root).read("n", 1).manifest
    assert manifest.preprocessing.scaled_decoding is scaled


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize": (8, 9), "resize_mode": "crop"}, "--resize 8x9 names height and width"),
        ({"resize": (8, 7)}, "--resize 8x7 is smaller than the crop, 8x8: raise it"),
        ({"resize": 7, "resize_mode": "squash"}, "--resize 7 is smaller than the crop, 8x8"),
        ({"fill": (1,)}, "--fill is for --resize-mode letterbox"),
        ({"fill": (1, 2), "resize_mode": "letterbox"}, "--fill has 2 numbers, .* 3 channels"),
        ({"antialias": False, "interpolation": "box"}, "--interpolation box is always antialiased"),
    ],
)
def test_options_that_disagree(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """
    Options that contradict each other are refused by name.
    """
    with pytest.raises(GraphError, match=message):
        run(made(tmp_path), tmp_path / "models", **options)


def test_squashed_size_of_another_ratio(tmp_path: Path) -> None:
    """
    One number cannot be both sides of an input that is no square.
    """
    file = made(tmp_path, sides=(6, 8))
    with pytest.raises(GraphError, match="give --resize HEIGHTxWIDTH"):
        run(file, tmp_path, resize=9, resize_mode="squash")
    artifact, _ = run(file, tmp_path, resize_mode="squash")
    assert artifact.manifest.preprocessing.resize_px == (6, 8)


def test_description_next_to_the_file(tmp_path: Path) -> None:
    """
    An artifact is made as the files next to the graph say, and the import prints what they said.
    """
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": SIDE, "width": SIDE},
        "resample": 3,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    names = {str(index): f"label {index}" for index in range(CLASSES)}
    (tmp_path / "config.json").write_text(json.dumps({"id2label": names}))
    artifact, told = run(made(tmp_path), tmp_path / "models")
    assert artifact.manifest.labels == tuple(names.values())
    assert "metadata: found in config.json: 5 labels" in told
    assert "found in preprocessor_config.json: --resize 8x8, --resize-mode squash" in told
    pixels = np.asarray(wide().resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float64)
    item = image_to_input(encode(wide()), artifact.manifest)
    assert item == pytest.approx((pixels / 255 - 0.5).transpose(2, 0, 1) / 0.5, abs=1e-6)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"id2label": {"0": "a", "1": "b"}}, "no scores of 2 classes"),
        ({"pretrained_cfg": {"input_size": [1, 8, 8]}}, "--color L has 1 channels"),
    ],
)
def test_description_of_another_graph(
    tmp_path: Path, document: dict[str, Any], message: str
) -> None:
    """
    A description that does not fit the graph is named, with the way to go on without it.
    """
    (tmp_path / "config.json").write_text(json.dumps(document))
    with pytest.raises(GraphError, match=f"{message}.* found in config.json: .*--no-metadata"):
        run(made(tmp_path), tmp_path / "models")
    artifact, _ = run(made(tmp_path), tmp_path / "models", metadata=False)
    assert artifact.manifest.labels[0] == "class 0"


@pytest.mark.parametrize("size", ["0", "0x5", "x", "5000", "5x5x5", "a"])
def test_size_that_is_none(tmp_path: Path, size: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A size that is no number of pixels is refused before the file is read.
    """
    assert main(["import", str(tmp_path / "none.onnx"), "--resize", size]) == 2
    assert capsys.readouterr().err.startswith("convoy import: --resize: ")
