"""The options of `convoy export`. Importing them loads no PyTorch."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from convoy.artifact.manifest import ModelName, Side
from convoy.export.importing.import_settings import Deviations, Means
from convoy.export.recipes import NETWORKS
from convoy.options import Location, Option, Options, Separated
from convoy.suggestion import suggest

TrackerName = Literal["tensorboard", "mlflow"]

_SOURCES = ("torchvision", "timm")

_OF_A_FILE = ("resize", "mean", "std")
_OF_A_TRAINING = (
    *("epochs", "batch_size", "learning_rate", "seed", "device", "mixed_precision", "workers"),
    *("early_stopping", "train_on_validation", "balance_classes", "track"),
)
_OF_THE_WEIGHTS = (
    *("data", "skip_bad_images", "weights", "seed", "epochs", "head_epochs", "early_stopping"),
    *("train_on_validation", "balance_classes", "batch_size", "learning_rate", "input_px"),
    *("scaled_decoding", "resize", "mean", "std", "name"),
)
"""Options that a training with other weights differs in, and its name."""
_FILE_ONLY = "a file of --weights; leave it out, as other weights and trainings have their own"
_LABELS_ONLY = (
    "a file of --weights without --data; leave it out, as other weights have their own, and "
    "trainings those of the data"
)
_TRAINING_ONLY = "a training; leave it out, or add --data"
_KEPT = "a training; leave it out, as --from trains nothing"
_NEW_ONLY = "a training or --weights; leave it out, as kept weights have their own preprocessing"
_IMAGES_ONLY = "images; leave it out, or add --evaluation-data"


class _Common(Options):
    """The origin of the network, and the place of the model."""

    panel = "Common"

    data: Annotated[str | None, Option("DATA")] = Field(
        None,
        description="Train on these images: mnist5k, hard5k, mnist, cifar10, imagenette or "
        "imagenet, or folder:PATH for a folder with one folder of images per class, or with such "
        "folders in train and val. Write NAME:FOLDER for a data set that is not in ./data.",
    )
    weights: Annotated[str | None, Option("WEIGHTS")] = Field(
        None,
        description="Begin with these weights: torchvision[:ENTRY], timm[:TAG], or a *.pth or "
        "*.safetensors file with a state dict or a checkpoint.",
    )
    from_run: Annotated[Path | None, Option("RUN", flag="from")] = Field(
        None,
        description="Export the weights that this folder of a training has kept, such as "
        "runs/lenet5, without training: the best ones, or those of the file that is named.",
    )
    name: Annotated[ModelName | None, Option("NAME")] = Field(
        None, description="Give the model this name. If unset, it has the name of the network."
    )
    model_repository: Location = Field(
        "model_repository",
        description="Write the model to this folder, or to this URL of an object store.",
    )


class _Training(Options):
    """A training."""

    panel = "Training"

    epochs: int = Field(
        0,
        ge=0,
        description="Train for this many passes over the images. 0 uses the recipe's number.",
    )
    early_stopping: int = Field(
        0,
        ge=0,
        description="Stop after this many epochs without progress on the validation images. 0 "
        "trains all epochs.",
    )
    head_epochs: int = Field(
        0, ge=0, description="When fine-tuning, train only the new head for this many passes first."
    )
    batch_size: int = Field(
        0, ge=0, description="Use this many images per step. 0 uses the recipe's number."
    )
    learning_rate: float = Field(
        0, ge=0, description="Use this learning rate. 0 uses the recipe's."
    )
    balance_classes: Literal["no", "weights", "sampler"] = Field(
        "no",
        description="For classes of different sizes. weights: weight the loss of each image by the "
        "inverse frequency of its class. sampler: draw images of each class equally often, those "
        "of rare classes repeatedly.",
    )
    train_on_validation: bool = Field(
        False,
        description="Train on the validation images, too. Nothing is validated then, and the "
        "weights of the last epoch are exported.",
    )
    seed: int = Field(
        0,
        ge=0,
        lt=2**63,
        description="Seed the initial weights, the order of the images and the augmentation.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Train on this device. auto uses a GPU if there is one."
    )
    mixed_precision: bool = Field(True, description="Train in half precision on a GPU.")
    workers: int = Field(2, ge=0, le=64, description="Decode photographs in this many processes.")
    runs: Annotated[Path, Option("DIR")] = Field(
        Path("runs"),
        description="Keep the weights, measurements and curves of each training in this folder.",
    )
    track: Annotated[list[TrackerName], Separated, Option("TRACKER")] = Field(
        [],
        description="Record the training for these programs, too: tensorboard writes event files "
        "into the folder of the training, mlflow writes to MLFLOW_TRACKING_URI.",
    )
    skip_bad_images: bool = Field(
        False,
        description="Leave out images that cannot be decoded, and record their names. Without it, "
        "such images are refused before the training begins.",
    )
    validate_only: bool = Field(
        False,
        description="Report the accuracy on the validation images, and write no model. Use this "
        "to choose a recipe.",
    )


class _Preprocessing(Options):
    """The classes, and the input of the network."""

    panel = "Preprocessing"

    labels: Annotated[Path | None, Option("FILE")] = Field(
        None,
        description="For a file of --weights without --data: read the names of the classes from "
        "this file, one per line, JSON or CSV.",
    )
    input_px: int = Field(
        0,
        ge=0,
        le=4096,
        description="Use square input images with this side. 0 uses that of the recipe, or of the "
        "public weights. Accuracies published for another side are left out.",
    )
    scaled_decoding: bool = Field(
        True,
        description="Decode large JPEGs at 1/2, 1/4 or 1/8 of their size, but with sides at least "
        "twice as long as after resizing. --no-scaled-decoding decodes all of them in full size, "
        "which takes several times as long for photographs.",
    )
    resize: Side | None = Field(
        None,
        description="For a file of --weights: resize the shorter side to this before the crop. If "
        "unset, the recipe's proportion is used.",
    )
    mean: Annotated[Means | None, Option("NUMBER")] = Field(
        None,
        description="For a file of --weights: the mean of the pixels, from 0 to 1, that it was "
        "trained with; one number, or one per channel. If unset, the recipe's.",
    )
    std: Annotated[Deviations | None, Option("NUMBER")] = Field(
        None,
        description="For a file of --weights: the standard deviation of the pixels, likewise. If "
        "unset, the recipe's.",
    )


class _Precision(Options):
    """The type of the arithmetic, and its accuracy."""

    panel = "Precision"

    precision: Literal["float32", "fp16", "int8"] = Field(
        "float32",
        description="Compute in this type. The accuracy of fp16 and int8 is measured against "
        "float32.",
    )
    evaluation_data: Annotated[str | None, Option("DATA")] = Field(
        None,
        description="When nothing is trained: measure the accuracy on these images, and find the "
        "ranges for fp16 and int8 with them. The form is that of --data.",
    )
    max_accuracy_loss: float = Field(
        0.5,
        ge=0,
        le=100,
        description="Refuse fp16 or int8 if it loses more than this many percentage points of "
        "accuracy.",
    )


class ExportSettings(_Common, _Training, _Preprocessing, _Precision):
    """
    Train a network or take public weights, and write a model for the server.

    With --data, the network is trained. With --weights, public weights or those of a file are
    taken as they are. With both, the weights are fine-tuned: the network gets a new head for the
    classes of the data. With --from, the weights of an earlier training are taken. Without any of
    these, the network is trained on mnist5k.

    Before the model is written, its ONNX graph must give the same answers as PyTorch.
    """

    examples = (
        ("Train LeNet-5 on handwritten digits", "convoy export lenet5"),
        ("Take ImageNet weights of torchvision", "convoy export resnet50 --weights torchvision"),
        (
            "Fine-tune them on a folder with one folder per class",
            "convoy export resnet18 --weights torchvision \\\n"
            "      --data folder:photos --name my-photos",
        ),
    )

    architecture: Annotated[str, Option("NETWORK", positional=True)] = Field(
        "", description="Export this network, such as lenet5 or resnet50. Leave it out with --from."
    )

    @field_validator("architecture")
    @classmethod
    def _is_network(cls, name: str) -> str:
        if name and name not in NETWORKS:  # none with --from
            raise ValueError(f"unknown network {name!r}; {suggest(name, NETWORKS)}")
        return name

    @field_validator("data", "evaluation_data")
    @classmethod
    def _is_data_set(cls, name: str | None) -> str | None:
        if name is not None:
            from convoy.export.data import check_name  # with numpy, which --help does not wait for
            from convoy.export.errors import DataError

            try:
                check_name(name)
            except DataError as error:
                raise ValueError(str(error)) from error
        return name

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
            (("labels",), self.is_file and self.only_weights, _LABELS_ONLY),
            (_OF_A_FILE, self.is_file, _FILE_ONLY),
            (_OF_A_TRAINING, self.trains, _TRAINING_ONLY if self.from_run is None else _KEPT),
            (("input_px", "scaled_decoding"), self.from_run is None, _NEW_ONLY),
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
                flag = f"--{'no-' * (value is False)}{name.replace('_', '-')}"
                is_switch = isinstance(value, bool)
                text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
                words.append(flag if is_switch else f"{flag} {shlex.quote(text)}")
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
