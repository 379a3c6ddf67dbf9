"""Optional files of an artifact that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from convoy.artifact.errors import ArtifactError
from convoy.artifact.evaluation import EVALUATION_FILE, read_evaluations
from convoy.artifact.layers import LAYERS_FILE, read_layers
from convoy.artifact.tuning import TUNING_FILE, read_tuning


@pytest.mark.parametrize(
    ("name", "read"),
    [
        (EVALUATION_FILE, lambda folder: read_evaluations(folder, "0" * 64)),
        (LAYERS_FILE, lambda folder: read_layers(folder, "0" * 64)),
        (TUNING_FILE, read_tuning),
    ],
)
def test_disk_that_cannot_be_read(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    """
    The error is that of the disk: nobody is told that the file is damaged and to be removed.
    """
    # Its first page is never mapped.
    (tmp_path / name).symlink_to("/proc/self/mem")
    with pytest.raises(ArtifactError) as caught:
        read(tmp_path)
    assert str(caught.value) == f"{tmp_path / name}: Input/output error"


def test_damaged_layers_are_one_line(tmp_path: Path) -> None:
    """
    Layers that are damaged are reported in one line, with the remedy.
    """
    (tmp_path / LAYERS_FILE).write_text("{}")
    with pytest.raises(ArtifactError, match=r"layers\.json: damaged: .*; remove it") as caught:
        read_layers(tmp_path, "0" * 64)
    assert "\n" not in str(caught.value)
