"""The input of a graph: its tensor, its batches, and the way from an image to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import TensorProto

from convoy.artifact.manifest import InputTensor, Manifest, Normalization, Preprocessing
from convoy.export.errors import GraphError
from convoy.export.importing.import_settings import ImportSettings
from convoy.export.importing.own_normalization import find_fractions, find_whole_pixels
from convoy.export.importing.resizing import make_preprocessing
from convoy.export.importing.units import check_units, is_given, makes_whole_pixels
from convoy.export.onnx.source import Source
from convoy.export.onnx.wiring import Wiring

Layout = Literal["NCHW", "NHWC"]

_AXES: dict[Layout, tuple[int, int, int]] = {"NCHW": (1, 2, 3), "NHWC": (3, 1, 2)}
"""Axes of channels, height and width."""

_DTYPES: dict[int, Literal["uint8", "float32", "float16"]] = {
    TensorProto.UINT8: "uint8",
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
}

VARIABLE_BATCH = (
    "PyTorch makes it variable with torch.onnx.export(..., dynamic_shapes=...), formerly "
    "dynamic_axes"
)


@dataclass(frozen=True, slots=True)
class GraphShape:
    """
    The dimensions of one image in the graph's input; None for those that it leaves open.

    Attributes:
        is_layout_open: Whether the shape does not show which dimension is which.
    """

    channels: int | None
    height: int | None
    width: int | None
    is_layout_open: bool

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width; None if one of them is open."""
        return None if self.height is None or self.width is None else (self.height, self.width)


@dataclass(frozen=True, slots=True)
class Signature:
    """
    The graph's input, and the way from an image to it.

    Attributes:
        own_normalization: The operator by which the graph itself normalises pixels of 0 to 255,
            where that decided `normalization`; else None.
        max_batch_size: Maximum number of images in a batch.
        is_batch_fixed: Whether the graph takes one image at a time, and never more.
    """

    tensor: InputTensor
    preprocessing: Preprocessing
    normalization: Normalization
    own_normalization: str | None
    max_batch_size: int
    is_batch_fixed: bool


def read_signature(source: Source, settings: ImportSettings) -> Signature:
    """
    Read what the graph of *source* says of its input, and complete it by *settings*.

    Raises:
        GraphError: If its input is not a batch of images, or *settings* leave open what the graph
            leaves open, or contradict it; names the flag.
    """
    value = _only_input(source)
    dims = _dims(value)
    tensor = _input_tensor(value, dims, settings)
    own = _own_normalization(source, tensor, settings)
    return Signature(
        tensor=tensor,
        preprocessing=make_preprocessing(tensor, settings),
        normalization=_normalization(tensor, settings, own),
        own_normalization=own,
        max_batch_size=_max_batch_size(dims[0], settings),
        is_batch_fixed=dims[0] == 1,
    )


def fix_size(source: Source, tensor: InputTensor) -> None:
    """
    Write into the graph whatever it leaves open of its input's height, width and channels.

    The server compares the two, and ONNX Runtime plans memory better for shapes that it knows.
    """
    shape = _only_input(source).type.tensor_type.shape
    for dim, size in zip(shape.dim[1:], tensor.item_shape, strict=True):
        if dim.dim_value != size:
            dim.dim_value = size
            source.is_changed = True


def read_tensor(source: Source, settings: ImportSettings, size_flag: str = "--crop") -> InputTensor:
    """
    Read what the graph of *source* says of its input, and complete it by *settings*.

    Args:
        size_flag: The flag with which the caller's user gives the size of the images.

    Raises:
        GraphError: If its input is not a batch of images, or *settings* leave open what the graph
            leaves open; names the flag.
    """
    value = _only_input(source)
    return _input_tensor(value, _dims(value), settings, size_flag)


def open_shape(source: Source, settings: ImportSettings) -> GraphShape:
    """
    Return what the graph of *source* says of the images that it takes.

    Raises:
        GraphError: If its input is not a batch of images.
    """
    dims = _dims(_only_input(source))
    fitting: list[Layout] = [settings.layout] if settings.layout else _fitting_layouts(dims)
    if len(fitting) != 1:
        return GraphShape(None, None, None, is_layout_open=True)
    channels, height, width = (dims[axis] for axis in _AXES[fitting[0]])
    return GraphShape(channels, height, width, is_layout_open=False)


def normalizes_itself(source: Source) -> bool:
    """Return whether the graph shows that it takes pixels of 0 to 255."""
    value = _only_input(source)
    is_bytes = value.type.tensor_type.elem_type == TensorProto.UINT8
    return is_bytes or find_whole_pixels(Wiring(source.model), value.name) is not None


def _only_input(source: Source) -> onnx.ValueInfoProto:
    """Return the one input that is not a weight."""
    # Graphs before version 4 of ONNX's format list their weights among the inputs.
    graph = source.model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs)
        raise GraphError(
            f"{source.path}: the graph must have one input, a batch of images; "
            f"it has {len(inputs)}{names and ': '}{names}"
        )
    return inputs[0]


def _dims(value: onnx.ValueInfoProto) -> list[int | None]:
    """Return the four dimensions of the input, None where the graph leaves one open."""
    dims = value.type.tensor_type.shape.dim
    if len(dims) != 4:
        shape = ", ".join(str(dim.dim_value or dim.dim_param or "?") for dim in dims)
        raise GraphError(
            f"input {value.name} has shape [{shape}]; a batch of images has four dimensions"
        )
    # An open dimension has a name, such as N, or -1, or nothing.
    return [dim.dim_value if dim.dim_value > 0 else None for dim in dims]


def _input_tensor(
    value: onnx.ValueInfoProto,
    dims: list[int | None],
    settings: ImportSettings,
    size_flag: str = "--crop",
) -> InputTensor:
    element = value.type.tensor_type.elem_type
    if element not in _DTYPES:
        names = {number: name.lower() for name, number in TensorProto.DataType.items()}
        found = names.get(element, "of an unknown type")
        raise GraphError(
            f"input {value.name} is {found}, not uint8, float32 or float16: export the graph with "
            "an input of one of these, such as float32"
        )
    layout = settings.layout or _layout(value.name, dims)
    channels, height, width = (dims[axis] for axis in _AXES[layout])
    # The crop closes what the graph leaves open; `make_preprocessing` compares the two otherwise.
    if settings.crop:
        height = height or settings.crop[0] + 2 * settings.pad
        width = width or settings.crop[1] + 2 * settings.pad
    if height is None or width is None:
        raise GraphError(f"input {value.name} takes images of any size: give {size_flag}")
    return InputTensor(
        name=value.name,
        dtype=_DTYPES[element],
        layout=layout,
        channels=_channels(value.name, channels, settings),
        height=height,
        width=width,
    )


def _layout(name: str, dims: list[int | None]) -> Layout:
    """Return the layout in which the channels are 1 or 3."""
    fitting = _fitting_layouts(dims)
    if len(fitting) != 1:
        shape = ", ".join("?" if dim is None else str(dim) for dim in dims)
        # Images with transparency: no layout would help.
        if not fitting and 4 in (dims[1], dims[3]):
            raise GraphError(
                f"input {name} of shape [{shape}] has 4 channels, which are not supported: export "
                "the graph with 3 channels (RGB) or 1 (grey)"
            )
        raise GraphError(f"input {name} of shape [{shape}] may be NCHW or NHWC: give --layout")
    return fitting[0]


def _fitting_layouts(dims: list[int | None]) -> list[Layout]:
    # None fits if the channels are open, both if the height is 1 or 3 as well.
    return [layout for layout, axes in _AXES.items() if dims[axes[0]] in (1, 3)]


def _channels(name: str, found: int | None, settings: ImportSettings) -> Literal[1, 3]:
    # The graph decides, then the option; both must agree where both are given.
    wanted = {None: None, "L": 1, "RGB": 3, "BGR": 3}[settings.color]
    channels = found or wanted
    if channels is None:
        raise GraphError(f"input {name} takes any number of channels: give --color")
    if wanted not in (None, channels):
        raise GraphError(f"--color {settings.color} has {wanted} channels, input {name} {found}")
    if channels not in (1, 3):
        raise GraphError(
            f"input {name} has {channels} channels, which are not supported: export the graph with "
            "3 channels (RGB) or 1 (grey)"
        )
    return 1 if channels == 1 else 3


def _own_normalization(source: Source, tensor: InputTensor, settings: ImportSettings) -> str | None:
    """
    Return the operator by which the graph normalises itself, if nothing but it decides.

    Raises:
        GraphError: If --mean and --std would make small what the graph divides again.
    """
    # The user has decided; a uint8 input takes nothing but whole pixels.
    if settings.normalization or tensor.dtype == "uint8":
        return None
    # The pixels are whole already, by the other way of saying so.
    if makes_whole_pixels(settings):
        return None
    wiring = Wiring(source.model)
    own = find_whole_pixels(wiring, tensor.name)
    if is_given(settings) and (twice := own or find_fractions(wiring, tensor.name)):
        raise GraphError(
            f"the graph itself normalises pixels of 0 to {255 if own else 1} ({twice}), so --mean "
            "and --std would be applied twice: leave them out, or add --normalization server if "
            "both are meant"
        )
    return own


def _normalization(tensor: InputTensor, settings: ImportSettings, own: str | None) -> Normalization:
    # Normalised pixels are fractions, which uint8 cannot hold.
    if tensor.dtype == "uint8" and settings.normalization == "server":
        raise GraphError(
            f"input {tensor.name} is uint8, so it cannot be normalised before: "
            "--normalization graph"
        )
    in_graph = tensor.dtype == "uint8" or settings.normalization == "graph" or own is not None
    mean = _per_channel("--mean", settings.mean, tensor)
    std = _per_channel("--std", settings.std, tensor)
    if in_graph and is_given(settings):
        raise GraphError(_applied_by_nobody(tensor))
    check_units(settings)
    return Normalization(mean=mean, std=std, where="graph" if in_graph else "server")


def _applied_by_nobody(tensor: InputTensor) -> str:
    """Say that the server does not apply --mean and --std to a graph that takes whole pixels."""
    if tensor.dtype == "uint8":
        return (
            f"input {tensor.name} is uint8: the server gives it pixels as they are, and applies "
            "neither --mean nor --std. Leave them out if the graph normalises itself; else export "
            "it again with the normalisation in it, or with a float32 input"
        )
    return (
        "--normalization graph gives the graph pixels of 0 to 255, and the server applies neither "
        "--mean nor --std: leave them out, or give --normalization server"
    )


def _per_channel(flag: str, values: tuple[float, ...], tensor: InputTensor) -> tuple[float, ...]:
    if len(values) not in (1, tensor.channels):
        raise GraphError(
            f"{flag} has {len(values)} numbers, input {tensor.name} has {tensor.channels} channels"
        )
    # One number holds for every channel.
    return values if len(values) == tensor.channels else values * tensor.channels


def _max_batch_size(fixed: int | None, settings: ImportSettings) -> int:
    # Any batch: the user or the default limits it.
    if fixed is None:
        default: int = Manifest.model_fields["max_batch_size"].default
        return settings.max_batch_size or default
    # Always the same number of images: a server would have to pad every request.
    if fixed > 1:
        raise GraphError(
            f"the graph takes batches of exactly {fixed} images, but requests come one by one: "
            f"export it again with a variable batch dimension ({VARIABLE_BATCH})"
        )
    # One image at a time.
    if settings.max_batch_size not in (None, 1):
        raise GraphError(
            f"--max-batch-size {settings.max_batch_size}: the graph takes batches of 1 only "
            f"({VARIABLE_BATCH})"
        )
    return 1
