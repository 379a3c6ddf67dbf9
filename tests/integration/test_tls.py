"""TLS and mTLS on both ports, and certificates that change."""

import asyncio
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from convoy.__main__ import main
from convoy.client import AsyncClient
from convoy.commands.bench.bench_settings import BenchSettings
from convoy.commands.bench.load_test import measure
from convoy.results import ConvoyError
from convoy.service.errors import StartError
from convoy.service.http import probe
from tests.harness.http import request
from tests.harness.images import png
from tests.harness.server import Running, Serve
from tests.harness.settings import read

HOST = "127.0.0.1"


class Certificates:
    """An authority, and what it issued to the server, as files."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"
        self.client_ca = folder / "ca.crt"
        self.authority.cert_pem.write_to_path(self.client_ca)
        self.issue()

    def issue(self, expires: datetime | None = None) -> None:
        """Replace the server's certificate."""
        issued = self.authority.issue_cert(HOST, not_after=expires)
        self.certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(self.key)

    @property
    def settings(self) -> dict[str, str]:
        """Return the settings of a server with TLS."""
        return {"tls_certificate": str(self.certificate), "tls_key": str(self.key)}

    def context(self, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """Return the context of a client that trusts the authority, of one version if given."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if version:
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = version
        return context

    def credentials(self, client: trustme.LeafCert | None = None) -> grpc.ChannelCredentials:
        """The same for gRPC, with a certificate of the client's own if given."""
        root = self.authority.cert_pem.bytes()
        if client is None:
            return grpc.ssl_channel_credentials(root)
        chain = client.cert_chain_pems[0].bytes()
        return grpc.ssl_channel_credentials(root, client.private_key_pem.bytes(), chain)


@pytest.fixture
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


async def classify(running: Running, credentials: grpc.ChannelCredentials) -> int:
    """Class of an image, asked over gRPC."""
    async with AsyncClient(running.address, credentials=credentials) as client:
        return (await client.classify(png(3), model="tiny")).predictions[0].class_index


async def get_ready(running: Running, context: ssl.SSLContext) -> int:
    """Status of a request over HTTPS."""
    url = running.url.replace("http:", "https:") + "/v2/health/ready"
    return await asyncio.to_thread(lambda: urllib.request.urlopen(url, context=context).status)


async def shown(running: Running, port: int, context: ssl.SSLContext) -> tuple[Any, bytes]:
    """Version of TLS and certificate that a port comes with."""
    _, writer = await asyncio.open_connection(HOST, port, ssl=context)
    try:
        spoken: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return spoken.version(), spoken.getpeercert(binary_form=True) or b""
    finally:
        writer.transport.abort()


def ports(running: Running) -> Sequence[int]:
    """The ports of gRPC and of HTTP."""
    return running.server.grpc_port, running.server.http_port


async def test_both_ports(serve: Serve, certificates: Certificates) -> None:
    """
    Both ports speak TLS and nothing else.
    """
    async with serve(**certificates.settings) as running:
        assert await classify(running, certificates.credentials()) == 3
        assert await get_ready(running, certificates.context()) == 200
        async with AsyncClient(running.address, timeout_s=2) as client:
            with pytest.raises(ConvoyError, match="if the server uses TLS, use --tls"):
                await client.models()
        with pytest.raises(OSError):  # noqa: PT011 - closed or reset, as it comes
            await asyncio.to_thread(urllib.request.urlopen, running.url)


async def test_tls_on_one_side(
    serve: Serve, certificates: Certificates, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A command names the option that is missing, superfluous or wrong, in one line.
    """

    async def error(port: int, *options: str) -> str:
        address = ("--address", f"{HOST}:{port}")
        assert await asyncio.to_thread(main, ["models", *address, *options]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    ca, certificate, key = map(
        str, (certificates.client_ca, certificates.certificate, certificates.key)
    )
    async with serve() as running:
        line = await error(running.server.grpc_port, "--tls-ca", ca)
        assert "does not use TLS: connect without --tls" in line
    async with serve(**certificates.settings, tls_client_ca=ca) as running:
        port = running.server.grpc_port
        assert "use --tls or --tls-ca" in await error(port)
        assert "is not trusted: name its authority with --tls-ca" in await error(port, "--tls")
        assert "--client-certificate if it requires one" in await error(port, "--tls-ca", ca)
        assert f"cannot read {key} as a PEM certificate" in await error(port, "--tls-ca", key)
        line = await error(port, "--client-certificate", certificate)
        assert "--client-certificate and --client-key need each other" in line
        swapped = ("--client-certificate", key, "--client-key", certificate)
        assert "as a PEM certificate and its unencrypted key" in await error(port, *swapped)
        line = await error(port, "--tls-ca", str(certificates.key.parent))
        assert line.endswith("as a PEM certificate: Is a directory")


async def test_silent_connections(serve: Serve, certificates: Certificates) -> None:
    """
    Connections that never begin with TLS leave for others, and so do those that ask nothing more.
    """
    async with serve(max_http_connections=2, **certificates.settings) as running:
        address = (HOST, running.server.http_port)
        opened = [await asyncio.open_connection(*address) for _ in range(5)]
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*address, ssl=certificates.context())
            opened.append((reader, writer))
            writer.write(request("GET", "/v2"))
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        for left, _ in opened[:6]:
            await left.read()  # to its end
        for _, writer in opened:
            writer.transport.abort()


async def test_any_host(serve: Serve, certificates: Certificates) -> None:
    """
    With TLS any name will do: the certificate proves to the browser which one is meant.
    """
    async with serve(**certificates.settings) as running:
        url = running.url.replace("http:", "https:") + "/v2"
        asked = urllib.request.Request(url, headers={"host": "models.example"})
        context = certificates.context()
        answer = await asyncio.to_thread(urllib.request.urlopen, asked, context=context)
        assert answer.status == 200


async def test_versions(serve: Serve, certificates: Certificates) -> None:
    """
    TLS 1.2 and 1.3 are spoken; 1.1 is refused.
    """
    async with serve(**certificates.settings) as running:
        for port in ports(running):
            for version, name in (
                (ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
                (ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
            ):
                told, _ = await shown(running, port, certificates.context(version))
                assert told == name
            with pytest.warns(DeprecationWarning, match="TLSv1_1"):
                old = certificates.context(ssl.TLSVersion.TLSv1_1)
            with pytest.raises(OSError):  # noqa: PT011 - an alert, or closed without a word
                await shown(running, port, old)


async def test_mutual(serve: Serve, certificates: Certificates) -> None:
    """
    With authorities of clients only those whom they know get in, on both ports.
    """
    settings = {**certificates.settings, "tls_client_ca": str(certificates.client_ca)}
    known = certificates.authority.issue_cert("client.example")
    stranger = trustme.CA().issue_cert("client.example")
    async with serve(**settings) as running:
        assert await classify(running, certificates.credentials(known)) == 3
        context = certificates.context()
        known.configure_cert(context)
        assert await get_ready(running, context) == 200
        for client in (None, stranger):
            async with AsyncClient(
                running.address, timeout_s=2, credentials=certificates.credentials(client)
            ) as channel:
                with pytest.raises(ConvoyError):
                    await channel.models()
            context = certificates.context()
            if client:
                client.configure_cert(context)
            with pytest.raises((urllib.error.URLError, OSError)):
                await get_ready(running, context)


@pytest.mark.with_fronts
async def test_a_new_certificate(serve: Serve, certificates: Certificates) -> None:
    """
    A new certificate is shown to new connections without a restart; half of one changes nothing.
    """
    context = certificates.context()
    async with serve(**certificates.settings) as running:
        before = {(await shown(running, port, context))[1] for port in ports(running)}
        assert len(before) == 1
        good = certificates.key.read_bytes()
        certificates.key.write_text("half of a")
        await running.reload_credentials()
        assert {(await shown(running, port, context))[1] for port in ports(running)} == before
        certificates.key.write_bytes(good)
        certificates.issue()
        await running.reload_credentials()
        for port in ports(running):
            assert (await shown(running, port, context))[1] not in before
        assert await classify(running, certificates.credentials()) == 3


async def test_expiry_of_the_certificate(serve: Serve, certificates: Certificates) -> None:
    """
    The metrics tell when the certificate expires, and follow a new one.
    """
    context = certificates.context()
    metric = "convoy_tls_certificate_expiry_timestamp_seconds"
    async with serve(**certificates.settings) as running:
        for days in (10, 30):
            expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
            certificates.issue(expires)
            await running.reload_credentials()
            url = running.url.replace("http:", "https:") + "/metrics"
            answer = await asyncio.to_thread(urllib.request.urlopen, url, context=context)
            text = answer.read().decode()
            (line,) = re.findall(rf"^{metric} (\S+)$", text, re.MULTILINE)
            assert float(line) == expires.timestamp()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("missing", r"tls\.crt: No such file or directory"),
        ("rubbish", "a certificate or a key is not in PEM format"),
        ("other key", "the key does not belong to the certificate"),
    ],
)
async def test_files_of_no_use(
    serve: Serve, certificates: Certificates, damage: str, reason: str
) -> None:
    """
    The server does not start, and names the files and the fault.
    """
    if damage == "missing":
        certificates.certificate.unlink()
    elif damage == "rubbish":
        certificates.certificate.write_text("rubbish")
    else:
        trustme.CA().issue_cert(HOST).private_key_pem.write_to_path(certificates.key)
    with pytest.raises(StartError, match=rf"TLS files .*tls\.crt.*tls\.key: .*{reason}$"):
        async with serve(**certificates.settings):
            pass


async def test_commands(
    serve: Serve,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """
    Every command that asks a server takes a token and the files of TLS; so does the probe.
    """
    folder = tmp_path_factory.mktemp("client")
    tokens, image = folder / "tokens", folder / "3.png"
    image.write_bytes(png(3))

    async def convoy(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main, list(arguments))
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    assert main(["token", "me", "infer", "--token-file", str(tokens)]) == 0
    token = capsys.readouterr().out.strip()
    mine = certificates.authority.issue_cert("client.example")
    mine.cert_chain_pems[0].write_to_path(folder / "crt")
    mine.private_key_pem.write_to_path(folder / "key")
    settings = {"tls_client_ca": str(certificates.client_ca), "token_file": str(tokens)}
    async with serve(**certificates.settings, **settings) as running:
        tls = ["--tls-ca", str(certificates.client_ca), "--address", running.address]
        tls += ["--client-certificate", f"{folder}/crt", "--client-key", f"{folder}/key"]
        code, told = await convoy("models", *tls)
        assert (code, "UNAUTHENTICATED" in told) == (1, True)
        tls += ["--token", token]
        for command in (["models"], ["classify", str(image)]):
            code, told = await convoy(*command, *tls)
            assert code == 0, told
        load = ["tiny", "--concurrency", "1", "--seconds", "0.1", "--warmup-s", "0", *tls]
        report = await measure(read(BenchSettings, load), [])
        assert report.steps[0].latency_ms
        shown = ["--certificate", str(folder / "crt"), "--key", str(folder / "key")]
        port = str(running.server.http_port)
        assert await asyncio.to_thread(probe.main, [port, *shown]) == 0
        assert await asyncio.to_thread(probe.main, [port, "--tls"]) == 1
        assert await asyncio.to_thread(probe.main, [port]) == 1
