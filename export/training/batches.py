"""Batches of training images, in an order that depends on the seed and the epoch alone.

A training that is resumed therefore sees the images that it would have seen without a break.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from convoy.export.data import Split
from convoy.export.errors import DataError
from convoy.export.normalization import Normalize
from convoy.export.recipes.recipe import Affine, PhotoCrop, Recipe
from convoy.export.training.augmentation import distort, photo_transform, uncropped
from convoy.export.training.compute import Compute


class Batches(Protocol):
    """
    The source of a training loop.

    Attributes:
        steps: Batches in each epoch; the same in every process.
    """

    steps: int

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images, normalised float32 `[N, C, H, W]`, and labels, int64 `[N]`."""


def make_batches(
    split: Split, recipe: Recipe, seed: int, compute: Compute, workers: int
) -> Batches:
    """
    Decode small images once and keep them; decode photographs anew in each epoch.

    Args:
        workers: Processes that decode photographs.

    Raises:
        DataError: If an image that is kept cannot be decoded.
    """
    # Photographs do not fit into memory, and each epoch crops them anew.
    if isinstance(recipe.augmentation, PhotoCrop):
        return StreamedBatches(split, recipe, seed, compute, workers)
    pixels = torch.from_numpy(split.pixels(recipe.preprocessing))
    return KeptBatches(pixels, torch.from_numpy(split.labels), recipe, seed, compute)


class KeptBatches:
    """
    Batches of images that are in memory, distorted together.

    Args:
        pixels: uint8 `[N, H, W, C]`, N at least 2.
        labels: int64 `[N]`.
    """

    def __init__(
        self, pixels: Tensor, labels: Tensor, recipe: Recipe, seed: int, compute: Compute
    ) -> None:
        assert isinstance(recipe.augmentation, Affine)
        self.affine = recipe.augmentation
        self.normalize = Normalize(recipe.mean, recipe.std).to(compute.device)
        self.pixels, self.labels = pixels.to(compute.device), labels.to(compute.device)
        self.seed, self.compute = seed, compute
        self.order = Order(labels.cpu(), recipe, seed, compute)
        self.steps = len(self.order.epoch(1))
        # Pixels that move in from outside are black; `distort` fills with 0.
        self.black = self.normalize(torch.zeros_like(self.pixels[:1]))

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each image once, or as often as a balanced sampler draws it."""
        random = torch.Generator().manual_seed(derive(self.seed, number, self.compute.rank, 1))
        for indices in self.order.epoch(number):
            here = indices.to(self.compute.device)
            inputs = self.normalize(self.pixels[here]) - self.black
            yield distort(inputs, self.affine, random) + self.black, self.labels[here]


class StreamedBatches:
    """Batches of photographs, read, cropped and changed by worker processes."""

    def __init__(
        self, split: Split, recipe: Recipe, seed: int, compute: Compute, workers: int
    ) -> None:
        assert isinstance(recipe.augmentation, PhotoCrop)
        self.photos = Photos(split, recipe)
        self.normalize = Normalize(recipe.mean, recipe.std).to(compute.device)
        self.seed, self.compute, self.recipe = seed, compute, recipe
        self.workers = workers
        self.order = Order(torch.from_numpy(split.labels), recipe, seed, compute)
        self.steps = len(self.order.epoch(1))

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """
        Yield each photograph once, or as often as a balanced sampler draws it.

        Raises:
            DataError: If one cannot be decoded any more; names it.
        """
        keys = [
            [(self._seed(number, index, step, place), index) for place, index in enumerate(part)]
            for step, part in enumerate(map(Tensor.tolist, self.order.epoch(number)))
        ]
        on_gpu = self.compute.device.type == "cuda"
        for batch in DataLoader(
            self.photos,
            batch_sampler=keys,
            num_workers=self.workers,
            collate_fn=collate,
            worker_init_fn=ignore_interrupts,
            pin_memory=on_gpu,
            generator=torch.Generator(),  # else it draws from the training's own
        ):
            if isinstance(batch, DataError):
                raise batch
            pixels, labels = batch
            pixels = pixels.to(self.compute.device, non_blocking=True)
            yield self.normalize(pixels), labels.to(self.compute.device, non_blocking=True)

    def _seed(self, epoch: int, index: int, step: int, place: int) -> int:
        # A photograph that a sampler draws repeatedly is cropped anew each time.
        draw = (self.compute.rank, step, place) if self.recipe.balance_classes == "sampler" else ()
        return derive(self.seed, epoch, index, *draw)


class Photos(Dataset[tuple[Tensor, int] | DataError]):
    """
    Photographs by a key of seed and index; the same key gives the same pixels.

    An unreadable one gives its error instead of raising it: torch would hand a worker's error on
    with its traceback as the message.
    """

    def __init__(self, split: Split, recipe: Recipe) -> None:
        assert isinstance(recipe.augmentation, PhotoCrop)
        self.split = split
        self.spec = uncropped(recipe.preprocessing, recipe.augmentation)
        self.transform = photo_transform(recipe.augmentation, recipe.preprocessing.height)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int] | DataError:
        seed, index = key
        try:
            image = self.split.decoded(index, self.spec)
        except DataError as error:
            return DataError(str(error))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.transform(image), int(self.split.labels[index])


def collate(items: Sequence[Any]) -> Any:
    """Return the batch of *items*, or the first error among them."""
    errors = (item for item in items if isinstance(item, DataError))
    return next(errors, None) or default_collate(list(items))


def ignore_interrupts(worker: int) -> None:
    """Let a worker process ignore Ctrl-C."""
    # A terminal sends Ctrl-C to the workers as well; the training itself ends them, silently.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def derive(seed: int, *numbers: int) -> int:
    """Return a seed of its own for each combination of *numbers*."""
    # 63 bits: PyTorch's seeds are signed.
    return int(np.random.SeedSequence([seed, *numbers]).generate_state(1, np.uint64)[0] >> 1)


class Order:
    """
    The order in which this process takes images: the indices of each batch, by epoch.

    Args:
        labels: int64 `[N]`.
    """

    def __init__(self, labels: Tensor, recipe: Recipe, seed: int, compute: Compute) -> None:
        self.labels, self.recipe, self.seed, self.compute = labels, recipe, seed, compute

    def epoch(self, number: int) -> list[Tensor]:
        """Return the indices of each batch."""
        random = torch.Generator().manual_seed(derive(self.seed, number))
        # All images in a random order, or as many of them, of each class alike.
        if self.recipe.balance_classes == "sampler":
            order = balanced_order(self.labels, random)
        else:
            order = torch.randperm(len(self.labels), generator=random)
        # Equal shares: a process with one batch more would wait for the others for ever.
        processes = self.compute.world_size
        mine = order[self.compute.rank :: processes][: len(order) // processes]
        return split_order(mine, max(1, self.recipe.batch_size // processes))


def balanced_order(labels: Tensor, random: torch.Generator) -> Tensor:
    """
    Draw as many images as there are, with replacement, each class with the same probability.

    Args:
        labels: int64 `[N]`.

    Returns:
        Indices: int64 `[N]`.
    """
    weights = 1 / torch.bincount(labels).double()
    return torch.multinomial(weights[labels], len(labels), replacement=True, generator=random)


def split_order(order: Tensor, batch_size: int) -> list[Tensor]:
    """Split *order*; a last batch of one joins the one before it: batch norm needs two images."""
    parts = list(torch.split(order, batch_size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts
