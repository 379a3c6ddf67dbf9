"""PyTorch networks become layers: all of ours, and small ones with everything that can occur."""

from __future__ import annotations

from functools import partial

import pytest

pytest.importorskip("torch", reason="networks need PyTorch")

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convoy.artifact.layers import Description, Layer, Window
from convoy.export.describing.network_reader import build_network, read_network
from convoy.export.describing.rows import make_rows
from convoy.export.errors import ExportError
from convoy.models import ARCHITECTURES
from tests.harness.counts import count_macs, count_parameters


def rows_of(module: nn.Module, shape: tuple[int, int, int] = (4, 16, 16)) -> tuple[Layer, ...]:
    """The rows of *module* without that of the image."""
    return make_rows(read_network(build_network(lambda: module.to("meta")), shape))[1:]


class Residual(nn.Module):
    """A convolution, and a shortcut without parameters for its stride."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return torch.relu(self.conv(x) * 0.1 + shortcut)


class Branches(nn.Module):
    """Three functions side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 5, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.max_pool2d(x, 3, stride=1, padding=1)
        averaged = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        x = torch.cat([F.relu(self.conv(x)), pooled, averaged], 1)
        return x.mean((2, 3))


def test_lenet5() -> None:
    """
    The table that the textbooks print, row by row.
    """
    network = build_network(ARCHITECTURES["lenet5"].build)
    rows = make_rows(read_network(network, (1, 32, 32)))
    assert [
        (
            row.name,
            "+".join((row.kind, *row.then)),
            row.output_shape,
            row.window and (row.window.kernel[0], row.window.stride[0], row.window.padding[0]),
            row.receptive_field_px and row.receptive_field_px[0],
            row.parameters,
            row.arithmetic,
            row.macs,
        )
        for row in rows
    ] == [
        ("image", "input", (1, 32, 32), None, 1, 0, "", 0),
        ("conv1", "conv+tanh", (6, 28, 28), (5, 1, 0), 5, 156, "(5*5*1 + 1) * 6", 117_600),
        ("pool", "avg pool", (6, 14, 14), (2, 2, 0), 6, 0, "", 0),
        ("conv2", "conv+tanh", (16, 10, 10), (5, 1, 0), 14, 2_416, "(5*5*6 + 1) * 16", 240_000),
        ("pool#2", "avg pool+flatten", (16, 5, 5), (2, 2, 0), 16, 0, "", 0),
        ("fc1", "linear+tanh", (120,), None, None, 48_120, "(400 + 1) * 120", 48_000),
        ("fc2", "linear+tanh", (84,), None, None, 10_164, "(120 + 1) * 84", 10_080),
        ("fc3", "linear", (10,), None, None, 850, "(84 + 1) * 10", 840),
    ]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture(name: str) -> None:
    """
    Totals are those that are counted elsewhere, and each row's arithmetic gives its number.
    """
    architecture = ARCHITECTURES[name]
    network = build_network(architecture.build)
    shape = (architecture.channels, architecture.input_px, architecture.input_px)
    found = Description(name, make_rows(read_network(network, shape)))
    assert found.parameters == count_parameters(network)
    with torch.device("meta"):
        assert found.macs == count_macs(network, shape)
    for row in found.layers:
        assert (eval(row.arithmetic) if row.arithmetic else 0) == row.parameters
    assert len({row.name for row in found.layers}) == len(found.layers)
    assert found.layers[-1].receptive_field_px is None


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("alexnet", 195),
        ("vgg16", 212),
        ("resnet50_v1", 483),
        ("resnet101_v1", 1027),
        ("resnet152_v1", 1507),
        ("inception_v3", 1311),
        ("inception_v4", 2071),
        ("inception_resnet_v2", 3039),
    ],
)
def test_published_receptive_fields(name: str, field: int) -> None:
    """
    The last maps see what Araujo, Norris and Sim computed (Distill, 2019).
    """
    architecture = ARCHITECTURES[name]
    side = architecture.input_px
    rows = make_rows(read_network(build_network(architecture.build), (3, side, side)))
    fields = [row.receptive_field_px for row in rows if row.receptive_field_px]
    assert max(fields) == (field, field)


@pytest.mark.parametrize(
    ("name", "depth"),
    [("lenet5", 5), ("alexnet", 8), ("vgg19", 19), ("googlenet", 22), ("resnet50", 50)],
)
def test_depth(name: str, depth: int) -> None:
    """
    Layers are counted as the papers count them, shortcuts aside.
    """
    architecture = ARCHITECTURES[name]
    shape = (architecture.channels, architecture.input_px, architecture.input_px)
    layers = make_rows(read_network(build_network(architecture.build), shape))
    assert Description(name, layers).depth == depth


def test_residual() -> None:
    """
    Slicing has a stride, zeros add channels, and a factor belongs to what it multiplies.
    """
    every_second, pad, conv, add = sorted(rows_of(Residual()), key=lambda row: row.kind == "add")
    assert (every_second.kind, every_second.window) == ("slice", Window((1, 1), (2, 2)))
    assert (pad.kind, pad.output_shape, pad.inputs) == ("pad", (8, 8, 8), (1,))
    assert (conv.then, conv.arithmetic, conv.parameters) == (("scale",), "3*3*4*8", 288)
    assert (add.then, add.receptive_field_px, sorted(add.inputs)) == (("relu",), (3, 3), [2, 3])


def test_branches() -> None:
    """
    Pooling by functions is pooling, and a mean over the map is global.
    """
    rows = {row.name: row for row in rows_of(Branches())}
    assert rows["max_pool"].window == Window((3, 3), (1, 1), (1, 1))
    assert rows["avg_pool"].window == Window((3, 3), (1, 1), (1, 1))
    assert rows["conv"].window == Window((5, 5), (1, 1), (2, 2))
    concat, mean = rows["concat"], rows["mean"]
    assert (concat.output_shape, concat.receptive_field_px) == ((14, 16, 16), (5, 5))
    assert (mean.kind, mean.output_shape, mean.receptive_field_px) == (
        "global avg pool",
        (14,),
        None,
    )


def test_groups_and_norms() -> None:
    """
    A group's filters see a part of the channels; other normalisations have their parameters.
    """
    net = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8), nn.PReLU(8), nn.GroupNorm(2, 8)
    )
    (row,) = rows_of(net)
    assert row.then == ("bn", "prelu", "groupnorm")
    assert row.arithmetic == "(3*3*4/2 + 1) * 8 + 2*8 + 8 + 2*8"
    assert row.parameters == count_parameters(net) == eval(row.arithmetic)


def test_what_is_unknown_is_named() -> None:
    """
    Any other module is a row with the name of its class.
    """
    shuffled, upsampled = rows_of(nn.Sequential(nn.PixelUnshuffle(2), nn.Upsample(scale_factor=4)))
    assert (shuffled.kind, shuffled.output_shape) == ("pixelunshuffle", (16, 8, 8))
    assert (upsampled.kind, upsampled.output_shape) == ("upsample", (16, 32, 32))


def test_part_of_several() -> None:
    """
    An operation that takes one of several tensors is no layer.
    """

    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            first, second = torch.chunk(x, 2, 1)
            return first + second

    assert [row.kind for row in rows_of(Half())] == ["chunk", "add"]


def test_auxiliary_heads_are_dropped() -> None:
    """
    Heads that only training has are not in the table.
    """

    class Headed(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Conv2d(4, 4, 1))
            self.head: nn.Module | None = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self[0](x)

        def drop_auxiliary(self) -> None:
            self.head = None

    network = build_network(Headed)
    assert count_parameters(network) == 4 * 4 + 4
    assert not network.training


def test_weights_are_not_made() -> None:
    """
    A network is described without the half a gigabyte that it would hold.
    """
    network = build_network(partial(ARCHITECTURES["vgg16"].build, num_classes=10))
    assert all(parameter.is_meta for parameter in network.parameters())


def test_image_that_does_not_fit() -> None:
    """
    A size that the network does not take is an error of one line.
    """
    with pytest.raises(ExportError, match=r"does not accept images of 1x40x40: .*784") as raised:
        read_network(build_network(ARCHITECTURES["lenet5"].build), (1, 40, 40))
    assert "\n" not in str(raised.value)
