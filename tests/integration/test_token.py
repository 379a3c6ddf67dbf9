"""`convoy token`."""

import stat
from pathlib import Path

import pytest

from convoy.__main__ import main
from convoy.service.security.tokens import TokenFile, bearer


def test_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Each one is printed once and goes to the end of the file, which only its owner may read.
    """
    file = tmp_path / "tokens"
    texts = []
    for arguments in (["web", "infer"], ["grafana", "observe", "control"]):
        assert main(["token", *arguments, "--token-file", str(file)]) == 0
        texts.append(capsys.readouterr().out.strip())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not any(text in file.read_text() for text in texts)
    found = [TokenFile(file).find(bearer(f"Bearer {text}")) for text in texts]
    assert [token and (token.name, sorted(token.rights)) for token in found] == [
        ("web", ["infer"]),
        ("grafana", ["control", "observe"]),
    ]


def test_last_line_without_an_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A token has a line of its own, also in a file whose last line an editor left without an end.
    """
    file = tmp_path / "tokens"
    for name, ending in (("web", ""), ("grafana", "\n# of the shop")):
        assert main(["token", name, "infer", "--token-file", str(file)]) == 0
        file.write_text(file.read_text().rstrip("\n") + ending)
    assert main(["token", "shop", "infer", "--token-file", str(file)]) == 0
    assert [token.name for token in TokenFile(file).known] == ["web", "grafana", "shop"]
    assert len(file.read_text().splitlines()) == 4


@pytest.mark.parametrize(
    "arguments",
    [["web"], ["web", "all"], ["a b", "infer"], ["#", "infer"], ["\udcff", "infer"]],
)
def test_nonsense(tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """
    A token without a right, or whose line could not be read, is not made.
    """
    file = tmp_path / "tokens"
    assert main(["token", *arguments, "--token-file", str(file)]) == 2
    assert not file.exists()
    assert "convoy token" in capsys.readouterr().err


def test_a_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The error names the file, and no token is shown.
    """
    assert main(["token", "web", "infer", "--token-file", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"convoy token: {tmp_path}: Is a directory" in printed.err
