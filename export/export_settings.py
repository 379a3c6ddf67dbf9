"""The options of `convoy export`. Importing them loads no PyTorch."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from convoy.artifact.manifest import ModelName, Side
from convoy.export.importing.import_settings import Deviations, Means
from convoy.options import Option, Options

_SOURCES = ("torchvision", "timm")

_OF_A_FILE = ("labels", "resize", "mean", "std")
_OF_A_TRAINING = (
    *("epochs", "batch_size", "learning_rate", "seed", "device", "mixed_precision", "workers"),
    *("early_stopping", "train_on_validation", "balance_classes"),
)
_OF_THE_WEIGHTS = (
    *("data", "skip_bad_images", "weights", "seed", "epochs", "head_epochs", "early_stopping"),
    *("train_on_validation", "balance_classes", "batch_size", "learning_rate", "input_px"),
    *("resize", "name"),
)
"""Options that a training with other weights differs in, and its name."""
_FILE_ONLY = "a file of --weights; leave it out, as other weights and trainings have their own"
_SIZED_ONLY = (
    "a training or a file of --weights; leave it out, as other weights have their own size"
)
_IMAGES_ONLY = "images; leave it out, or add --evaluation-data"


class ExportSettings(Options):
    """
    Train a network or take public weights, prove that its ONNX graph answers as PyTorch does, and
    write the artifact.

    With --weights or --from alone nothing is trained. With --weights and --data, the weights are
    fine-tuned: the body is kept, and a new head is made for the classes of the data.

    Each option is also a variable: --model-repository is CONVOY_MODEL_REPOSITORY.
    """

    architecture: Annotated[str, Option("NETWORK", positional=True)] = Field(
        "", description="Name of the network, such as lenet5; none with --from."
    )
    from_run: Annotated[Path | None, Option("RUN", flag="from")] = Field(
        None,
        description="Export the weights that this folder of a training has kept, such as "
        "runs/lenet5, without training: the best, or those in the file that is named.",
    )
    data: Annotated[str | None, Option("DATA")] = Field(
        None,
        description="Images to train on: mnist5k (if neither this nor --weights is given), hard5k, "
        "mnist, cifar10, imagenette or imagenet, each with :FOLDER if it lies elsewhere than in "
        "data/, or folder:PATH with one folder per class, or with such folders in train and val.",
    )
    skip_bad_images: bool = Field(
        False,
        description="Leave out images that cannot be decoded, and record their names; without this "
        "option they are refused, before anything is trained.",
    )
    weights: Annotated[str | None, Option("WEIGHTS")] = Field(
        None,
        description="Weights to begin with: torchvision[:ENTRY], timm[:TAG], or a file with a "
        "state dict or a checkpoint, *.pth or *.safetensors.",
    )
    labels: Annotated[Path | None, Option("FILE")] = Field(
        None, description="Names of the classes of a file of weights, one per line, or JSON."
    )
    seed: int = Field(
        0, ge=0, lt=2**63, description="Seed the first weights, the order and the augmentation."
    )
    epochs: int = Field(0, ge=0, description="Passes over the images; 0 takes the recipe's.")
    early_stopping: int = Field(
        0,
        ge=0,
        description="Stop after this many epochs without progress on the validation images; 0 "
        "takes all epochs.",
    )
    train_on_validation: bool = Field(
        False,
        description="Train on the validation images, too: nothing is validated, and the weights of "
        "the last epoch are exported.",
    )
    balance_classes: bool = Field(
        False,
        description="Weight the loss of each image by the inverse frequency of its class.",
    )
    head_epochs: int = Field(
        0, ge=0, description="Passes in which only the new head of fine-tuning learns, before."
    )
    batch_size: int = Field(0, ge=0, description="Images per step; 0 takes the recipe's.")
    learning_rate: float = Field(0, ge=0, description="0 takes the recipe's.")
    input_px: int = Field(
        0, ge=0, le=4096, description="Side of the network's input; 0 takes the recipe's."
    )
    resize: Side | None = Field(
        None,
        description="Shorter side before the crop, for a file of --weights; in the recipe's "
        "proportion if it is not given.",
    )
    mean: Annotated[Means | None, Option("NUMBER")] = Field(
        None,
        description="Mean of pixels from 0 to 1 that a file of --weights was trained with: one "
        "number, or one per channel; the recipe's if it is not given.",
    )
    std: Annotated[Deviations | None, Option("NUMBER")] = Field(
        None, description="Their deviation, for a file of --weights, likewise."
    )
    precision: Literal["float32", "fp16", "int8"] = Field(
        "float32",
        description="Compute in this type; fp16 and int8 are measured against float32.",
    )
    evaluation_data: Annotated[str | None, Option("DATA")] = Field(
        None,
        description="Images to measure --weights on, and to find the ranges for fp16 and int8, "
        "where nothing is trained; named as --data.",
    )
    max_accuracy_loss: float = Field(
        0.01, ge=0, le=1, description="Share of answers that fp16 or int8 may lose."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Train on this device.")
    mixed_precision: bool = Field(True, description="Train in half precision on a GPU.")
    workers: int = Field(2, ge=0, le=64, description="Processes that decode photographs.")
    model_repository: Annotated[Path, Option("DIR")] = Field(
        Path("model_repository"), description="Write artifacts here."
    )
    runs: Annotated[Path, Option("DIR")] = Field(
        Path("runs"),
        description="Keep the weights, measurements and curves of each training here.",
    )
    name: Annotated[ModelName | None, Option("NAME")] = Field(
        None, description="Name of the model; that of the network if it is not given."
    )
    validate_only: bool = Field(
        False,
        description="Report the accuracy on the validation images and write no artifact: for "
        "choosing a recipe.",
    )

    @model_validator(mode="after")
    def _fit_together(self, info: ValidationInfo) -> Self:
        # Each option that needs another one, and each that contradicts one.
        if not (self.architecture or self.from_run):
            raise ValueError("name a network, such as lenet5, or a training with --from")
        if self.from_run and (self.data or self.weights or self.validate_only):
            raise ValueError(
                "--from exports weights as they are, measured on the images of their training: "
                "leave out --data, --weights and --validate-only"
            )
        if self.head_epochs and not self.fine_tunes:
            raise ValueError("--head-epochs is for fine-tuning: --weights with --data")
        if self.evaluation_data and not self.only_weights:
            raise ValueError("--evaluation-data is for --weights without --data")
        if self.precision != "float32" and self.only_weights and not self.evaluation_data:
            raise ValueError(f"{self.precision} must be measured on images: give --evaluation-data")
        if self.validate_only and self.only_weights:
            raise ValueError("--validate-only is for a training")
        if self.train_on_validation and (self.validate_only or self.early_stopping):
            raise ValueError(
                "--train-on-validation leaves no images for --validate-only or --early-stopping"
            )
        # A variable may be meant for other commands.
        flags = (info.context or {}).get("flags", self.model_fields_set)
        for names, applies, purpose in (
            (_OF_A_FILE, self.is_file, _FILE_ONLY),
            (_OF_A_TRAINING, self.trains, "a training; leave it out, or add --data"),
            (("input_px",), self.is_file or self.trains, _SIZED_ONLY),
            (("skip_bad_images",), self.evaluation_data or self.trains, _IMAGES_ONLY),
            (("max_accuracy_loss",), self.precision != "float32", "--precision fp16 or int8"),
        ):
            given = [f"--{name.replace('_', '-')}" for name in names if name in flags]
            if given and not applies:
                raise ValueError(f"{', '.join(given)}: only for {purpose}")
        return self

    @property
    def training_command(self) -> str:
        """Return the options that decide the weights of a training, as a command line."""
        words = ["convoy export", self.architecture]
        for name in _OF_THE_WEIGHTS:
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                flag = f"--{name.replace('_', '-')}"
                words.append(flag if value is True else f"{flag} {shlex.quote(str(value))}")
        return " ".join(words)

    @property
    def is_file(self) -> bool:
        """Return whether the weights are in a file of the user's."""
        return self.weights is not None and self.weights.partition(":")[0] not in _SOURCES

    @property
    def only_weights(self) -> bool:
        """Return whether weights that others trained are exported as they are."""
        return self.weights is not None and self.data is None

    @property
    def trains(self) -> bool:
        """Return whether a network is trained."""
        return self.from_run is None and not self.only_weights

    @property
    def fine_tunes(self) -> bool:
        """Return whether the training begins with weights that others trained."""
        return self.weights is not None and self.data is not None

    @property
    def model_name(self) -> str:
        """Return the name of the model: the network's, unless another is given."""
        return self.name or self.architecture
