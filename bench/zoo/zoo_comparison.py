"""The results of a zoo in the figures of `convoy compare`: accuracy, operations, parameters, speed.

Times and memory by batch size are no results of a zoo: `convoy compare` measures them.
"""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure

from bench.zoo.zoo_measurement import CALLS_IN_FLIGHT
from bench.zoo.zoo_table import Row
from convoy.artifact.manifest import Evaluation
from convoy.commands.compare import accuracy
from convoy.commands.compare.accuracy_figures import against_speed
from convoy.commands.compare.comparison_data import Comparison, Machine, Network
from convoy.commands.compare.figures import of_accuracy
from convoy.commands.compare.published import PUBLISHED

SETS = {"accuracy_hard": "hard5k", "accuracy": "mnist5k"}
"""The data set of each accuracy in a row."""


def figures(path: Path) -> dict[str, Figure]:
    """Return the figures of the networks of seed 0 whose speed is in the results at *path*."""
    rows = [row for row in json.loads(path.read_text()) if row["throughput_best"]]
    comparison = _comparison(rows)
    hard, *_ = accuracy.measured(comparison)
    by_name = {row["name"]: row for row in rows}
    panels = {
        f"{hard.title}; {load}": [(score, by_name[score.name][field]) for score in hard.scores]
        for field, load in (
            ("throughput_batch_1", "one call at a time"),
            ("throughput_best", f"{CALLS_IN_FLIGHT} calls in flight"),
        )
    }
    speed = against_speed(
        panels, "Through the server (bench.zoo): from PNG to label, on 2 cores with the client."
    )
    return of_accuracy(comparison) | {"top1_against_throughput": speed}


def _comparison(rows: list[Row]) -> Comparison:
    """Return *rows* as a comparison in which neither times nor memory were measured."""
    return Comparison(
        machine=Machine(
            processor="", cpus=0, threads=0, provider="", onnxruntime="", measured_at=""
        ),
        seconds=0,
        networks=tuple(map(_network, rows)),
    )


def _network(row: Row) -> Network:
    return Network(
        name=row["name"],
        version=1,
        architecture=row["name"],
        precision="float32",
        input_px=row["input_px"],
        parameters=row["parameters"],
        macs=row["macs"],
        weights_bytes=row["memory_weights_bytes"],
        evaluations=tuple(
            Evaluation(
                data=f"{data}, test part",
                origin="measured",
                images=row[f"{field}_images"],
                top1=row[field],
            )
            for field, data in SETS.items()
        ),
        published=PUBLISHED.get(row["name"]),
        batches=(),
    )
