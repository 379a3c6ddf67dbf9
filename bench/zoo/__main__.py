"""`make zoo`: train the brief's networks small, serve and measure them, and write the results."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.zoo import zoo_figures, zoo_table
from bench.zoo.training import Zoo, train
from convoy.export.recipes import SMALL

NAMES = (
    *("lenet5", "alexnet", "vgg16", "bn_nin", "googlenet", "inception_v4"),
    *("resnet18", "resnet50", "resnet20", "plain20", "resnet56", "plain56"),
)
"""The networks of the brief, and the small ones that show the effect of shortcuts."""

PAIRS = {
    "degradation_small": ("plain20", "plain56", "resnet20", "resnet56"),
    "degradation": ("plain18", "plain34", "resnet18", "resnet34"),
}
"""The networks whose curves share a picture, by the picture's name."""


def main() -> int:
    """Train the missing networks and measure all; return 1 if a training failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.zoo", description=__doc__)
    parser.add_argument(
        "names", nargs="*", type=_known, metavar="NAME", help="those of the brief if none is given"
    )
    parser.add_argument("--all", action="store_true", help="every network, as long as it takes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, as on a GPU")
    parser.add_argument(
        "--validated",
        action="store_true",
        help="take the best epoch by validation instead of training on the validation images",
    )
    parser.add_argument("--accuracy-only", action="store_true", help="measure no speed")
    parser.add_argument("--folder", type=Path, default=Path("build/zoo"))
    parser.add_argument("--docs", type=Path, default=Path("docs/explanation"))
    chosen = parser.parse_args()
    names = chosen.names or [*NAMES, *(name for name in SMALL if chosen.all and name not in NAMES)]
    zoo = Zoo(
        folder=chosen.folder / f"seed-{chosen.seed}", seed=chosen.seed, validated=chosen.validated
    )
    try:
        failed = train(zoo, names, chosen.jobs)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here")
        return 130
    trained = [name for name in dict.fromkeys([*NAMES, *SMALL]) if zoo.manifest(name)]
    measured = zoo_figures.measure(zoo, trained, speed=not chosen.accuracy_only)
    rows = [zoo_table.row(zoo, name, found) for name, found in measured.items()]
    zoo_table.add(rows, chosen.docs / "zoo.json")
    zoo_table.write(chosen.docs / "zoo.json", chosen.docs / "architectures.md")
    for title, together in PAIRS.items():
        if set(together) <= set(trained):
            zoo_table.draw(zoo, together, chosen.docs / "images" / f"{title}.png")
    for name in failed:
        print(f"{name} was not trained", file=sys.stderr)
    return 1 if failed else 0


def _known(name: str) -> str:
    if name not in SMALL:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(SMALL)}")
    return name


if __name__ == "__main__":
    sys.exit(main())
