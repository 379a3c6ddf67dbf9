"""The settings of `convoy tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from convoy.options import Names, Option, Options


class TuneSettings(Options):
    """
    Find the settings with which models run best on this machine, and write them for the server.

    Measure images per second and the time of a run for each number of threads (with as many runs
    at once as the cores allow; one at a time on a GPU) and each batch size. Choose the setting that
    answers most images within --p99-ms: a request waits at most for the run in progress, and then
    for its own. Stop the server, and everything else that uses the machine, before.
    """

    models: Annotated[Names, Option("MODEL", positional=True)] = Field(
        min_length=1, description="Tune the newest versions of these models."
    )
    model_repository: Annotated[Path, Option("DIR")] = Field(
        Path("model_repository"), description="Read artifacts from this folder."
    )
    p99_ms: float = Field(100.0, gt=0, description="Answer 99 of 100 requests within this time.")
    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto", description="Run models on this device, as in `convoy serve`."
    )
    tf32: bool = Field(False, description="Use TF32, if the server is started with it.")
    cuda_graphs: bool = Field(
        True, description="Use CUDA graphs, if the server is started with them."
    )
    tensorrt: bool = Field(False, description="Use TensorRT, if the server is started with it.")
    seconds: float = Field(3.0, gt=0, description="Measure each setting for this long.")
    plot: Annotated[Path | None, Option("FILE")] = Field(
        None,
        description="Draw the results to this file, as PNG or SVG; for several models, to a file "
        "for each with the model's name added.",
    )
    dry_run: bool = Field(False, description="Measure without writing the result.")
