"""Compares the time of an epoch of two commits: `python -m bench.training_speed COMMIT`.

The commit and the working tree train in turns, each in a process of its own on one processor. The
processor time of the epochs after the first one counts, as other work on the machine makes the time
on a clock useless. Both train on the same images, as
`--train-on-validation` restores what older commits did. The environment must have the packages that
both need.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

EPOCHS = 3
"""Epochs that count, after the one that warms up."""

POLL_S = 0.02
"""Time between two looks at a training; the error of a measurement is about twice as much."""


def main() -> None:
    """Print the times of both sides, the median of the ratios of the pairs, and their range."""
    parser = argparse.ArgumentParser(prog="python -m bench.training_speed", description=__doc__)
    parser.add_argument("commit", help="compare the working tree with this commit")
    parser.add_argument("--networks", nargs="+", default=["lenet5", "resnet20"])
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--processor", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder, "before")
        subprocess.run(["git", "worktree", "add", "-q", before, chosen.commit], check=True)
        try:
            for network in chosen.networks:
                print(compare(network, before, chosen.pairs, chosen.processor), flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", before], check=True)


def compare(network: str, before: Path, pairs: int, processor: int) -> str:
    """Return one line about *network*: ratios below 1 mean that the working tree is faster."""
    now = Path(__file__).resolve().parents[1]
    times: list[tuple[float, float]] = []
    for number in range(pairs):
        # Each side begins every other pair, so that a trend on the machine affects both alike.
        order = (before, now) if number % 2 == 0 else (now, before)
        found = {tree: epoch_seconds(network, tree, processor) for tree in order}
        times.append((found[before], found[now]))
        print(f"{network}: before {times[-1][0]:.2f} s, now {times[-1][1]:.2f} s", flush=True)
    old, new = (statistics.median(side) for side in zip(*times, strict=True))
    ratios = sorted(after / earlier for earlier, after in times)
    return (
        f"{network}: before {old:.2f} s, now {new:.2f} s, ratio of the medians {new / old:.3f}; "
        f"ratios of {pairs} pairs {ratios[0]:.3f} to {ratios[-1]:.3f}, "
        f"median {statistics.median(ratios):.3f}"
    )


def epoch_seconds(network: str, tree: Path, processor: int) -> float:
    """Train *network* with the code in *tree*; return processor seconds per epoch."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["taskset", "-c", str(processor), sys.executable, "-m", "convoy", "export"]
        command += [network, "--data", "hard5k", "--device", "cpu", "--runs", folder]
        command += ["--model-repository", f"{folder}/models", *_same_images(tree)]
        environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}  # noqa: TID251
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=sys.stderr
        )
        try:
            times = []
            for epochs in (1, 1 + EPOCHS):
                while _epochs_done(Path(folder, network, "metrics.csv")) < epochs:
                    if process.poll() is not None:
                        raise RuntimeError(f"the training of {network} in {tree} failed")
                    time.sleep(POLL_S)
                times.append(sum(psutil.Process(process.pid).cpu_times()[:2]))
            return (times[1] - times[0]) / EPOCHS
        finally:
            process.kill()
            process.wait()


def _same_images(tree: Path) -> Sequence[str]:
    text = (tree / "export" / "export_settings.py").read_text()
    return ["--train-on-validation"] if "train_on_validation" in text else []


def _epochs_done(path: Path) -> int:
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


if __name__ == "__main__":
    main()
