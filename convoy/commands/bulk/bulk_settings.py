"""The settings of `convoy bulk`."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from convoy.commands.connection import CredentialSettings
from convoy.defaults import TIMEOUT_S
from convoy.options import Location, Names, Option

FOR_SERVERS = (*CredentialSettings.model_fields, "timeout_s")
"""Options that only servers need."""

FOR_OWN_MODEL = ("model_repository", "device")
"""Options that only a model on this machine needs."""

_LIMIT = re.compile(r"(\d+)|(\d+(\.\d+)?)%")


class BulkSettings(CredentialSettings):
    """
    Classify any number of images, on this machine or a cluster, and write their labels to files.

    The images are split into shards. Each has a part in the folder of labels, which appears when it
    is complete; --resume continues after any interruption. A bad image is a row with a reason. The
    exit code is 0 if every image has a row, and 3 if --max-failures was exceeded.
    """

    examples = (
        (
            "Label the images of a folder, and of those in it",
            "convoy bulk lenet5 photos --to labels",
        ),
        (
            "Label a column of a Parquet file, with the ids of another one",
            "convoy bulk lenet5 photos.parquet --column image --id id --to labels",
        ),
        (
            "Label a bucket on a Dask cluster",
            "convoy bulk lenet5 's3://bucket/**/*.jpg' \\\n"
            "      --to s3://bucket/labels \\\n"
            "      --engine dask --address tcp://scheduler:8786",
        ),
    )

    model: Annotated[str, Option("MODEL", positional=True)] = Field(
        description="Use the newest version of this model, or NAME:VERSION."
    )
    sources: Annotated[list[str], Option("SOURCE", positional=True)] = Field(
        min_length=1,
        description="Classify the images in these folders, files, tar files of WebDataset, and "
        "Parquet files: paths or URLs that fsspec reaches. Wildcards, and ranges in braces as in "
        "bash, are expanded.",
    )
    to: Annotated[str, Option("DIR")] = Field(
        min_length=1, description="Write the labels to this folder, a path or a URL."
    )
    column: str = Field(
        "image", min_length=1, description="Read the images from this column of Parquet files."
    )
    id: Annotated[str, Option("COLUMN")] = Field(
        "",
        description="Name the rows by this column of Parquet files. If unset, rows have the name "
        "of the file and their number.",
    )
    format: Literal["parquet", "jsonl", "csv"] = Field(
        "parquet", description="Write Parquet, JSON Lines or CSV."
    )
    resume: bool = Field(False, description="Continue this job, and keep the parts that it has.")
    max_failures: Annotated[str, Option("N or N%")] = Field(
        "100%", description="Stop when more images than this have failed: a number, or a share."
    )
    top_k: int = Field(5, ge=1, le=1000, description="Write this many classes of each image.")
    model_repository: Location = Field(
        "model_repository", description="Find the model in this folder, a path or a URL."
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto", description="Run the model on this device. auto uses CUDA if it is available."
    )
    workers: int = Field(
        0, ge=0, description="Start this many local workers. 0 starts one for each processor."
    )
    engine: Literal["local", "dask", "ray"] = Field(
        "local", description="Run the shards on this engine."
    )
    address: str = Field(
        "",
        description="Connect to the cluster of --engine at this address, such as "
        "tcp://scheduler:8786, ray://head:10001, or auto. If unset, start one on this machine.",
    )
    server: Annotated[Names, Option("HOST:PORT")] = Field(
        [], description="Query these servers instead of running the model here."
    )
    timeout_s: float = Field(
        TIMEOUT_S, gt=0, le=1e6, description="Wait this long for each answer of a server."
    )

    @field_validator("max_failures")
    @classmethod
    def _check_limit(cls, limit: str) -> str:
        if not _LIMIT.fullmatch(limit) or (limit.endswith("%") and float(limit[:-1]) > 100):
            raise ValueError(f"{limit!r} is not a limit; expected a number, or a share such as 1%")
        return limit

    @field_validator("server")
    @classmethod
    def _to_targets(cls, servers: list[str]) -> list[str]:
        if not servers:
            return servers
        from convoy.connecting import to_target  # with gRPC, which --help does not wait for

        return [to_target(server) for server in servers]

    @model_validator(mode="after")
    def _fit_together(self, info: ValidationInfo) -> Self:
        # Variables such as CONVOY_TOKEN may be meant for other commands.
        flags = (info.context or {}).get("flags", self.model_fields_set)
        names = FOR_OWN_MODEL if self.server else FOR_SERVERS
        if unused := [f"--{name.replace('_', '-')}" for name in names if name in flags]:
            given = ", ".join(unused)
            reason = "not with --server" if self.server else "only for --server"
            raise ValueError(f"{given}: {reason}; leave out {given}")
        if self.to.startswith("memory:"):
            raise ValueError(
                f"{self.to} is lost when the command ends; name a folder or another URL"
            )
        # CONVOY_ADDRESS may be the server of other commands.
        if "address" in flags and self.address and self.engine == "local":
            raise ValueError("--address needs --engine dask or --engine ray")
        if self.workers and self.address and self.engine != "local":
            raise ValueError("--workers is for workers on this machine; leave out --address")
        return self

    def most_failures(self, images: int) -> int:
        """Return the limit on failures among *images*."""
        if self.max_failures.endswith("%"):
            return int(images * float(self.max_failures[:-1]) / 100)
        return int(self.max_failures)
