import dataclasses
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convoy.export.data import Split
from convoy.export.errors import DataError
from convoy.export.recipes import PAPER, SMALL, Recipe
from convoy.export.recipes.changes import at_size
from convoy.export.recipes.recipe import Affine, PhotoCrop
from convoy.export.training.batches import Batches, KeptBatches, StreamedBatches, split_order
from convoy.export.training.compute import CPU, Compute

Make = Callable[..., Batches]
STILL = Affine(rotation_deg=0, translation=0, scale=0, shear_deg=0)
KEPT = dataclasses.replace(SMALL["lenet5"], batch_size=4, augmentation=STILL)
PHOTOS = at_size(dataclasses.replace(PAPER["resnet18"], batch_size=4), 32)


@pytest.fixture(scope="module")
def split() -> Split:
    """Ten one-coloured images, each of its own brightness."""
    return Split([_png(20 * index) for index in range(10)], np.arange(10))


def _png(grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 48), (grey, grey, grey)).save(buffer, "PNG")
    return buffer.getvalue()


def kept(split: Split, seed: int = 0, compute: Compute = CPU, recipe: Recipe = KEPT) -> Batches:
    pixels = torch.from_numpy(split.pixels(recipe.preprocessing))
    return KeptBatches(pixels, torch.from_numpy(split.labels), recipe, seed, compute)


def streamed(
    split: Split, seed: int = 0, compute: Compute = CPU, recipe: Recipe = PHOTOS, workers: int = 0
) -> Batches:
    return StreamedBatches(split, recipe, seed, compute, workers)


def labels_of(batches: Batches, epoch: int = 1) -> list[list[int]]:
    return [labels.tolist() for _, labels in batches.epoch(epoch)]


def flat(batches: list[list[int]]) -> list[int]:
    return [label for batch in batches for label in batch]


@pytest.mark.parametrize(
    ("count", "sizes"), [(4, [4]), (8, [4, 4]), (9, [4, 5]), (10, [4, 4, 2]), (1, [1])]
)
def test_no_batch_of_one(count: int, sizes: list[int]) -> None:
    """
    A single last image joins the batch before it, as batch norm needs two.
    """
    order = torch.arange(count)
    parts = split_order(order, 4)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat(parts), order)


@pytest.mark.parametrize("make", [kept, streamed])
def test_each_image_once_in_an_order_of_the_epoch(make: Make, split: Split) -> None:
    """
    An epoch shows each image once, in an order that seed and epoch decide.
    """
    batches = make(split)
    first = labels_of(batches, 1)
    assert len(first) == batches.steps == 3
    assert sorted(flat(first)) == list(range(10))
    assert labels_of(batches, 1) == first
    assert labels_of(batches, 2) != first
    assert labels_of(make(split, seed=1), 1) != first


@pytest.mark.parametrize("make", [kept, streamed])
def test_balanced_sampler(make: Make) -> None:
    """
    About as many images of a rare class are drawn as of a common one. The length of an epoch stays
    as it is, and seed and epoch decide the order.
    """
    labels = np.repeat([0, 1], [4, 76])
    uneven = Split([_png(20 * label) for label in labels.tolist()], labels)
    recipe = dataclasses.replace(KEPT if make is kept else PHOTOS, balance_classes="sampler")
    batches = make(uneven, recipe=recipe)
    drawn = flat(labels_of(batches))
    assert len(drawn) == 80
    assert batches.steps == make(uneven).steps
    assert 25 <= drawn.count(0) <= 55
    assert flat(labels_of(batches)) == drawn != flat(labels_of(batches, 2))


def test_repeated_photographs_are_cropped_anew() -> None:
    """
    The copies of a photograph that a balanced sampler draws differ in their crops.
    """
    random = np.random.default_rng(0)
    noise = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save(noise, "PNG")
    split = Split([noise.getvalue(), *[_png(100)] * 19], np.repeat([0, 1], [1, 19]))
    recipe = dataclasses.replace(PHOTOS, balance_classes="sampler")
    batches = streamed(split, recipe=recipe)
    crops = [image for images, labels in batches.epoch(1) for image in images[labels == 0]]
    assert len(crops) > 2
    assert all(not torch.equal(crops[0], other) for other in crops[1:])


@pytest.mark.parametrize("make", [kept, streamed])
def test_images_and_labels_stay_together(make: Make, split: Split) -> None:
    """
    Each label comes with the image that it belongs to, normalised, channels first.
    """
    recipe = KEPT
    if make is streamed:
        recipe = dataclasses.replace(PHOTOS, augmentation=PhotoCrop(area=(0.5, 1.0)))
    for images, labels in make(split, recipe=recipe).epoch(1):
        assert images.shape[2:] == (32, 32)
        assert images.dtype == torch.float32
        centre = images[:, 0, 16, 16] * recipe.std[0] + recipe.mean[0]
        assert torch.allclose(centre, 20 * labels / 255, atol=1e-4)


@pytest.mark.parametrize("make", [kept, streamed])
def test_processes_share_an_epoch(make: Make, split: Split) -> None:
    """
    Two processes see halves of each epoch, of as many steps, with half of the batch.
    """
    parts = [
        make(split, compute=Compute(device=torch.device("cpu"), rank=rank, world_size=2))
        for rank in (0, 1)
    ]
    assert parts[0].steps == parts[1].steps
    first, second = (flat(labels_of(part)) for part in parts)
    assert sorted(first + second) == list(range(10))
    assert {len(batch) for batch in labels_of(parts[0])} <= {2, 3}


def test_pixels_do_not_depend_on_the_number_of_workers(split: Split) -> None:
    """
    The crops depend on seed, epoch and image, and not on the number of decoding processes.
    """

    def images(workers: int, epoch: int) -> Iterator[torch.Tensor]:
        return (batch for batch, _ in streamed(split, workers=workers).epoch(epoch))

    alone, together = torch.cat(list(images(0, 1))), torch.cat(list(images(2, 1)))
    assert torch.equal(alone, together)


def test_streaming_does_not_change_the_random_numbers_of_the_training(split: Split) -> None:
    """
    Dropout does not depend on who crops the photographs.
    """
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    next(iter(streamed(split).epoch(1)))
    assert torch.equal(torch.rand(1), expected)


def test_damaged_photograph_is_named(tmp_path: Path) -> None:
    """
    A file that is no image ends the training with its name.
    """
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"no image")
    batches = streamed(Split([path, path], np.array([0, 1])))
    with pytest.raises(Exception, match=r"broken\.jpg"):
        next(iter(batches.epoch(1)))


@pytest.mark.parametrize("workers", [0, 1])
def test_image_that_is_damaged_during_the_training(workers: int, tmp_path: Path) -> None:
    """
    The error is one line, without a traceback of a worker.
    """
    path = tmp_path / "late.png"
    path.write_bytes(_png(0)[:50])
    damaged = Split([*(_png(grey) for grey in range(5)), path], np.arange(6))
    with pytest.raises(DataError, match=r"late\.png: the .*image is damaged.*") as caught:
        labels_of(streamed(damaged, workers=workers))
    assert "\n" not in str(caught.value)
