import json
from pathlib import Path

import pytest

from convoy.export.data.labels import read_labels
from convoy.export.errors import DataError


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("labels.txt", "cat\ndog\n", ("cat", "dog")),
        ("labels.txt", "cat\ndog\n\n \n", ("cat", "dog")),
        ("labels.txt", "\ufeffcat\r\ngrey fox, vixen\r\n", ("cat", "grey fox, vixen")),
        ("labels.txt", "[a]\n[b]", ("[a]", "[b]")),
        ("labels.json", '["cat", "dog"]', ("cat", "dog")),
        ("labels.JSON", '{"1": "dog", "0": "cat"}', ("cat", "dog")),
        ("index.json", '{"0": ["n1", "tench"], "1": ["n2", "goldfish"]}', ("tench", "goldfish")),
        ("labels.csv", "index,label\n1,dog\n0,cat\n", ("cat", "dog")),
        ("labels.CSV", '0,n1,"grey fox, vixen"\n\n01, n2, 7\n', ("grey fox, vixen", "7")),
        ("labels.csv", 'cat\n"grey fox, vixen"\n', ("cat", "grey fox, vixen")),
    ],
)
def test_labels(tmp_path: Path, name: str, text: str, expected: tuple[str, ...]) -> None:
    """
    Each way of writing labels down gives them in the order of the classes.
    """
    (tmp_path / name).write_bytes(text.encode())
    assert read_labels(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.txt", b"", "holds no labels|label of class 0 is ''"),
        ("labels.txt", b"cat\n\ndog", "the label of class 1 is ''"),
        ("labels.txt", "Füchse".encode("latin-1"), "are not UTF-8"),
        ("labels.json", b"[]", "holds no labels"),
        ("labels.json", b"{}", "holds no labels"),
        ("labels.json", b'["cat"', "is not valid JSON"),
        ("labels.json", b"[" * 100_000, "is not valid JSON"),
        ("labels.json", b"7", "neither a list of labels nor a map"),
        ("labels.json", b'["cat", 7]', "the label of class 1 is 7"),
        ("labels.json", b'["cat", []]', r"the label of class 1 is \[\]"),
        ("labels.json", json.dumps({"0": "cat", "2": "dog"}).encode(), "but none of class 1"),
        ("labels.json", b'{"a": 0, "b": 1, "c": 1}', "the labels 'b' and 'c' are both of class 1"),
        ("labels.csv", b"", "holds no labels"),
        ("labels.csv", b"cat,dog", "holds no labels"),
        ("labels.csv", b"1,cat\n2,dog", "has 2 labels, but none of class 0"),
        ("labels.csv", b"0,cat\n00,dog", "class 00 has several labels"),
        ("labels.csv", b"label,index\ncat,0", "the row 'cat,0' does not begin with the index"),
        ("labels.csv", b"0,cat\n1", "the row '1' does not begin with the index"),
        ("labels.csv", b'0,"' + b"x" * 200_000 + b'"', "is not valid CSV: field larger"),
    ],
)
def test_bad_labels(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """
    The error names the file of labels and its fault.
    """
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_labels(tmp_path / name)
    assert name in str(caught.value)
