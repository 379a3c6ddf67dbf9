"""The settings of `convoy tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from convoy.commands.output_files import Drawing
from convoy.options import Names, Option, Options


class TuneSettings(Options):
    """
    Find the settings with which models run best on this machine, and write them for the server.

    For each number of threads and each batch size, the command measures images per second and the
    time of a run. It chooses the setting with the most images per second that keeps --p99-ms. A
    request waits at most for the run in progress, and then for its own. On a CPU, the command
    measures ONNX Runtime's own kernels and, if it is installed, OpenVINO.

    If there are versions of the model in float32 and in int8, all of them are measured, and the
    command recommends one.

    First stop the server, and everything else that uses the machine.
    """

    examples = (
        ("Tune a model for answers within 50 ms", "convoy tune resnet50 --p99-ms 50"),
        (
            "Find out whether bf16 with OpenVINO is faster",
            "convoy tune resnet50 --cpu-precision bf16",
        ),
        (
            "Only measure, and draw the results",
            "convoy tune resnet50 --dry-run --plot tuning.png",
        ),
    )

    models: Annotated[Names, Option("MODEL", positional=True)] = Field(
        min_length=1, description="Tune the newest versions of these models."
    )
    model_repository: Annotated[Path, Option("DIR")] = Field(
        Path("model_repository"), description="Find the models in this folder."
    )
    p99_ms: float = Field(100.0, gt=0, description="Answer 99 of 100 requests within this time.")
    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto", description="Run models on this device, as in `convoy serve`."
    )
    cpu_provider: Literal["auto", "onnxruntime", "openvino"] = Field(
        "auto", description="Measure only this provider on a CPU. auto measures all of them."
    )
    cpu_precision: Literal["float32", "bf16"] = Field(
        "float32",
        description="With bf16, measure bf16 beside float32 on a CPU. Give this if you start the "
        "server with it.",
    )
    tf32: bool = Field(False, description="Use TF32. Give this if you start the server with it.")
    cuda_graphs: bool = Field(
        True, description="Use CUDA graphs. Turn this off if you start the server without them."
    )
    tensorrt: bool = Field(
        False, description="Use TensorRT. Give this if you start the server with it."
    )
    seconds: float = Field(3.0, gt=0, description="Measure each setting for this long.")
    plot: Annotated[Drawing | None, Option("FILE")] = Field(
        None,
        description="Draw the results to this file, as PNG or SVG. With several versions, there "
        "is a file for each, with its name and version added.",
    )
    dry_run: bool = Field(False, description="Measure, and do not write the result.")

    @model_validator(mode="after")
    def _provider_has_precision(self) -> Self:
        if self.cpu_provider == "onnxruntime" and self.cpu_precision == "bf16":
            raise ValueError(
                "--cpu-precision bf16 needs OpenVINO; leave out --cpu-provider onnxruntime"
            )
        return self
