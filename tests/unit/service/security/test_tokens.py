"""The file of tokens."""

import hashlib
import os
from pathlib import Path

import pytest

from convoy.service.errors import StartError
from convoy.service.security.tokens import Token, TokenFile, bearer
from convoy.service.security.watched_files import WatchedFiles


def write(folder: Path, *lines: str) -> Path:
    """Write a file of tokens."""
    file = folder / "tokens"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_a_made_token_is_found(tmp_path: Path) -> None:
    """
    A file of tokens knows exactly its tokens, by their SHA-256.
    """
    web, text = Token.make("web", ["infer", "observe"])
    other, _ = Token.make("other", ["control"])
    tokens = TokenFile(write(tmp_path, "# who may", "", other.line, f"  {web.line}  "))
    assert tokens.find(bearer(f"Bearer {text}")) == web
    assert web.digest == hashlib.sha256(text.encode()).digest()
    assert web.rights == {"infer", "observe"}
    assert text not in repr(web)
    assert tokens.find(bearer("Bearer guess")) is None
    assert tokens.find(b"") is None


def test_tokens_are_long_and_different() -> None:
    """
    A token has 256 bits of chance in 43 characters, behind a prefix.
    """
    made = {Token.make("web", ["infer"])[1] for _ in range(100)}
    assert len(made) == 100
    assert {len(text.removeprefix("cvy_")) for text in made} == {43}


@pytest.mark.parametrize("header", ["", "abc", "Bearer", "Bearer ", "Basic abc", "Bearer a b"])
def test_headers_without_a_token(header: str) -> None:
    """
    A header other than `Bearer TOKEN` holds no token.
    """
    assert bearer(header) == b""


@pytest.mark.parametrize("header", ["bearer abc", "BEARER abc", "Bearer  abc"])
def test_the_scheme_in_any_case(header: str) -> None:
    """
    The scheme's case does not matter (RFC 9110, section 11.1).
    """
    assert bearer(header) == bearer("Bearer abc") != b""


@pytest.mark.parametrize("line", ["web secret", "web infer secret", "web all " + 64 * "0", "web"])
def test_bad_line(tmp_path: Path, line: str) -> None:
    """
    The error names the line by its number, and does not repeat what may be a secret.
    """
    with pytest.raises(StartError, match=r"tokens:2: expected NAME RIGHTS SHA256") as failed:
        TokenFile(write(tmp_path, "# who may", line))
    assert "secret" not in str(failed.value).replace(str(tmp_path), "")


def test_no_file(tmp_path: Path) -> None:
    """
    A file that is not there is an error: not a server that lets everybody in.
    """
    with pytest.raises(StartError, match="cannot read the token file"):
        TokenFile(tmp_path / "missing")


def test_changed_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """
    A changed file is loaded, also behind a redirected link; an unusable one changes nothing.
    """
    (first, _), (second, _) = Token.make("web", ["infer"]), Token.make("web", ["observe"])
    tokens = TokenFile(write(tmp_path, first.line))
    watched = WatchedFiles([tokens.file])
    watched.reload_if_changed(tokens.load)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    write(tmp_path, "rubbish")
    watched.reload_if_changed(tokens.load)
    assert tokens.find(first.digest) == first
    assert "expected NAME RIGHTS SHA256" in str(vars(caplog.records[-1])["error"])
    tokens.file.unlink()
    watched.reload_if_changed(tokens.load)
    assert tokens.find(first.digest) == first
    (tmp_path / "new").write_text(second.line)
    tokens.file.symlink_to("new")
    watched.reload_if_changed(tokens.load)
    assert tokens.find(first.digest) is None
    assert tokens.find(second.digest) == second


def test_changed_file_with_the_time_of_the_old_one(tmp_path: Path) -> None:
    """
    A file of the same size whose time was set back, as tools that copy do, counts as changed.
    """
    (first, _), (second, _) = Token.make("web", ["infer"]), Token.make("web", ["infer"])
    tokens = TokenFile(write(tmp_path, first.line))
    watched = WatchedFiles([tokens.file])
    before = tokens.file.stat()
    write(tmp_path, second.line)
    # The clock of the file system ticks every few milliseconds.
    times = before.st_atime_ns, before.st_mtime_ns
    os.utime(tokens.file, ns=times)
    while tokens.file.stat().st_ctime_ns == before.st_ctime_ns:
        os.utime(tokens.file, ns=times)
    watched.reload_if_changed(tokens.load)
    assert tokens.find(second.digest)
