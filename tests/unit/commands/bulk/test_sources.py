"""The input as shards: every image once, in ranges that do not change."""

from __future__ import annotations

import gzip
import io
import os
import re
import socket
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from convoy.artifact.errors import RepositoryError
from convoy.bulk.images import INPUT_CHANGED, File, Image, Unread, read
from convoy.commands.bulk import shards as shards_module
from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.bulk.duplicates import IdChecker
from convoy.commands.bulk.listing import matching
from convoy.commands.bulk.shards import SHARD_IMAGES, ParquetShard, Shard, from_json, to_json
from convoy.commands.bulk.sources import shards
from convoy.commands.image_files import find_images


def listed(*sources: str | Path, column: str = "image", id_column: str = "") -> list[Shard]:
    """The shards of sources, after a turn through JSON."""
    found = shards(map(str, sources), column, id_column, lambda count: None)
    return [from_json(to_json(shard)) for shard in found]


def rows(found: list[Shard]) -> dict[Any, Any]:
    """All images by id, read."""
    pairs: list[tuple[Any, Image]] = [row for shard in found for row in shard.rows()]
    keys = [key.as_py() if isinstance(key, pa.Scalar) else key for key, _ in pairs]
    return dict(zip(keys, read([image for _, image in pairs]), strict=True))


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_folder_and_wildcards() -> None:
    """
    A folder stands for the images in it and below it; a wildcard for what it matches.
    """
    for path in ("a/1.png", "a/b/2.JPG", "a/notes.txt", "a/.hidden/3.png", "a/.4.png", "x[1].png"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(path)
    os.symlink("nowhere", "a/gone.png")
    everything = rows(listed("a"))
    gone = everything.pop("a/gone.png")
    assert everything == {"a/1.png": b"a/1.png", "a/b/2.JPG": b"a/b/2.JPG"}
    assert gone == Unread("INPUT_NOT_FOUND")
    assert list(rows(listed("a/**/*.JPG"))) == ["a/b/2.JPG"]
    assert list(rows(listed("x[1].png"))) == ["x[1].png"]


def test_links_to_folders() -> None:
    """
    Links to folders are followed, and each folder is read once, even if a link leads back to it.
    """
    for path in ("a/1.png", "b/2.png", "b/@eaDir/2.png"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(path)
    os.symlink("../b", "a/b")
    os.symlink("../a", "b/back")
    assert rows(listed("a")) == {"a/1.png": b"a/1.png", "a/b/2.png": b"b/2.png"}
    assert [*find_images([Path("a")])] == [Path("a/1.png"), Path("a/b/2.png")]


def test_links_to_themselves() -> None:
    """
    A link that leads to itself is like one that leads nowhere: a row if it is named as an image.
    """
    Path("a").mkdir()
    Path("a/1.png").write_text("one")
    for name in ("loop.png", "loop"):
        os.symlink(name, f"a/{name}")
    expected = {"a/1.png": b"one", "a/loop.png": Unread("INPUT_NOT_FOUND")}
    for source in ("a", "a/**/*.png"):
        assert rows(listed(source)) == expected
    assert [*find_images([Path("a")])] == [Path("a/1.png"), Path("a/loop.png")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_links_to_private_files() -> None:
    """
    A link to a file in a folder where the user may not look is a row with a reason.
    """
    for folder in ("a", "private"):
        Path(folder).mkdir()
    os.symlink("../private/1.png", "a/1.png")
    Path("private").chmod(0)
    assert rows(listed("a")) == {"a/1.png": Unread("INPUT_UNREADABLE")}
    Path("private").chmod(0o755)


def test_wildcards_on_a_disk(tmp_path: Path) -> None:
    """
    `**` enters each folder once, also through links that lead back; nothing that matches is lost.
    """
    for path in ("a/1.png", "a/b/2.png", "a/b/c/3.png", "a/.hidden/4.png", "a/b/.5.png"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(path)
    os.symlink("..", "a/b/back")
    os.symlink("b", "a/again")
    os.symlink("nowhere", "a/b/gone.png")

    def keys(pattern: str) -> list[str]:
        found = [key for shard in listed(pattern) for key, _ in shard.rows()]
        return sorted(os.path.realpath(key).removeprefix(f"{tmp_path}/") for key in found)

    everything = ["a/1.png", "a/b/2.png", "a/b/c/3.png", "a/b/nowhere"]
    for pattern in ("a/**/*.png", "**/*.png", "a/**", "**/b/**/*.png", f"{tmp_path}/**/*.png"):
        assert keys(pattern) == everything, pattern
    assert sorted(rows(listed("**/c/*.png"))) in (["a/b/c/3.png"], ["a/again/c/3.png"])
    assert keys("a/*/*.png") == ["a/b/2.png", "a/b/nowhere"]
    assert rows(listed("a/b/*.png"))["a/b/gone.png"] == Unread("INPUT_NOT_FOUND")


def test_labels_among_the_images() -> None:
    """
    A wildcard that matches every file leaves out those of a job whose labels are written there.
    """
    for path in ("a/1.png", "a/_convoy/job.json", "a/labels/_convoy/job.json", "a/b/_convoy.png"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("x")
    assert sorted(rows(listed("a/**"))) == ["a/1.png", "a/b/_convoy.png"]
    fsspec.filesystem("memory").put("a", "/among/", recursive=True)
    found = sorted(rows(listed("memory://among/**")))
    assert found == ["memory:///among/a/1.png", "memory:///among/a/b/_convoy.png"]


def test_wildcards_in_the_name_of_a_folder() -> None:
    """
    Brackets in the name of a folder are part of it, also in front of a wildcard.
    """
    for path in ("a [1]/b/1.png", "a 1/b/2.png", "a 2/b/3.png"):
        Path(path).parent.mkdir(parents=True)
        Path(path).touch()
    assert list(rows(listed("a [1]/*/*.png"))) == ["a [1]/b/1.png"]
    assert list(rows(listed("a [2]/**/*.png"))) == ["a 2/b/3.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_that_may_not_be_read() -> None:
    """
    A folder that cannot be read is an error, also below a wildcard.
    """
    Path("a/private").mkdir(parents=True)
    Path("a/1.png").touch()
    Path("a/private").chmod(0)
    for source in ("a", "a/**/*.png", "a/*/*.png"):
        with pytest.raises(PermissionError):
            listed(source)
    Path("a/private").chmod(0o755)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ("{9..11}", ["9", "10", "11"]),
        ("{11..9}", ["11", "10", "9"]),
        ("{08..10}", ["08", "09", "10"]),
        ("{8..010}", ["008", "009", "010"]),
        ("{3..3}", ["3"]),
    ],
)
def test_numbers_in_braces(numbers: str, expected: list[str]) -> None:
    """
    They are those of bash, also descending.
    """
    for name in expected:
        Path(f"{name}.png").touch()
    assert list(rows(listed(f"{numbers}.png"))) == [f"{name}.png" for name in expected]


def test_pipes_and_sockets() -> None:
    """
    A pipe or a socket with the name of an image is a row with a reason; nobody waits for it.
    """
    os.mkfifo("pipe.png")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.png")
    Path("folder.png").mkdir()
    found = rows(listed("pipe.png", "socket.png")) | rows(listed("."))
    assert found == dict.fromkeys(
        ("pipe.png", "socket.png", "./pipe.png", "./socket.png"), Unread("INPUT_UNREADABLE")
    )


@pytest.mark.parametrize(
    "other",
    ["./a/", "a/b", "link", "a/1.png", "a/*.png", "a/**", "a/b/{1..2}.png", "a/.x/../b/*.JPG"],
)
def test_sources_in_other_sources(other: str) -> None:
    """
    A source whose images are read with another source is an error: they would have two rows.
    """
    for path in ("a/1.png", "a/b/1.png", "a/b/2.png", "a/.x/3.png"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    os.symlink("a/b", "link")
    for pair in (("a", other), (other, "a")):
        with pytest.raises(BulkError, match=r"is read with .*: leave out one of them"):
            listed(*pair)
    with pytest.raises(BulkError, match="s3://x/a/b/ is read with s3://x/a: leave out"):
        listed("s3://x/a", "s3://x/a/b/")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (
            ["a/*.png", "a/1.*"],
            "a/1.png is read with a/*.png and with a/1.*: leave out one of them",
        ),
        (["a/1.png", "./a/1.png"], "a/1.png is read with a/1.png and with ./a/1.png: leave out"),
        (["link/1*", "a/1.png"], "link/1.png is read with link/1* and with a/1.png: leave out"),
        (["a/{0..1}.png", "a/{1..2}.png"], "a/1.png is read with a/{0..1}.png and with a/{1..2}"),
        (["a/*{0..1}*"], "a/10.png is read twice with a/*{0..1}*: choose another pattern"),
        (["*.tar", "t.tar"], "t.tar is read with *.tar and with t.tar: leave out one of them"),
        (["b", "a"], ".png is read with b and with a: leave out one of them"),
        (["memory://twice/*.png", "memory://twice/1*"], "memory:///twice/1.png is read with mem"),
    ],
)
def test_files_of_several_sources(sources: list[str], message: str) -> None:
    """
    A file that several sources name, in whichever way, is an error: it would have two rows.
    """
    write_tar("t.tar", ["0.png"])
    for folder in ("a", "b"):
        Path(folder).mkdir()
    for name in ("0", "1", "2", "10"):
        Path(f"a/{name}.png").touch()
    os.symlink("a", "link")
    os.symlink("../a", "b/inner")
    fsspec.filesystem("memory").pipe("/twice/1.png", b"one")
    with pytest.raises(BulkError, match=re.escape(message)):
        listed(*sources)


def test_files_of_several_sources_that_vanish() -> None:
    """
    An image that was listed twice, and is gone when the error is to name it, is an error as well.
    """
    for name in ("1.png", "1.jpg", "2.png"):
        Path(name).touch()
    pq.write_table(pa.table({"image": [b"x"]}), "a.parquet")
    found = shards(["1.*", "*.png", "a.parquet"], "image", "", lambda count: None)
    assert isinstance(next(found), ParquetShard)
    Path("1.png").unlink()
    with pytest.raises(BulkError, match="files vanished while they were listed; run the command"):
        next(found)


def test_links_to_files_of_other_sources() -> None:
    """
    A link to a file has a row of its own, as in a folder; so has a copy.
    """
    for name in ("1", "2"):
        Path(f"{name}.png").write_text("one")
    os.symlink("1.png", "link.png")
    assert list(rows(listed("1.png", "link.png", "2.*"))) == ["1.png", "link.png", "2.png"]


def test_sources_beside_other_sources() -> None:
    """
    Sources in a folder that is not read with it have their own rows.
    """
    write_tar("t.tar", ["0.png"])
    for path in ("a/1.png", "a/.x/2.png", "ab/3.png"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(path)
    os.rename("t.tar", "a/t.tar")
    found = rows(listed("a", "ab", "a/.x", "a/*.tar"))
    assert sorted(found) == ["a/.x/2.png", "a/1.png", "a/t.tar/0.png", "ab/3.png"]


def test_shards_have_a_limit() -> None:
    """
    A shard of files has at most 500.
    """
    Path("a").mkdir()
    for index in range(SHARD_IMAGES + 1):
        Path(f"a/{index}.png").touch()
    assert sorted(shard.images or 0 for shard in listed("a")) == [1, SHARD_IMAGES]


def test_nothing_is_skipped_silently(tmp_path: Path) -> None:
    """
    A source without images, one that does not exist, and an option without a use, are errors.
    """
    Path("empty").mkdir()
    for source in ("empty", "*.png"):
        with pytest.raises(BulkError, match="no images in"):
            listed(source)
    with pytest.raises(BulkError, match=r"there is no absent\.tar"):
        listed("absent.tar")
    Path("photos.zip").touch()
    with pytest.raises(BulkError, match=r"cannot read this kind of archive: photos\.zip; unpack"):
        listed("photos.zip")
    with pytest.raises(BulkError, match=r"cannot read a chain of URLs: zip://\*\.png::photos\.zip"):
        listed("zip://*.png::photos.zip")
    Path("1.png").touch()
    with pytest.raises(BulkError, match="--id key is for Parquet files, and there are none"):
        listed("1.png", id_column="key")


def test_changed_files_are_rows() -> None:
    """
    A file that changed since it was listed has a row with a reason.
    """
    Path("1.png").write_text("one")
    found = listed("1.png")
    Path("1.png").write_text("another")
    assert rows(found) == {"1.png": Unread(INPUT_CHANGED)}


def test_names_of_any_bytes() -> None:
    """
    A name that is not UTF-8 is read, and has a readable id.
    """
    Path(os.fsdecode(b"\xff.png")).write_text("one")
    assert rows(listed(".")) == {"./\\xff.png": b"one"}


@pytest.mark.parametrize("group", [7, 1000])
@pytest.mark.parametrize("kind", ["bytes", "struct"])
def test_parquet_ranges(monkeypatch: pytest.MonkeyPatch, group: int, kind: str) -> None:
    """
    Each row is in one range, whatever the row groups; null is no image.
    """
    monkeypatch.setattr("convoy.commands.bulk.sources.SHARD_IMAGES", 3)
    monkeypatch.setattr("convoy.commands.bulk.sources.MAX_SHARD_IMAGES", 3)
    monkeypatch.setattr(shards_module, "READ_BYTES", 4)
    images: list[Any] = [b"image %d" % index for index in range(20)]
    images[5] = None
    stored = images if kind == "bytes" else [image and {"bytes": image} for image in images]
    pq.write_table(pa.table({"key": range(20), "image": stored}), "a.parquet", row_group_size=group)
    expected = [image or Unread("INVALID_IMAGE") for image in images]
    assert rows(listed("a.parquet", id_column="key")) == dict(enumerate(expected))
    numbered = rows(listed("a.parquet"))
    assert numbered == {f"a.parquet#{index}": image for index, image in enumerate(expected)}


@pytest.mark.parametrize("kind", ["text", "struct"])
def test_paths_in_parquet_files(tmp_path: Path, kind: str) -> None:
    """
    Relative paths start where the job began, as those of files do, and not where it is resumed.
    """
    Path("1.png").write_text("one")
    paths = ["1.png", f"{tmp_path}/1.png", "gone.png", "", None, f"file://{tmp_path}/1.png"]
    images = paths if kind == "text" else [{"bytes": None, "path": path} for path in paths]
    pq.write_table(pa.table({"image": images}), "a.parquet")
    found = listed("a.parquet")
    Path("other").mkdir()
    os.chdir("other")
    absent = Unread("INPUT_NOT_FOUND")
    expected = [b"one", b"one", absent, absent, Unread("INVALID_IMAGE"), b"one"]
    assert list(rows(found).values()) == expected


def test_text_in_parquet_files_that_is_not_utf8() -> None:
    """
    Such a path or id is an error that shows it.
    """
    made = pa.array([b"a", b"b\xff"])
    text = pa.Array.from_buffers(pa.string(), 2, made.buffers())
    pq.write_table(pa.table({"key": text, "image": text}), "a.parquet")
    with pytest.raises(BulkError, match=r"a\.parquet: the text b'b\\xff' is not UTF-8; write its"):
        rows(listed("a.parquet"))
    checker = IdChecker("key")
    with pytest.raises(BulkError, match=r"a\.parquet: the text b'b\\xff' is not UTF-8; write its"):
        checker.add(listed("a.parquet", id_column="key")[0])
    checker.check()  # closes its files


def test_small_rows_share_a_shard() -> None:
    """
    Rows of a few bytes come in shards of more than 500, as skipping to a range has its cost.
    """
    pq.write_table(pa.table({"image": [b"x"] * 20_000}), "a.parquet")
    assert [shard.images for shard in listed("a.parquet")] == [10_000, 10_000]


@pytest.mark.parametrize("column", ["image", "image.bytes"])
def test_large_rows_are_read_a_few_at_a_time(column: str) -> None:
    """
    The size of a row is that of its image, whatever the name of the column.
    """
    images = [os.urandom(10_000) for _ in range(20)]
    pq.write_table(pa.table({column: images, "images": images}), "a.parquet")
    (shard,) = listed("a.parquet", column=column)
    assert isinstance(shard, ParquetShard)
    assert 10_000 <= shard.row_bytes < 11_000


def test_wrong_parquet_files() -> None:
    """
    An absent column, an id that is missing or double, and a damaged or changed file, are errors.
    """
    pq.write_table(pa.table({"key": [1, None, 1], "image": [b"x"] * 3}), "a.parquet")
    with pytest.raises(BulkError, match="no column 'photo': choose --column of key, image"):
        listed("a.parquet", column="photo")
    with pytest.raises(BulkError, match="choose --id of"):
        listed("a.parquet", id_column="name")
    with pytest.raises(BulkError, match="'key' holds int64, not images; choose a --column of"):
        listed("a.parquet", column="key")
    pq.write_table(pa.table({"image": [{"height": 2, "data": b"x"}]}), "spark.parquet")
    with pytest.raises(BulkError, match="'image' holds struct<height: int64, data: binary>, not"):
        listed("spark.parquet")
    found = listed("a.parquet", id_column="key")
    with pytest.raises(BulkError, match="row 1 has no key"):
        rows(found)
    checker = IdChecker("key")
    for shard in found:
        checker.add(shard)
    with pytest.raises(BulkError, match="several rows have the key 1"):
        checker.check()
    Path("a.parquet").write_bytes(b"PAR1")
    with pytest.raises(BulkError, match="changed since the job began"):
        rows(found)
    with pytest.raises(BulkError, match="not a Parquet file, or damaged"):
        listed("a.parquet")
    Path("a.parquet").unlink()
    with pytest.raises(BulkError, match="vanished since the job began"):
        rows(found)


def test_several_columns_of_one_name() -> None:
    """
    They are an error if they are to be read, as images or as ids; others do not matter.
    """
    arrays = [pa.array(values) for values in ([1], [2], [b"x"], [b"y"], [b"z"])]
    table = pa.table(arrays, names=["key", "key", "image", "image", "photo"])
    pq.write_table(table, "a.parquet")
    with pytest.raises(BulkError, match=r"a\.parquet has several columns 'image'; rename all but"):
        listed("a.parquet")
    with pytest.raises(BulkError, match="several columns 'key'; rename all but one"):
        listed("a.parquet", column="photo", id_column="key")
    assert rows(listed("a.parquet", column="photo")) == {"a.parquet#0": b"z"}
    pair = pa.StructArray.from_arrays([arrays[2], arrays[3]], names=["bytes", "bytes"])
    pq.write_table(pa.table({"image": pair}), "b.parquet")
    with pytest.raises(
        BulkError, match=r"b\.parquet: the column 'image' has several fields of one"
    ):
        listed("b.parquet")
    # One column may be both.
    assert rows(listed("a.parquet", column="photo", id_column="photo")) == {b"z": b"z"}


def write_tar(path: str, names: list[str]) -> None:
    """Write files that hold their own names."""
    with tarfile.open(path, "w:gz" if path.endswith("gz") else "w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            archive.addfile(info, io.BytesIO(name.encode()))


def test_tar_shards() -> None:
    """
    Numbers in braces name several tar files; in these, files with other suffixes are skipped.
    """
    write_tar("s-08.tar", ["0.png", "0.cls", "1.jpg"])
    write_tar("s-09.tar", ["2.png"])
    write_tar("s-10.tar.gz", ["3.png"])
    found = rows(listed("s-{08..09}.tar", "s-10.tar.gz"))
    assert found == {
        "s-08.tar/0.png": b"0.png",
        "s-08.tar/1.jpg": b"1.jpg",
        "s-09.tar/2.png": b"2.png",
        "s-10.tar.gz/3.png": b"3.png",
    }


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_damaged_tar_files(suffix: str) -> None:
    """
    A tar file that ends early, or has a damaged header, is an error: no image behind that is lost.
    """
    name = f"a.{suffix}"
    write_tar(name, ["0.png", "1.png", "2.png"])
    whole = Path(name).read_bytes()
    plain = gzip.decompress(whole) if suffix == "tar.gz" else whole
    write = gzip.compress if suffix == "tar.gz" else bytes
    # Each member has a header and one block of data. The second header begins at 1024.
    damaged = [plain[:1024] + b"?" + plain[1025:], *(plain[:end] for end in (0, 700, 1024, 1300))]
    for content in damaged:
        Path(name).write_bytes(write(content))
        with pytest.raises(BulkError, match=rf"a\.{suffix}: damaged: .*; copy it again"):
            rows(listed(name))
    Path(name).write_bytes(whole)
    assert len(rows(listed(name))) == 3


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_nothing_behind_the_end_of_a_tar_file(suffix: str) -> None:
    """
    A header of zeros, and another tar file behind the first, are no end that loses images.
    """
    name = f"a.{suffix}"
    write_tar(name, ["0.png", "1.png", "2.png"])
    whole = Path(name).read_bytes()
    plain = gzip.decompress(whole) if suffix == "tar.gz" else whole
    write = gzip.compress if suffix == "tar.gz" else bytes
    for content in (plain[:1024] + bytes(512) + plain[1536:], plain + plain):
        Path(name).write_bytes(write(content))
        with pytest.raises(BulkError, match=rf"a\.{suffix}: has data after its end"):
            rows(listed(name))


def test_links_and_names_in_tar_files() -> None:
    """
    A link or a pipe with the name of an image is a row with a reason; a name need not be UTF-8.
    """
    with tarfile.open("a.tar", "w") as archive:
        for name, kind in (
            ("\udcff.png", tarfile.REGTYPE),
            ("hard.png", tarfile.LNKTYPE),
            ("soft.png", tarfile.SYMTYPE),
            ("pipe.png", tarfile.FIFOTYPE),
            ("folder.png", tarfile.DIRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "\udcff.png"
            archive.addfile(info)
    links = dict.fromkeys(
        ("a.tar/hard.png", "a.tar/soft.png", "a.tar/pipe.png"), Unread("INPUT_UNREADABLE")
    )
    assert rows(listed("a.tar")) == {"a.tar/\\xff.png": b"", **links}


def test_damage_to_compressed_tar_files() -> None:
    """
    The checksum of gzip is read to its end, behind the last image.
    """
    write_tar("a.tgz", ["0.png"])
    whole = Path("a.tgz").read_bytes()
    for content in (whole[:-1], whole[:-8] + b"?" * 4 + whole[-4:]):
        Path("a.tgz").write_bytes(content)
        with pytest.raises(BulkError, match=r"a\.tgz: damaged"):
            rows(listed("a.tgz"))


@pytest.mark.parametrize("has_checksums", [True, False])
def test_damaged_parquet_pages(has_checksums: bool) -> None:
    """
    Pages that cannot be decompressed, or that have another checksum, are reported as damage.
    """
    table = pa.table({"image": [bytes(1000)] * 100})
    pq.write_table(table, "a.parquet", use_dictionary=False, write_page_checksum=has_checksums)
    content = bytearray(Path("a.parquet").read_bytes())
    # Behind the head of the page, which holds the smallest and the largest value.
    content[4000:4020] = b"?" * 20
    Path("a.parquet").write_bytes(content)
    with pytest.raises(BulkError, match="not a Parquet file, or damaged"):
        rows(listed("a.parquet"))


def test_disk_that_cannot_be_read() -> None:
    """
    An error of the disk names the input.
    """
    # Its first page is never mapped.
    for name in ("a.tar", "a.png"):
        Path(name).symlink_to("/proc/self/mem")
    with pytest.raises(BulkError, match=r"cannot read a\.tar: Input/output error"):
        rows(listed("a.tar"))
    with pytest.raises(RepositoryError, match=r"cannot read .*a\.png: Input/output error"):
        list(read([File("a.png")]))


def test_stores() -> None:
    """
    The same sources in a store that fsspec reaches.
    """
    store = fsspec.filesystem("memory")
    write_tar("s-1.tar", ["0.png"])
    pq.write_table(pa.table({"image": [b"x"]}), "a.parquet")
    for local in ("s-1.tar", "a.parquet"):
        store.put(local, f"/bulk/{local}")
    store.pipe({"/bulk/a/1.png": b"one", "/bulk/a/b/2.png": b"two", "/bulk/a/notes.txt": b""})
    one, two = "memory:///bulk/a/1.png", "memory:///bulk/a/b/2.png"
    assert rows(listed("memory://bulk/a")) == {one: b"one", two: b"two"}
    assert rows(listed("memory://bulk/a/**/*.png")) == {one: b"one", two: b"two"}
    assert rows(listed("memory://bulk/s-1.tar")) == {"memory:///bulk/s-1.tar/0.png": b"0.png"}
    assert rows(listed("memory://bulk/*.parquet")) == {"memory:///bulk/a.parquet#0": b"x"}
    found = listed("memory://bulk/a")
    store.rm("/bulk/a/1.png")
    store.pipe("/bulk/a/b/2.png", b"twenty")
    assert rows(found) == {one: Unread("INPUT_NOT_FOUND"), two: Unread("INPUT_CHANGED")}
    with pytest.raises(BulkError, match="there is no memory://bulk/nothing; check the bucket"):
        listed("memory://bulk/nothing")
    with pytest.raises(BulkError, match=r"no images in memory://bulk/\*\.gif"):
        listed("memory://bulk/*.gif")
    with pytest.raises(BulkError, match=r"memory://bulk/a\*\*: Invalid pattern"):
        listed("memory://bulk/a**")


def test_several_stores(tmp_path: Path) -> None:
    """
    Each image of a shard is read from its own store.
    """
    fsspec.filesystem("memory").pipe("/several/1.png", b"one")
    Path("2.png").write_text("two")
    one, two = "memory:///several/1.png", f"file://{tmp_path}/2.png"
    (shard,) = listed(one, two)
    assert rows([shard]) == {one: b"one", two: b"two"}
    assert [*read([two, one, two, "2.png", two])] == [b"two", b"one", b"two", b"two", b"two"]


class HttpError(Exception):
    """An error of aiohttp, which need not be installed."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class Web:
    """A store of URLs, which answers with the errors in their names."""

    def cat_ranges(self, urls: list[str], *_: object) -> list[bytes | Exception]:
        answers: dict[str, bytes | Exception] = {
            "200": b"one",
            "404": FileNotFoundError(),
            "no url": ValueError("no url"),
        }
        names = [url.rpartition("/")[2] for url in urls]
        return [answers.get(name) or HttpError(int(name)) for name in names]


def test_urls_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A web server refuses a URL by itself; a fault that other URLs would share, and a refusal of
    another store, end the job.
    """
    web = Web()
    monkeypatch.setattr("convoy.bulk.images.open_store", lambda url: (web, url))
    names = ["200", "401", "403", "404", "410", "451", "no url"]
    absent, refused = Unread("INPUT_NOT_FOUND"), Unread("INPUT_UNREADABLE")
    expected = [b"one", refused, refused, absent, absent, refused, absent]
    for scheme in ("http", "https", "HTTPS"):
        assert [*read([f"{scheme}://host/{name}" for name in names])] == expected
    for url in ("http://host/407", "http://host/429", "http://host/500", "s3://bucket/403"):
        with pytest.raises(RepositoryError, match=f"cannot read {url}: "):
            list(read([url]))


def test_wildcards_in_the_names_of_a_store() -> None:
    """
    Brackets in the name of a file are part of it, as a source and in a folder.
    """
    store = fsspec.filesystem("memory")
    store.pipe({"/marks/a[1].png": b"one", "/marks/a1.png": b"another", "/marks/b[x].png": b"two"})
    found = rows(listed("memory://marks"))
    assert found == {
        "memory:///marks/a[1].png": b"one",
        "memory:///marks/a1.png": b"another",
        "memory:///marks/b[x].png": b"two",
    }
    one = {"memory:///marks/b[x].png": b"two"}
    assert rows(listed("memory://marks/b[x].png")) == one
    assert rows(listed("memory://marks/b?x?.png")) == one


@pytest.mark.parametrize(
    ("pattern", "visited"),
    [
        ("year/2026/*.png", ["year/2026"]),
        ("year/*/a.png", ["year", "year/2025", "year/2026"]),
        ("year/202[6-9]/**", ["year", "year/2026", "year/2026/05", "year/2026/05/01"]),
        ("**/a.png", None),
        ("*/2026/?[5]/*/*", ["", "other", "year", "year/2026", "year/2026/05", "year/2026/05/01"]),
    ],
)
def test_wildcards_of_stores(
    pattern: str, visited: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A wildcard matches what fsspec's does, and only folders that can hold a match are listed.
    """
    store = fsspec.filesystem("memory")
    for folder in ("year/2025", "year/2026", "year/2026/05/01", "year/2026/05", "other/2025"):
        store.pipe({f"/wild/{folder}/{name}.png": b"x" for name in "ab"})
    asked: list[str] = []
    own = type(store).ls

    def ls(self: Any, path: str, **options: Any) -> Any:
        asked.append(path.removeprefix("/wild").strip("/"))
        return own(self, path, **options)

    expected = {path for path in store.glob(f"/wild/{pattern}") if store.isfile(path)}
    assert expected
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "ls", ls)
        found = list(matching(store, f"/wild/{pattern}", "memory://wild"))
    assert {entry["name"] for entry in found} == expected
    assert len(found) == len(expected)
    assert visited is None or sorted(asked) == visited
