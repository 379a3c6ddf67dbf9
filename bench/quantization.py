"""Every network of the zoo before and after quantising: writes JSON, and a table into the page.

`make zoo` trains the networks first. Each is converted by the code of `convoy quantize`, with the
training part of the data, and compared on all of its test part. The speed is that of ONNX Runtime
alone, on one thread.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from convoy.artifact.errors import RepositoryError
from convoy.artifact.files import Artifact
from convoy.artifact.repository import ModelRepository
from convoy.commands.measurement.artifacts import read_newest
from convoy.export.errors import PrecisionError
from convoy.export.quantization.images import from_data
from convoy.export.quantization.interface import Interface
from convoy.export.quantization.processor import choose_scheme, read_processor
from convoy.export.quantization.quantizing import CALIBRATION_COUNT, quantize
from convoy.export.quantization.report import FLOAT32, INT8
from convoy.export.quantization.speed import measure_speed
from convoy.export.quantization.verification import Bounds

MARKS = "<!-- quantization -->", "<!-- end of quantization -->"
"""The marks around the table in the page."""

BOUNDS = Bounds(max_accuracy_loss=0.5, min_agreement=0)
"""The defaults of `convoy quantize`."""


def main() -> int:
    """Convert and measure the networks, and write the results; return 1 if there are none."""
    parser = argparse.ArgumentParser(prog="python -m bench.quantization", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all models if none is given")
    parser.add_argument("--model-repository", type=Path, default=Path("build/zoo/seed-0/models"))
    parser.add_argument("--data", default="hard5k")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each version's speed")
    parser.add_argument("--docs", type=Path, default=Path("docs/explanation"))
    chosen = parser.parse_args()
    try:
        artifacts = read_newest(ModelRepository(chosen.model_repository), chosen.names)
    except RepositoryError as error:
        print(f"{error}; make zoo trains the networks", file=sys.stderr)
        return 1
    rows = []
    for artifact in artifacts:
        # An int8 version that somebody has made of one of them.
        if artifact.manifest.precision == "float32":
            rows.append(measure(artifact, chosen.data, chosen.seconds))
            print(json.dumps(rows[-1]), flush=True)
    results = {"data": chosen.data, "processor": read_processor().name, "networks": rows}
    (chosen.docs / "quantization.json").write_text(json.dumps(results, indent=2) + "\n")
    page = chosen.docs / "benchmarks.md"
    page.write_text(written(rows, page.read_text()))
    return 0


def measure(artifact: Artifact, data: str, seconds: float) -> dict[str, Any]:
    """Return the figures of one network before and after, or the reason why int8 is refused."""
    manifest = artifact.manifest
    known = {"name": manifest.name, "input_px": manifest.input.height, "macs": manifest.macs}
    scheme = choose_scheme(read_processor().features)
    try:
        quantized = quantize(
            artifact.model_path,
            Interface.of(manifest),
            from_data(data, manifest, CALIBRATION_COUNT, 0),
            scheme,
            BOUNDS,
            Console(emoji=False, quiet=True),
        )
    except PrecisionError as error:
        return known | {"refused": str(error)}
    (found,) = quantized.comparisons
    graphs = {
        FLOAT32: artifact.model_path.read_bytes(),
        INT8: quantized.model.SerializeToString(),
    }
    speeds = measure_speed(graphs, artifact.golden.images, manifest.max_batch_size, seconds)
    return known | {
        "scheme": scheme,
        "images": found.images,
        "accuracy": [found.accuracy_before, found.accuracy],
        "same_class": found.same_class,
        "largest_change": round(found.largest_change, 4),
        "float32_layers": quantized.float32_layers,
        "bytes": [len(graph) for graph in graphs.values()],
        "images_per_s": [round(speed.images_per_s, 1) for speed in speeds.values()],
        "p50_ms": [round(speed.p50_ms, 3) for speed in speeds.values()],
    }


def written(rows: Sequence[dict[str, Any]], text: str) -> str:
    """Return the *text* of a page with a table of *rows* between its marks."""
    begin, end = MARKS
    columns = (
        *("network", "px", "accuracy: float32, int8", "same class", "layers in float32"),
        *("file, MB", "images/s, one thread", "times", "p50 of one image, ms"),
    )
    lines = [list(columns), ["---"] * len(columns), *(_cells(row) for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return re.sub(
        f"{begin}.*{end}", lambda _: f"{begin}\n\n{table}\n\n{end}", text, flags=re.DOTALL
    )


def _cells(row: dict[str, Any]) -> list[str]:
    known = [f"`{row['name']}`", str(row["input_px"])]
    if "refused" in row:
        return [*known, "refused", *[""] * 6]
    before, after = row["images_per_s"]
    return [
        *known,
        ", ".join(f"{share:.3f}" for share in row["accuracy"]),
        f"{100 * row['same_class'] / row['images']:.1f} %",
        str(len(row["float32_layers"]) or ""),
        ", ".join(f"{size / 1e6:.2f}" for size in row["bytes"]),
        f"{before:,.1f}, {after:,.1f}",
        f"{after / before:.2f}",
        ", ".join(f"{time:.2f}" for time in row["p50_ms"]),
    ]


if __name__ == "__main__":
    sys.exit(main())
