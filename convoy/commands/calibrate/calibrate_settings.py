"""The settings of `convoy calibrate`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from convoy.options import Location, Option, Options


class CalibrateSettings(Options):
    """
    Calibrate the probabilities of a model: of the answers with a probability of 0.8, eight in ten
    should be right.

    One number, the temperature, is fitted to images of known classes. The next version of the model
    divides its logits by it; classes and their order stay the same. The calibration error before
    and after is measured on other images. The command writes nothing, and still exits with 0, if
    the temperature is almost 1 or if the cross-entropy on the other images does not fall. PyTorch
    is not needed.
    """

    examples = (
        ("Calibrate a model on photographs", "convoy calibrate lenet5 --data folder:photos"),
    )

    model: Annotated[str, Option("MODEL", positional=True, has_variable=False)] = Field(
        description="Calibrate the newest version of this model, or NAME:VERSION."
    )
    data: Annotated[str, Option("DATA")] = Field(
        description="Fit and measure on these images with known classes, which the model was not "
        "trained on: folder:DIR, or another data set of `convoy export`. If the data has a "
        "validation part, it is used for the fit, and the test part for the measurement. "
        "Otherwise, each gets one half."
    )
    by_order: bool = Field(
        False,
        description="Use the folders, sorted by name, as the classes of the model in their "
        "order, whatever their names are.",
    )
    skip_bad_images: bool = Field(False, description="Leave out images that cannot be decoded.")
    model_repository: Location = Field(
        "model_repository",
        description="Read and write models in this folder, or at this URL of an object store.",
    )
