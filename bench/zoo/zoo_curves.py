"""The trainings of a zoo, epoch by epoch: `docs/explanation/training_curves.json` and figures.

`python -m bench.zoo` writes the file at its end. `python -m bench.zoo.zoo_curves FOLDER` writes it
of the trainings that have finished so far, without measuring anything.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench.zoo.training import Zoo
from convoy.export.recipes import SMALL
from convoy.export.training.epoch_log import Epoch
from convoy.export.training.learning_curves import add_run, curves, reading
from convoy.figures import style

FILE = "training_curves.json"

PLAIN_AND_RESIDUAL = ("plain20", "plain56", "resnet20", "resnet56")
"""The networks whose curves share a figure: the same layers with and without shortcuts."""

_NAMES = [field.name for field in fields(Epoch)]

Trainings = Mapping[str, Sequence[Epoch]]
"""The epochs of each training, by the name of the network."""


def write(zoo: Zoo, names: Sequence[str], path: Path) -> None:
    """Keep the epochs of *names*, which have four significant digits, in place of earlier ones."""
    before = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    found = {name: _columns(zoo.epochs(name)) for name in names}
    known = {"seed": zoo.seed, "validated": zoo.validated, "data": zoo.data}
    # Trainings of another kind are no companions of these.
    kept = before["runs"] if {key: before.get(key) for key in known} == known else {}
    rows = [f"    {json.dumps(name)}: {json.dumps(run)}" for name, run in (kept | found).items()]
    head = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in known.items())
    body = ",\n".join(rows)
    path.write_text(f'{{\n  {head},\n  "runs": {{\n{body}\n  }}\n}}\n')


def figures(path: Path) -> dict[str, Figure]:
    """Return the figures of the trainings in the file at *path*, by their names."""
    content = json.loads(path.read_text())
    runs = {name: _epochs(columns) for name, columns in content["runs"].items()}
    caption = [f"Trained on {content['data']} with seed {content['seed']} (bench.zoo)."]
    found = {"training_curves": _panels(runs, caption)}
    if set(PLAIN_AND_RESIDUAL) <= set(runs):
        pair = {name: runs[name] for name in PLAIN_AND_RESIDUAL}
        found["degradation_small"] = curves("Plain and residual networks", pair, caption)
    return found


def _panels(runs: Trainings, caption: Sequence[str]) -> Figure:
    """Draw the accuracy of each network in a panel of its own, all on the same scale."""
    made, panels, _ = style.frame(
        "Accuracy over the epochs of a training",
        [*reading(runs), "The number is the last one of the strong line.", *caption],
        list(runs),
        columns=3,
        panel_in=2.2,
    )
    for axes, (name, epochs) in zip(panels, runs.items(), strict=True):
        last = add_run(axes, name, epochs, "accuracy")[-1]
        axes.text(0.97, 0.06, f"{last:.1f} %", transform=axes.transAxes, ha="right")
        axes.texts[-1].set(fontsize=style.SMALL, color=style.INK)
        axes.set(ylim=(0, 102), xlabel="epoch", ylabel="accuracy (%)")
        style.set_whole(axes)
    return made


def _columns(epochs: Sequence[Epoch]) -> dict[str, list[float | None]]:
    rows = [asdict(epoch) for epoch in epochs]
    return {name: [_rounded(row[name]) for row in rows] for name in _NAMES}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _epochs(columns: Mapping[str, Sequence[Any]]) -> list[Epoch]:
    rows = zip(*(columns[name] for name in _NAMES), strict=True)
    return [Epoch(**dict(zip(_NAMES, row, strict=True))) for row in rows]


def main() -> int:
    """Write the epochs of the finished trainings of one zoo."""
    parser = argparse.ArgumentParser(prog="python -m bench.zoo.zoo_curves", description=__doc__)
    parser.add_argument("folder", type=Path, help="such as build/zoo/seed-0")
    parser.add_argument("--data", default="hard5k")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validated", action="store_true")
    parser.add_argument("--docs", type=Path, default=Path("docs/explanation"))
    given = parser.parse_args()
    zoo = Zoo(folder=given.folder, data=given.data, seed=given.seed, validated=given.validated)
    names = [name for name in SMALL if zoo.manifest(name)]
    write(zoo, names, given.docs / FILE)
    print(f"{given.docs / FILE}: {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
