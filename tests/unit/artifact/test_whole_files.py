from pathlib import Path

import pytest

from convoy.artifact.whole_files import replacing, write_beside_graph, write_whole
from tests.harness.full_disk import limited_files


def test_full_disk(tmp_path: Path) -> None:
    """
    On a full disk the previous file stays, and nothing is left of the new one.
    """
    path = tmp_path / "results.json"
    path.write_text("before")
    with pytest.raises(OSError, match="File too large"), limited_files(10_000):
        write_whole(path, "x" * 20_000)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_beside_a_graph(tmp_path: Path) -> None:
    """
    On a full disk nothing is left in the version's folder, nor in the model's.
    """
    folder = tmp_path / "tiny" / "1"
    folder.mkdir(parents=True)
    with pytest.raises(OSError, match="File too large"), limited_files(10_000):
        write_beside_graph(folder, "tuning.json", "x" * 20_000)
    assert list(folder.parent.iterdir()) == [folder]
    assert list(folder.iterdir()) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """
    The file that a link names is replaced, not the link.
    """
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("before")
    link.symlink_to(target)
    write_whole(link, "after")
    assert link.is_symlink()
    assert target.read_text() == "after"


def test_a_device_is_written_to() -> None:
    """
    A device is not replaced by a file.
    """
    null = Path("/dev/null")
    with replacing(null) as place:
        assert place == null
    write_whole(null, "results")
    assert not null.is_file()
