"""The credentials of a server follow their files."""

import asyncio
from pathlib import Path

import pytest
import trustme

from convoy.service.security.credentials import Credentials
from convoy.service.security.file_access import warn_of_access
from convoy.service.security.tls import Tls
from convoy.service.security.tokens import Token, TokenFile


async def test_watch_reloads_changed_files(tmp_path: Path) -> None:
    """A watch loads a changed file of tokens by itself."""
    (first, _), (second, _) = Token.make("web", ["infer"]), Token.make("web", ["infer"])
    file = tmp_path / "tokens"
    file.write_text(first.line)
    credentials = Credentials(str(file))
    assert credentials.tokens
    watching = asyncio.create_task(credentials.watch(interval_s=0.001))
    file.write_text(f"# changed\n{second.line}")
    async with asyncio.timeout(10):
        while credentials.tokens.find(second.digest) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert credentials.tokens.find(first.digest) is None
    watching.cancel()


async def test_watch_ends_without_files() -> None:
    """A server without files of credentials has nothing to watch."""
    async with asyncio.timeout(10):
        await Credentials().watch()


def test_tokens_that_change_while_they_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of tokens that changes as soon as it was read is loaded again at the first check."""
    (first, _), (second, _) = Token.make("web", ["infer"]), Token.make("grafana", ["observe"])
    file = tmp_path / "tokens"
    file.write_text(first.line)
    load = TokenFile.load

    def load_and_change(tokens: TokenFile) -> None:
        load(tokens)
        file.write_text(second.line)

    monkeypatch.setattr(TokenFile, "load", load_and_change)
    credentials = Credentials(str(file))
    assert credentials.tokens
    assert credentials.tokens.find(first.digest)
    credentials.reload_changed()
    assert credentials.tokens.find(first.digest) is None
    assert credentials.tokens.find(second.digest)


def test_certificates_that_change_while_they_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that changes as soon as it was read is loaded again at the first check."""
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    authority = trustme.CA()

    def issue(host: str) -> bytes:
        issued = authority.issue_cert(host)
        issued.private_key_pem.write_to_path(key)
        issued.cert_chain_pems[0].write_to_path(certificate)
        return certificate.read_bytes()

    first, load, reissued = issue("first.example"), Tls.load, []

    def load_and_change(tls: Tls) -> None:
        load(tls)
        reissued.append(issue("a-second-one.example"))

    monkeypatch.setattr(Tls, "load", load_and_change)
    credentials = Credentials(tls_certificate=str(certificate), tls_key=str(key))
    assert credentials.tls
    assert credentials.tls.pem.certificate == first
    credentials.reload_changed()
    assert credentials.tls.pem.certificate == reissued[0]


@pytest.mark.parametrize(
    ("mode", "warning"),
    [
        (0o600, None),
        (0o640, None),
        (0o400, None),
        (0o644, "all users can read"),
        (0o604, "all users can read"),
        (0o660, "other users can change"),
        (0o602, "other users can change"),
        (0o666, "other users can change"),
    ],
)
def test_files_that_others_may_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warning: str | None
) -> None:
    """A file of secrets that others may change, or all may read, is named in a warning."""
    file = tmp_path / "tokens"
    file.touch()
    file.chmod(mode)
    (tmp_path / "link").symlink_to(file)
    warn_of_access([tmp_path / "link"])
    messages = [record.getMessage() for record in caplog.records]
    assert [message.partition(" this file")[0] for message in messages] == (
        [warning] if warning else []
    )
    if warning:
        assert vars(caplog.records[0])["mode"] == f"{mode:04o}"
