"""The subject of an export: a network with its origin, as the manifest states it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from convoy.artifact.manifest import Evaluation, Preprocessing, Training, Weights
from convoy.export.data import Split
from convoy.export.data.held_out import HeldOut
from convoy.export.training.run_folder import Run


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """
    A network that is ready to be exported.

    Attributes:
        architecture: Its name in `convoy.models.ARCHITECTURES`.
        network: In evaluation mode, on the CPU, without heads that exist for training only.
        labels: Names of the classes.
        preprocessing: From the bytes of an image to the network's pixels.
        mean: Per channel, of pixels in `[0, 1]`.
        std: Per channel, of pixels in `[0, 1]`.
        training: Data and recipe of the training, if it was trained here.
        weights: The first weights, if they are not random numbers.
        published: Measurements of the same weights by others.
        validation: Images that chose its weights and did not train them; None if there are none.
        tests: Images to measure it on.
        skipped_images: Names of unreadable images of the data that were left out.
        calibration: Images to find the ranges of int8 with.
        run: The training's folder, whose checkpoint is no longer needed once this is exported.
    """

    architecture: str
    network: nn.Module
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    mean: tuple[float, ...]
    std: tuple[float, ...]
    training: Training | None = None
    weights: Weights | None = None
    published: tuple[Evaluation, ...] = ()
    validation: HeldOut | None = None
    tests: tuple[HeldOut, ...] = ()
    skipped_images: tuple[str, ...] = ()
    calibration: Split | None = None
    run: Run | None = None
