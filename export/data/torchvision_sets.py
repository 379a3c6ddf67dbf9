"""Data sets that torchvision reads, and downloads where they are free to download.

The set's own test part, or else its part to validate on, is the test. A tenth of each class of
the part to train on is set apart to validate on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from convoy.export.data.split import (
    SPLIT_SEED,
    VALIDATION_SHARE,
    DataSet,
    Split,
    divide,
    encode_png,
)
from convoy.export.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Set:
    """
    One of torchvision's data sets.

    Attributes:
        read: Function from its folder to torchvision's parts for training and test.
        source: Origin of the images.
        advice: Remedy if it is missing; `{root}` is its folder.
    """

    read: Callable[[Path], tuple[Any, Any]]
    source: str
    advice: str


def load_torchvision_set(name: str, root: Path) -> DataSet:
    """
    Load the set *name* of `TORCHVISION_SETS` from *root*; download it if it is missing and can be.

    Raises:
        DataError: If it is not there and cannot be downloaded, or is damaged.
    """
    known = TORCHVISION_SETS[name]
    try:
        given, tested = known.read(root)
        train, test = _split_of(given), _split_of(tested)
    except MemoryError:
        raise
    except Exception as error:  # torchvision passes on errors of sockets, archives and pickles
        advice = known.advice.format(root=root)
        raise DataError(f"cannot load {name} ({_first_line(error)}): {advice}") from error
    labels = _labels_of(given)
    # Indices of one part would mean other classes in the other part.
    if _labels_of(tested) != labels:
        raise DataError(f"the parts of {name} in {root} have different classes")
    order = np.random.default_rng(SPLIT_SEED).permutation(len(train))
    validation, train = divide(train, order, VALIDATION_SHARE)
    return DataSet(
        name=name,
        source=known.source,
        labels=labels,
        train=train,
        validation=validation,
        test=test,
        root=root,
    )


def _mnist(root: Path) -> tuple[Any, Any]:
    from torchvision.datasets import MNIST

    return MNIST(root, train=True, download=True), MNIST(root, train=False)


def _cifar10(root: Path) -> tuple[Any, Any]:
    from torchvision.datasets import CIFAR10

    return CIFAR10(root, train=True, download=True), CIFAR10(root, train=False)


def _imagenette(root: Path) -> tuple[Any, Any]:
    from torchvision.datasets import Imagenette

    train = Imagenette(root, "train", download=True, loader=Path)
    return train, Imagenette(root, "val", loader=Path)


def _imagenet(root: Path) -> tuple[Any, Any]:
    from torchvision.datasets import ImageNet

    return ImageNet(root, "train", loader=Path), ImageNet(root, "val", loader=Path)


TORCHVISION_SETS: Mapping[str, _Set] = MappingProxyType(
    {
        "mnist": _Set(
            read=_mnist,
            source="MNIST (LeCun, Cortes, Burges), through torchvision",
            advice="without a network, put its four files into {root}/MNIST/raw",
        ),
        "cifar10": _Set(
            read=_cifar10,
            source="CIFAR-10 (Krizhevsky), through torchvision",
            advice="without a network, put cifar-10-python.tar.gz into {root}",
        ),
        "imagenette": _Set(
            read=_imagenette,
            source="Imagenette, full size (Howard), through torchvision",
            advice="without a network, put imagenette2.tgz into {root}",
        ),
        "imagenet": _Set(
            read=_imagenet,
            source="ImageNet 2012 (Russakovsky et al.), through torchvision",
            advice="put ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and "
            "ILSVRC2012_img_val.tar into {root}; only image-net.org gives them out",
        ),
    }
)


def _split_of(images: Any) -> Split:
    """Return torchvision's *images*: those in memory encoded, those on disk by their paths."""
    sources: list[bytes | Path] = []
    labels: list[int] = []
    for index in range(len(images)):
        image, label = images[index]
        sources.append(image if isinstance(image, Path) else encode_png(image))
        labels.append(label)
    return Split(sources, np.array(labels, np.int64))


_AMBIGUOUS = MappingProxyType({"n02012849": "crane bird", "n03710721": "maillot tank suit"})
"""Labels of two of ImageNet's classes whose first names are not unique; as in torchvision's
weights."""


def _labels_of(images: Any) -> tuple[str, ...]:
    """Return the first name of each class, as in the labels of torchvision's weights."""
    # ImageNet has several names for each class, the other sets one.
    names = [name if isinstance(name, str) else name[0] for name in images.classes]
    numbers = getattr(images, "wnids", names)
    return tuple(_AMBIGUOUS.get(number, name) for number, name in zip(numbers, names, strict=True))


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__
