from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from convoy.export.errors import ExportError
from convoy.export.whole_files import replacing
from tests.harness.full_disk import limited_files


def _save_torch(path: Path) -> None:
    torch.save({"x": torch.zeros(100_000)}, path)


def _save_safetensors(path: Path) -> None:
    save_file({"x": torch.zeros(100_000)}, path)


def _save_text(path: Path) -> None:
    path.write_text("x" * 400_000)


@pytest.mark.parametrize("save", [_save_torch, _save_safetensors, _save_text])
def test_full_disk(tmp_path: Path, save: Callable[[Path], None]) -> None:
    """
    A file that cannot be written is one line; the previous one stays, and no half of the new one.
    """
    path = tmp_path / "checkpoint.pt"
    path.write_text("before")
    with (
        pytest.raises(ExportError, match=rf"^cannot write {path}[:;] .*") as failed,
        limited_files(10_000),
        replacing(path) as half,
    ):
        save(half)
    assert "\n" not in str(failed.value)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_replaced(tmp_path: Path) -> None:
    """
    A file that was written replaces the previous one; an interruption leaves that one.
    """
    path = tmp_path / "curves.png"
    with replacing(path) as half:
        assert half.suffix == ".png"
        half.write_text("first")

    def interrupted() -> None:
        with replacing(path) as half:
            half.write_text("second")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]
