"""Labels and preprocessing that the author of a graph wrote down are found, and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from convoy.artifact.manifest import Normalization, Preprocessing
from convoy.export.errors import DataError, GraphError
from convoy.export.importing.import_settings import ImportSettings
from convoy.export.importing.metadata import Completion, complete
from convoy.export.importing.signature import read_signature
from convoy.export.onnx.source import read
from tests.harness import foreign

PROCESSOR = "preprocessor_config.json"
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
TENCH = {"names": "{0: 'tench', 1: 'goldfish'}"}
CLASSIFY = {"task": "classify", "imgsz": "[8, 8]"}


def graph(folder: Path, properties: dict[str, str] | None = None, **arguments: Any) -> Path:
    """A graph of 8x8 pixels with these properties, in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    made = foreign.classifier(**arguments)
    helper.set_model_props(made, properties or {})
    return foreign.save(made, folder / "model.onnx")


def completed(
    folder: Path, document: Any = None, name: str = PROCESSOR, **options: Any
) -> Completion:
    """The completion for the graph in *folder*, with *document* next to it."""
    if document is not None:
        (folder / name).write_text(json.dumps(document))
    file = folder / "model.onnx"
    return complete(ImportSettings(file=file, **options), read(file))


def spec(completion: Completion) -> tuple[Preprocessing, Normalization]:
    signature = read_signature(read(completion.settings.file), completion.settings)
    return signature.preprocessing, signature.normalization


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        # Both sides; the shorter side with a crop; ConvNeXt's two ways; a share of the crop.
        ({"size": {"height": 8, "width": 8}}, {"resize_px": (8, 8)}),
        (
            {"size": {"shortest_edge": 9}, "do_center_crop": True, "crop_size": 8},
            {"resize_px": 9},
        ),
        (
            {
                "size": {"height": 10, "width": 9},
                "do_center_crop": True,
                "crop_size": {"height": 8, "width": 8},
            },
            {"resize_px": (10, 9)},
        ),
        ({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 8}}, 9),
        (
            {
                "image_processor_type": "ConvNextImageProcessorFast",
                "size": {"shortest_edge": 8},
                "crop_pct": 0.5,
            },
            16,
        ),
        ({"image_processor_type": "PoolFormerImageProcessor", "size": {"shortest_edge": 8}}, 8),
        ({"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 8}}, 9),
        # Files of before 2023.
        ({"feature_extractor_type": "ViTFeatureExtractor", "size": 8}, (8, 8)),
        ({"feature_extractor_type": "CLIPFeatureExtractor", "size": 9, "crop_size": 8}, 9),
        ({"feature_extractor_type": "DeiTFeatureExtractor", "size": 9, "crop_size": 8}, (9, 9)),
        # Numbers and names of filters.
        (
            {"size": {"height": 8, "width": 8}, "resample": 0},
            {"resize_px": (8, 8), "interpolation": "nearest"},
        ),
        (
            {"size": {"height": 8, "width": 8}, "resample": 2},
            {"resize_px": (8, 8), "interpolation": "bilinear"},
        ),
        (
            {"size": {"height": 8, "width": 8}, "resample": "lanczos"},
            {"resize_px": (8, 8), "interpolation": "lanczos"},
        ),
        (
            {"size": {"height": 8, "width": 8}, "do_flip_channel_order": True},
            {"resize_px": (8, 8), "color": "BGR"},
        ),
    ],
)
def test_sizes_of_transformers(tmp_path: Path, document: dict[str, Any], expected: Any) -> None:
    """
    Each image processor's sizes, filter and colours are read by its own rules.
    """
    graph(tmp_path)
    is_vit = "ViT" in document.get("feature_extractor_type", "")
    usual = {"color": "RGB", "interpolation": "bilinear" if is_vit else "bicubic"}
    changes = expected if isinstance(expected, dict) else {"resize_px": expected}
    preprocessing, normalization = spec(completed(tmp_path, HALF | document))
    assert preprocessing == Preprocessing(
        scaled_decoding=preprocessing.averages,
        crop_height_px=8,
        crop_width_px=8,
        crop_offset="down",
        **(usual | changes),
    )
    assert (normalization.mean, normalization.std) == ((0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize(
    ("document", "mean", "std"),
    [
        ({}, 0.5, 0.25),
        ({"do_normalize": False}, 0, 1),
        ({"do_rescale": False, "do_normalize": False}, 0, 1 / 255),
        ({"do_rescale": False, "image_mean": 51, "image_std": 102}, 0.2, 0.4),
        ({"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False}, 0.5, 0.5),
        ({"image_processor_type": "EfficientNetImageProcessor"}, 0.5, 0.0625),
        ({"image_processor_type": "EfficientNetImageProcessor", "include_top": False}, 0.5, 0.25),
        ({"image_processor_type": "MobileViTImageProcessor"}, 0, 1),
    ],
)
def test_normalisation_of_transformers(
    tmp_path: Path, document: dict[str, Any], mean: float, std: float
) -> None:
    """
    Factor, offset, mean and std become those of pixels from 0 to 1.
    """
    graph(tmp_path)
    size = {"size": {"height": 8, "width": 8}, "do_center_crop": False}
    _, normalization = spec(completed(tmp_path, HALF | size | document))
    assert normalization.mean == pytest.approx((mean,) * 3)
    assert normalization.std == pytest.approx((std,) * 3)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"size": {"shortest_edge": 8}}, "keep their ratio and are not cropped"),
        ({"size": {"longest_edge": 8}}, "a size of longest_edge is not supported"),
        ({"size": {"height": 8, "width": 8}, "do_resize": False}, "the server resizes every image"),
        ({"do_resize": False, "do_center_crop": True, "crop_size": 8}, "do_resize false takes"),
        ({}, "states no size for its images; give --resize or --resize-mode"),
        ({"size": None}, "states no size for its images"),
        ({"image_processor_type": "BeitImageProcessor"}, "states no size for its images"),
        ({"size": {"height": 8, "width": 8}, "do_pad": True}, "do_pad true"),
        ({"size": "8"}, "its sizes cannot be read"),
        ({"size": [8]}, "its sizes cannot be read"),
        ({"size": 8, "image_mean": None}, "states no image_mean, .*; give --mean and --std, or"),
        ({"size": 8, "image_std": None}, "states no image_std, .*; give --mean and --std, or"),
        ({"size": 8, "image_mean": [0.5] * 4}, "its mean has 4 numbers, but the input has 3 chan"),
        (
            {"size": 8, "image_std": [0.5] * 2},
            "its std has 2 numbers, but the input has 3 channels",
        ),
        ({"size": 8, "image_std": [0.0]}, "its std is .*greater than 0"),
        ({"size": 8, "resample": 9}, "its filter cannot be read"),
        ({"size": 8, "resample": "cubic"}, "its interpolation is 'cubic'"),
        (
            {"size": 8, "image_processor_type": "PerceiverImageProcessor"},
            "a crop before resizing is not supported",
        ),
    ],
)
def test_descriptions_that_cannot_be_followed(
    tmp_path: Path, document: dict[str, Any], message: str
) -> None:
    """
    A file that cannot be followed is named with the options that replace it; --no-metadata and
    these options let the import go on.
    """
    graph(tmp_path)
    with pytest.raises(DataError, match=rf"{PROCESSOR}: .*{message}") as caught:
        completed(tmp_path, HALF | document)
    assert "--no-metadata" in str(caught.value)
    assert completed(tmp_path, metadata=False).settings.mean == (0,)
    given: dict[str, Any] = {"resize": 9, "interpolation": "box", "color": "RGB", "mean": (0.5,)}
    assert spec(completed(tmp_path, **given))[0].resize_px == 9


@pytest.mark.parametrize(
    ("cfg", "expected"),
    [
        ({"crop_pct": 0.8}, {"resize_px": 10}),
        ({}, {"resize_px": 9}),
        ({"crop_pct": 0.8, "crop_mode": "squash"}, {"resize_px": (10, 10)}),
        (
            {"crop_pct": 1.0, "crop_mode": "border"},
            {"resize_px": (8, 8), "letterbox": (128, 64, 0)},
        ),
        (
            {"input_size": [3, 6, 6], "test_input_size": [3, 8, 8], "test_crop_pct": 1.0},
            {"resize_px": 8},
        ),
        ({"input_size": [3, 224, 224], "crop_pct": 0.5}, {"resize_px": 16}),
        ({"interpolation": "bilinear"}, {"resize_px": 9, "interpolation": "bilinear"}),
    ],
)
@pytest.mark.parametrize("is_nested", [True, False])
def test_timm(
    tmp_path: Path, cfg: dict[str, Any], expected: dict[str, Any], is_nested: bool
) -> None:
    """
    timm's crop mode, share and sizes apply to the graph's own input.
    """
    graph(tmp_path)
    cfg = {"input_size": [3, 8, 8], "mean": [0.5, 0.25, 0], "std": [0.5, 0.5, 0.5]} | cfg
    document = {"architecture": "resnet50", "pretrained_cfg": cfg} if is_nested else cfg
    preprocessing, normalization = spec(completed(tmp_path, document, "config.json"))
    assert preprocessing == Preprocessing(
        scaled_decoding=True,
        **{"color": "RGB", "interpolation": "bicubic", "crop_height_px": 8, "crop_width_px": 8}
        | expected,
    )
    assert normalization.mean == (0.5, 0.25, 0)


@pytest.mark.parametrize(
    ("properties", "sides", "expected"),
    [
        (CLASSIFY, (8, 8), 8),
        (CLASSIFY | {"imgsz": "8"}, ("h", "w"), 8),
        (CLASSIFY | {"imgsz": "[6, 8]"}, ("h", "w"), (6, 8)),
    ],
)
def test_ultralytics(
    tmp_path: Path, properties: dict[str, str], sides: tuple[Any, Any], expected: Any
) -> None:
    """
    Ultralytics resizes the shorter side and crops; pixels stay between 0 and 1.
    """
    graph(tmp_path, TENCH | properties, sides=sides)
    completion = completed(tmp_path)
    preprocessing, normalization = spec(completion)
    assert (preprocessing.resize_px, preprocessing.interpolation) == (expected, "bilinear")
    assert (normalization.mean, normalization.std) == ((0, 0, 0), (1, 1, 1))
    assert completion.labels == ("tench", "goldfish")
    assert completion.notes[0].startswith("metadata: found in model.onnx, metadata: 2 labels, ")


@pytest.mark.parametrize(
    ("pixel_range", "mean", "std"),
    [("NominalRange_0_255", 0, 1 / 255), ("Normalized_0_1", 0, 1), ("Normalized_1_1", 0.5, 0.5)],
)
def test_windows_ml(tmp_path: Path, pixel_range: str, mean: float, std: float) -> None:
    """
    Custom Vision's order of channels and range of pixels are those of ONNX's own metadata.
    """
    properties = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": pixel_range}
    graph(tmp_path, properties)
    preprocessing, normalization = spec(completed(tmp_path))
    assert preprocessing.color == "BGR"
    assert (normalization.mean, normalization.std) == ((mean,) * 3, (std,) * 3)


@pytest.mark.parametrize(
    ("properties", "files", "expected"),
    [
        (TENCH, {"labels.txt": "a\nb"}, ("tench", "goldfish")),
        ({"labels": '["a", "b"]'}, {}, ("a", "b")),
        ({"classes": "a, b"}, {}, ("a", "b")),
        ({"class_names": "a\nb\n"}, {}, ("a", "b")),
        ({"names": '{"1": "b", "0": "a"}'}, {}, ("a", "b")),
        ({}, {"config.json": {"id2label": {"0": "a", "1": "b"}}, "labels.txt": "c\nd"}, ("a", "b")),
        (
            {},
            {"config.json": {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, "labels.txt": "c\nd"},
            ("c", "d"),
        ),
        ({}, {"config.json": {"label2id": {"b": 1, "a": 0}}}, ("a", "b")),
        ({}, {"config.json": {"label_names": ["a", "b"], "num_classes": 2}}, ("a", "b")),
        ({}, {"config.json": {"layers": 3}, "classes.txt": "a\nb\n"}, ("a", "b")),
        ({}, {"model.labels.txt": "a\nb\n", "labels.txt": "c\nd\n"}, ("a", "b")),
        ({}, {"class_indices.json": {"b": 1, "a": 0}}, ("a", "b")),
        ({}, {"README.txt": "a\nb\n"}, None),
    ],
)
@pytest.mark.parametrize("folder", [".", "onnx"])
def test_labels(
    tmp_path: Path, properties: dict[str, str], files: dict[str, Any], expected: Any, folder: str
) -> None:
    """
    Labels come from the file, else from files next to it or above its folder `onnx`.
    """
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text)
    graph(tmp_path / folder, properties)
    if folder == "onnx" and "model.labels.txt" in files:
        (tmp_path / "model.labels.txt").rename(tmp_path / "onnx" / "model.labels.txt")
    assert completed(tmp_path / folder).labels == expected


@pytest.mark.parametrize(
    ("kind", "side", "resize", "interpolation"),
    [
        ("ViTImageProcessor", 8, (8, 8), "bilinear"),
        ("ViTFeatureExtractor", 8, (8, 8), "bilinear"),
        ("ViTImageProcessorFast", "open", (224, 224), "bilinear"),
        ("SegformerImageProcessor", 8, (8, 8), "bilinear"),
        ("EfficientNetImageProcessor", 8, (8, 8), "nearest"),
        ("DeiTImageProcessor", 224, (256, 256), "bicubic"),
        ("CLIPImageProcessor", 224, 224, "bicubic"),
        ("MobileNetV2ImageProcessor", 224, 256, "bilinear"),
        ("LevitImageProcessor", 224, 256, "bicubic"),
        ("PoolFormerImageProcessor", 224, 248, "bicubic"),
        ("ConvNextImageProcessor", 384, (384, 384), "bicubic"),
    ],
)
def test_sizes_that_transformers_leaves_out(
    tmp_path: Path, kind: str, side: Any, resize: Any, interpolation: str
) -> None:
    """
    A file without sizes means those of its class; a class that squashes does so to the input.
    """
    graph(tmp_path, sides=(side, side))
    preprocessing, _ = spec(completed(tmp_path, HALF | {"image_processor_type": kind}))
    crop = 224 if side == "open" else side
    assert (preprocessing.resize_px, preprocessing.interpolation) == (resize, interpolation)
    assert (preprocessing.crop_height_px, preprocessing.crop_width_px) == (crop, crop)


def test_filter_of_mobile_vit(tmp_path: Path) -> None:
    """
    MobileViT, which crops more than it resizes to unless its file says so, interpolates linearly.
    """
    graph(tmp_path)
    size = {"size": {"shortest_edge": 9}, "crop_size": 8}
    document = {"image_processor_type": "MobileViTImageProcessor"} | size
    assert spec(completed(tmp_path, document))[0].interpolation == "bilinear"


def test_size_of_a_class_that_does_not_fit(tmp_path: Path) -> None:
    """
    The crop of a class, which its file leaves out, is not replaced by the input's size.
    """
    graph(tmp_path)
    completion = completed(tmp_path, HALF | {"image_processor_type": "DeiTImageProcessor"})
    with pytest.raises(GraphError, match="takes 8x8 pixels, which is not --crop 224x224"):
        spec(completion)


@pytest.mark.parametrize(
    "name", [PROCESSOR, "processor_config.json", "config.json", "pretrained_cfg.json"]
)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"size": 8, "image_me', "is not valid JSON: Unterminated string"),
        (b"", "is not valid JSON"),
        (b"\xff{}", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"[]", "holds no JSON object"),
        (b'{"pretrained_cfg": [3, 8, 8]}', "has a pretrained_cfg that is no JSON object"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """
    A file that cannot be read is refused by its name, even if another one states everything.
    """
    graph(tmp_path, TENCH | CLASSIFY)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} {message}.*; repair it, or .*--no-metadata$"):
        completed(tmp_path)
    assert completed(tmp_path, metadata=False).labels is None


@pytest.mark.parametrize(
    ("name", "content"),
    [("labels.json", b'["a", "b'), ("labels.txt", b"\xff"), ("labels.txt", b"")],
)
def test_labels_that_cannot_be_read(tmp_path: Path, name: str, content: bytes) -> None:
    """
    A file of labels that cannot be read is refused by its name.
    """
    graph(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}.*; give --labels, or .*--no-metadata"):
        completed(tmp_path)
    assert completed(tmp_path, metadata=False).labels is None


def test_option_of_another_type(tmp_path: Path) -> None:
    """
    A mean in MLflow's file that was written by hand is named.
    """
    graph(tmp_path)
    (tmp_path / "MLmodel").write_text("metadata: {convoy: {mean: 0.5}}")
    with pytest.raises(DataError, match=r"MLmodel: its mean is 0\.5: .*; give --mean, or ignore"):
        completed(tmp_path)


def test_channels_of_an_open_shape(tmp_path: Path) -> None:
    """
    A mean is compared with the channels of the file's colours if the graph leaves them open.
    """
    graph(tmp_path, sides=("height", "width"), channels="num_channels")
    with pytest.raises(DataError, match=rf"^{PROCESSOR}: its mean has 4 numbers"):
        completed(tmp_path, HALF | {"size": 8, "image_mean": [0.5] * 4})


@pytest.mark.parametrize("options", [{}, {"layout": "NCHW"}])
def test_four_channels(tmp_path: Path, options: dict[str, Any]) -> None:
    """
    A graph of four channels is refused at once, with and without its layout.
    """
    graph(tmp_path, channels=4)
    settings = ImportSettings(file=tmp_path / "model.onnx", **options)
    with pytest.raises(GraphError, match="has 4 channels, which are not supported"):
        read_signature(read(settings.file), settings)


def test_open_shape(tmp_path: Path) -> None:
    """
    A graph that leaves all its dimensions open, as Optimum writes it, takes them from the files.
    """
    graph(tmp_path, sides=("height", "width"), channels="num_channels")
    size = {"size": {"height": 8, "width": 6}}
    completion = completed(tmp_path, HALF | size)
    tensor = read_signature(read(tmp_path / "model.onnx"), completion.settings).tensor
    assert (tensor.layout, tensor.item_shape) == ("NCHW", (3, 8, 6))


def test_open_shape_beside_a_model_alone(tmp_path: Path) -> None:
    """
    A `config.json` alone states the size and the channels, and nothing that it does not say.
    """
    graph(tmp_path, sides=("height", "width"), channels="num_channels")
    document = {"image_size": 8, "num_channels": 3, "id2label": {"0": "a", "1": "b"}}
    completion = completed(tmp_path, document, "config.json")
    assert "without a preprocessor_config.json" in completion.notes[-1]
    assert len(completed(tmp_path, mean=(0.5,)).notes) == 1
    preprocessing, normalization = spec(completion)
    assert preprocessing == Preprocessing(
        scaled_decoding=True, color="RGB", resize_px=8, crop_height_px=8, crop_width_px=8
    )
    assert normalization.mean == (0, 0, 0)


@pytest.mark.parametrize(
    ("option", "changes"),
    [
        ({"resize": 20}, {"resize_px": 20, "crop_offset": "even"}),
        ({"crop": (8, 8)}, {"resize_px": 8, "crop_offset": "even"}),
        ({"interpolation": "box"}, {"interpolation": "box"}),
        ({"color": "BGR"}, {"color": "BGR"}),
        ({"labels": True}, {}),
    ],
)
def test_options_come_first(
    tmp_path: Path, option: dict[str, Any], changes: dict[str, Any]
) -> None:
    """
    An option replaces what was found of its kind, and the import says so.
    """
    graph(tmp_path, TENCH)
    if "labels" in option:
        option = {"labels": foreign.labels(tmp_path, name="mine.txt")}
    completion = completed(tmp_path, HALF | {"size": {"height": 8, "width": 8}}, **option)
    preprocessing, normalization = spec(completion)
    usual = {"color": "RGB", "resize_px": (8, 8), "interpolation": "bicubic"}
    assert preprocessing == Preprocessing(
        scaled_decoding=True,
        crop_height_px=8,
        crop_width_px=8,
        **({"crop_offset": "down"} | usual | changes),
    )
    assert normalization.mean == (0.5,) * 3
    assert (len(completion.labels or ()) == 5) == ("labels" in option)
    told = "\n".join(completion.notes)
    (flag,) = (f"--{name}" for name in option)
    assert (f"{flag} replaces the " in told) == ("labels" not in option)


def test_normalisation_that_the_graph_contains(tmp_path: Path) -> None:
    """
    A graph of bytes normalises by itself: what the file says of it is not applied again.
    """
    graph(tmp_path, element=TensorProto.UINT8)
    _, normalization = spec(completed(tmp_path, HALF | {"size": 8}))
    assert (normalization.where, normalization.mean) == ("graph", (0, 0, 0))
