"""Measurement of a network on the validation images, after each epoch of its training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from convoy.export.data import Split
from convoy.export.errors import DataError
from convoy.export.normalization import Normalize
from convoy.export.recipes.recipe import PhotoCrop, Recipe
from convoy.export.training.batches import collate, ignore_interrupts
from convoy.export.training.compute import Compute


class Validation:
    """
    A measurement on *images*, each preprocessed as in use. Each process measures a share of them.

    It draws no random numbers, so that a training gives the same weights with it and without.

    Args:
        workers: Processes that decode photographs.

    Raises:
        DataError: If an image that is kept in memory cannot be decoded.
    """

    def __init__(self, images: Split, recipe: Recipe, compute: Compute, workers: int) -> None:
        share = images.part(range(compute.rank, len(images), compute.world_size))
        self._compute = compute
        self._labels = torch.from_numpy(share.labels)
        self._normalize = Normalize(recipe.mean, recipe.std).to(compute.device)
        size = max(1, recipe.batch_size // compute.world_size)
        # As for the training: small images stay in memory, photographs do not fit into it.
        if isinstance(recipe.augmentation, PhotoCrop):
            self._pixels: Iterable[Tensor | DataError] = DataLoader(
                _Preprocessed(share, recipe),
                size,
                num_workers=workers,
                collate_fn=collate,
                worker_init_fn=ignore_interrupts,
                generator=torch.Generator(),  # else it draws from the training's own
            )
        else:
            pixels = torch.from_numpy(share.pixels(recipe.preprocessing))
            self._pixels = torch.split(pixels, size)

    def __call__(self, network: nn.Module) -> tuple[float, float]:
        """
        Return the mean cross-entropy of *network*, and its share of right answers.

        Args:
            network: In evaluation mode, on the device of the training.

        Raises:
            DataError: If a photograph cannot be decoded any more; names it.
        """
        sums = torch.zeros(3, dtype=torch.float64)  # loss, right answers, images
        for logits, labels in self._answers(network):
            loss = F.cross_entropy(logits, labels, reduction="sum")
            # A network that answers no numbers is right about nothing.
            right = (logits.argmax(1) == labels) & logits.isfinite().all(1)
            sums += torch.tensor([loss, right.sum(), len(labels)], dtype=torch.float64)
        sums = self._compute.sum(sums.to(self._compute.device)).cpu()
        loss, accuracy = (sums[:2] / sums[2]).tolist()
        return loss, accuracy

    def _answers(self, network: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        start = 0
        with torch.inference_mode():
            for pixels in self._pixels:
                if isinstance(pixels, DataError):
                    raise pixels
                images = self._normalize(pixels.to(self._compute.device))
                logits = network(images.to(memory_format=torch.channels_last)).float().cpu()
                yield logits, self._labels[start : start + len(pixels)]
                start += len(pixels)


class _Preprocessed(Dataset[Tensor | DataError]):
    """Photographs as the network takes them in use; an unreadable one gives its error."""

    def __init__(self, images: Split, recipe: Recipe) -> None:
        self._images, self._spec = images, recipe.preprocessing

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor | DataError:
        try:
            return torch.from_numpy(self._images.part([index]).pixels(self._spec)[0])
        except DataError as error:
            return DataError(str(error))
