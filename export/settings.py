"""Everything that `convoy export` can be told. Light: importing it loads no PyTorch."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, CliImplicitFlag, CliPositionalArg, SettingsConfigDict

from artifact.manifest import ModelName


class ExportSettings(BaseSettings):
    """
    Train a network, prove that its ONNX graph answers as PyTorch does, and write the artifact.

    Each option is also a variable: --model-repository is CONVOY_MODEL_REPOSITORY.
    """

    model_config = SettingsConfigDict(
        frozen=True, env_prefix="CONVOY_", cli_kebab_case=True, cli_prog_name="convoy export"
    )

    architecture: CliPositionalArg[str] = Field(description="Name of the network, such as lenet5.")
    data: str = Field("mnist5k", description="mnist5k, or folder:PATH with one folder per class.")
    seed: int = Field(
        0, ge=0, lt=2**63, description="Of the first weights, order and augmentation."
    )
    epochs: int = Field(0, ge=0, description="Passes over the images; 0 takes the recipe's.")
    model_repository: Path = Field(Path("model_repository"), description="Where artifacts go.")
    name: ModelName | None = Field(
        None, description="Name of the model; that of the network if it is not given."
    )
    validate_only: CliImplicitFlag[bool] = Field(
        False,
        description="Train without the validation images, report on them, write nothing: "
        "for choosing a recipe.",
    )
