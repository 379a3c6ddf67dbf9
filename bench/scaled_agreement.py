"""A comparison of the answers with scaled decoding and without it, on a folder of photos.

Prints JSON: the number of photos by the scale that they are decoded at, how many of those that are
scaled keep their most likely class, and the changes of probabilities and pixels.
"""

from __future__ import annotations

import argparse
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from rich.progress import track

from convoy.artifact.golden import as_scores, softmax
from convoy.artifact.image_formats import SUFFIXES
from convoy.artifact.preprocess import TRAINING_LIMITS, preprocess, to_input
from convoy.artifact.repository import ModelRepository
from convoy.artifact.scaled_decoding import choose_scale
from convoy.commands.measurement.artifacts import read_newest


def main() -> None:
    """Compare the answers, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaled_agreement", description=__doc__)
    parser.add_argument("model", help="a model with logits; its manifest states scaled_decoding")
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    chosen = parser.parse_args()
    (artifact,) = read_newest(ModelRepository(chosen.model_repository), [chosen.model])
    session = onnxruntime.InferenceSession(artifact.model_path, providers=["CPUExecutionProvider"])
    files = sorted(file for file in chosen.photos.rglob("*") if file.suffix.lower() in SUFFIXES)
    manifest = artifact.manifest
    scaled = manifest.preprocessing
    assert scaled.scaled_decoding, f"{chosen.model} was made with --no-scaled-decoding"
    full = scaled.model_copy(update={"scaled_decoding": False})
    scales: Counter[int] = Counter()
    same, pixel_changes, probability_changes = 0, [], []
    for file in track(files):
        data = file.read_bytes()
        size = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size
        scale = choose_scale(size, scaled)
        scales[scale] += 1
        # Of a small photo, the pixels are the same.
        if scale == 1:
            continue
        pixels = [preprocess(data, spec, TRAINING_LIMITS) for spec in (full, scaled)]
        pixel_changes.append(np.abs(pixels[0].astype(int) - pixels[1]))
        batch = np.stack([to_input(one, manifest.input, manifest.normalization) for one in pixels])
        (scores,) = session.run([manifest.scores.name], {manifest.input.name: batch})
        before, after = softmax(as_scores(scores))
        same += int(before.argmax() == after.argmax())
        probability_changes.append(float(np.abs(before - after).max()))
    compared = len(pixel_changes)
    results: dict[str, Any] = {
        "photos": len(files),
        "decoded_at": {f"1/{scale}": count for scale, count in sorted(scales.items())},
        "compared": compared,
        "same_class": same,
        "largest_probability_change": round(max(probability_changes), 4),
        "mean_probability_change": round(float(np.mean(probability_changes)), 5),
        "mean_pixel_change": round(float(np.mean([one.mean() for one in pixel_changes])), 3),
        "largest_pixel_change": int(max(one.max() for one in pixel_changes)),
    }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
