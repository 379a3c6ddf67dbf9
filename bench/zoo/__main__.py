"""`make zoo`: train the brief's networks small, serve and measure them, and write the results."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.zoo import zoo_curves, zoo_measurement, zoo_table
from bench.zoo.training import Zoo, train
from convoy.export.recipes import SMALL

NAMES = (
    *("lenet5", "alexnet", "vgg16", "bn_nin", "googlenet", "inception_v4"),
    *("resnet18", "resnet50", "resnet20", "plain20", "resnet56", "plain56"),
)
"""The networks of the brief, and the small ones that show the effect of shortcuts."""

DIGITS = "hard5k"
"""The data set of the documented table."""


def main() -> int:
    """Train the missing networks and measure all; return 1 if a training failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.zoo", description=__doc__)
    parser.add_argument(
        "names", nargs="*", type=_known, metavar="NAME", help="those of the brief if none is given"
    )
    parser.add_argument("--all", action="store_true", help="every network, as long as it takes")
    parser.add_argument("--data", default=DIGITS, help=f"{DIGITS}, imagenette or cifar10")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, as on a GPU")
    parser.add_argument(
        "--validated",
        action="store_true",
        help="take the best epoch by validation instead of training on the validation images",
    )
    parser.add_argument("--accuracy-only", action="store_true", help="measure no speed")
    parser.add_argument("--folder", type=Path, help="of the trainings; build/zoo, if unset")
    parser.add_argument("--docs", type=Path, help="of the table and the figures")
    chosen = parser.parse_args()
    names = chosen.names or [*NAMES, *(name for name in SMALL if chosen.all and name not in NAMES)]
    # The documentation is about digits; other results stay beside their trainings.
    kind = chosen.data.partition(":")[0]
    folder = chosen.folder or Path("build", "zoo" if kind == DIGITS else f"zoo-{kind}")
    docs = chosen.docs or (Path("docs/explanation") if kind == DIGITS else folder)
    zoo = Zoo(
        folder=folder / f"seed-{chosen.seed}",
        data=chosen.data,
        seed=chosen.seed,
        validated=chosen.validated,
    )
    try:
        failed = train(zoo, names, chosen.jobs)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here")
        return 130
    trained = [name for name in dict.fromkeys([*NAMES, *SMALL]) if zoo.manifest(name)]
    measured = zoo_measurement.measure(zoo, trained, speed=not chosen.accuracy_only)
    rows = [zoo_table.row(zoo, name, found) for name, found in measured.items()]
    if not rows:
        print("no network was trained", file=sys.stderr)
        return 1
    docs.mkdir(parents=True, exist_ok=True)
    zoo_table.add(rows, docs / "zoo.json")
    zoo_table.write(docs / "zoo.json", docs / "architectures.md")
    zoo_curves.write(zoo, trained, docs / zoo_curves.FILE)
    for name in failed:
        print(f"{name} was not trained", file=sys.stderr)
    return 1 if failed else 0


def _known(name: str) -> str:
    if name not in SMALL:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(SMALL)}")
    return name


if __name__ == "__main__":
    sys.exit(main())
