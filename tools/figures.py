"""The figures of the documentation, from the data beside it: `python -m tools.figures`.

Draws every figure in docs/explanation/images again. Each comes from one JSON file in
docs/explanation, which the command named here measured:

    zoo.json              python -m bench.zoo
    compare.json          convoy compare --json
    training_curves.json  python -m bench.zoo
    race_curves.json      python -m bench.race.curves
    photos.json           python -m bench.photo_costs
    fronts.json           python -m bench.fronts --json
    loading.json          python -m bench.model_loads large --trace
    tuning.json           convoy tune, which writes it beside the model
    flywheel.json         make flywheel

A file that is missing has no figures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from bench import front_figure, model_loads, photo_costs
from bench.race import curves
from bench.zoo import degradation, zoo_comparison, zoo_curves
from convoy.artifact.tuning import TUNING_FILE, read_tuning
from convoy.commands.compare import comparison_data
from convoy.commands.compare import figures as compare_figures
from convoy.commands.tune import tuning_figure
from convoy.figures import style
from tools import flywheel_figure

DOCS = Path("docs/explanation")


def _zoo(path: Path) -> Mapping[str, Figure]:
    return {"degradation": degradation.figure(path), **_compared(zoo_comparison.figures(path))}


def _costs(path: Path) -> Mapping[str, Figure]:
    return _compared(compare_figures.of_cost(comparison_data.read(path)))


def _compared(found: Mapping[str, Figure]) -> Mapping[str, Figure]:
    return {f"compare/{name}": made for name, made in found.items()}


def _tuned(path: Path) -> Mapping[str, Figure]:
    tuning = read_tuning(path.parent)
    assert tuning
    return {"tuning": tuning_figure.figure("ResNet-18, 224 px", tuning)}


SOURCES: Mapping[str, Callable[[Path], Mapping[str, Figure]]] = {
    "zoo.json": _zoo,
    "compare.json": _costs,
    zoo_curves.FILE: zoo_curves.figures,
    "race_curves.json": lambda path: {"race_curves": curves.figure(path)},
    "photos.json": lambda path: {"photos": photo_costs.figure(path)},
    "fronts.json": lambda path: {"fronts": front_figure.figure(path)},
    "loading.json": lambda path: {"loading": model_loads.figure(path)},
    TUNING_FILE: _tuned,
    "flywheel.json": lambda path: {"flywheel": flywheel_figure.figure(path)},
}
"""The function that draws the figures of each file of data, by their paths without suffix."""


def figures(docs: Path = DOCS) -> dict[str, Figure]:
    """Return every figure whose data is in *docs*, by its path below `images`, without suffix."""
    found: dict[str, Figure] = {}
    for name, draw in SOURCES.items():
        if (docs / name).exists():
            found |= draw(docs / name)
    return found


def main() -> int:
    """Draw all figures."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.figures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--docs", type=Path, default=DOCS)
    docs = parser.parse_args().docs
    for name, made in figures(docs).items():
        path = docs / "images" / f"{name}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        style.save(made, path)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
