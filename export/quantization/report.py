"""The report of a conversion: the versions side by side, as measured on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from convoy.artifact.files import Artifact
from convoy.artifact.manifest import Manifest, Memory
from convoy.export.onnx.memory import measure_memory
from convoy.export.quantization.quantizing import Quantized
from convoy.export.quantization.speed import Speed, measure_speed

FLOAT32, INT8, IN_FULL = "float32", "int8", "int8, all layers"
"""The graphs that are compared; the last one only if layers stayed in float32."""


def report(
    source: Artifact, manifest: Manifest, quantized: Quantized, seconds: float, console: Console
) -> None:
    """Measure the graphs for *seconds* each, and print what *manifest* and that say of them."""
    record = manifest.quantization
    assert record is not None  # it was just written
    console.print(
        f"ranges: {100 * record.range_growth:.1f} % of a range is owed to the second half of the "
        f"{record.calibration_images} images on average, {100 * record.largest_range_growth:.1f} % "
        "at most"
    )
    if layers := record.float32_layers:
        console.print(f"layers that stay in float32: {', '.join(layers)}")
    if seconds:
        graphs = {
            FLOAT32: source.model_path.read_bytes(),
            INT8: quantized.model.SerializeToString(),
        }
        if quantized.in_full:
            graphs[IN_FULL] = quantized.in_full.SerializeToString()
        images, most = source.golden.images, manifest.max_batch_size
        speeds = measure_speed(graphs, images, most, seconds)
        console.print(_table(speeds, _memory(source, manifest), manifest))
        for line in conclusions(speeds):
            console.print(line)


def conclusions(speeds: Mapping[str, Speed]) -> Iterator[str]:
    """
    Yield what *speeds* mean, a line each.

    Args:
        speeds: The speed of `FLOAT32` and `INT8`, and of `IN_FULL` if layers stayed in float32.
    """
    before, after = (speeds[name].images_per_s for name in (FLOAT32, INT8))
    ratio = after / before
    if ratio < 1:
        yield (
            f"warning: int8 is slower than float32 on this machine, {ratio:.2f} times the "
            "images/s: serve float32"
        )
    else:
        yield f"int8 runs {ratio:.2f} times the images/s of float32"
    if IN_FULL in speeds:
        cost = 100 * (1 - after / speeds[IN_FULL].images_per_s)
        yield f"the layers in float32 cost {max(cost, 0):.0f} % of the speed of all layers in int8"


def _memory(source: Artifact, manifest: Manifest) -> dict[str, Memory]:
    """Return the memory of both versions, measured alike."""
    assert manifest.memory is not None
    images = source.golden.images
    batch = np.resize(images, (manifest.memory.batch_size, *images.shape[1:]))
    return {FLOAT32: measure_memory(source.model_path, batch), INT8: manifest.memory}


def _table(speeds: Mapping[str, Speed], memory: Mapping[str, Memory], manifest: Manifest) -> Table:
    numbers = ("images/s", "p50 ms", "weights MB", "arena MB", "accuracy", "same class")
    columns = [Column(""), *(Column(name, justify="right") for name in numbers)]
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, speed in speeds.items():
        cells = [name, f"{speed.images_per_s:,.1f}", f"{speed.p50_ms:,.2f}"]
        if name in memory:
            used = memory[name]
            cells += [f"{used.weights_bytes / 1e6:,.2f}", f"{used.arena_peak_bytes / 1e6:,.2f}"]
            cells += _answers(name, manifest)
        table.add_row(*cells)
    return table


def _answers(name: str, manifest: Manifest) -> list[str]:
    """Return accuracy and agreement on the first test, where they are known."""
    assert manifest.quantization is not None
    found = manifest.quantization.comparisons[0]
    accuracy = found.accuracy_before if name == FLOAT32 else found.accuracy
    shown = "" if accuracy is None else f"{accuracy:.4f}"
    return [shown, "" if name == FLOAT32 else f"{found.agreement:.1f} %"]
