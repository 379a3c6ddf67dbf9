"""The credentials of one server: its tokens and its TLS, reloaded when their files change."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable
from pathlib import Path

from convoy.service.security.file_access import warn_of_access
from convoy.service.security.shared_credentials import Contents
from convoy.service.security.tls import Tls, TlsFiles
from convoy.service.security.tokens import TokenFile
from convoy.service.security.watched_files import WatchedFiles

logger = logging.getLogger(__name__)

CHECK_INTERVAL_S = 10.0
"""Time between two checks of the files, in seconds."""


class Credentials:
    """
    Tokens and TLS of one server.

    Args:
        token_file: File of tokens; empty lets every client do everything.
        tls_certificate: PEM file of the server's certificate chain; empty disables TLS.
        tls_key: PEM file of its key.
        tls_client_ca: PEM file of the authorities whose clients alone may connect; empty admits
            all clients.

    Attributes:
        tokens: None without a token file.
        tls: None without a certificate.
        changed: Called after changed files have been loaded.

    Raises:
        StartError: If one of the files cannot be used.
    """

    def __init__(
        self,
        token_file: str = "",
        *,
        tls_certificate: str = "",
        tls_key: str = "",
        tls_client_ca: str = "",
    ) -> None:
        self.tokens: TokenFile | None = None
        self.tls: Tls | None = None
        self.changed: Callable[[], None] = lambda: None
        self._watched: list[tuple[WatchedFiles, Callable[[], None]]] = []
        # Watched before they are read, so that no change in between is missed.
        if token_file:
            watched = WatchedFiles([Path(token_file)])
            self.tokens = TokenFile(Path(token_file))
            self._watched.append((watched, self.tokens.load))
        if tls_certificate:
            client_ca = Path(tls_client_ca) if tls_client_ca else None
            files = TlsFiles(Path(tls_certificate), Path(tls_key), client_ca)
            watched = WatchedFiles(files)
            self.tls = Tls(files)
            self._watched.append((watched, self.tls.load))

    @property
    def contents(self) -> Contents:
        """The tokens and certificates in use, for processes that do not read the files."""
        return Contents(
            tokens=list(self.tokens.known) if self.tokens else None,
            pem=self.tls.pem if self.tls else None,
        )

    def warn_of_files(self) -> None:
        """Warn of tokens and keys that other users of this machine may change or read."""
        secrets = [self.tokens.file] if self.tokens else []
        warn_of_access([*secrets, self.tls.files.key] if self.tls else secrets)

    def warn(self, address: str) -> None:
        """Warn of what clients that reach *address* can do, unless it is a loopback address."""
        if ipaddress.ip_address(address).is_loopback:
            return
        where = {"address": address}
        # With mutual TLS, only clients with a certificate get through the handshake.
        certified_only = self.tls and self.tls.files.client_ca
        if not self.tokens and not certified_only:
            logger.warning("no --token-file: requests are not authenticated", extra=where)
        if self.tokens and not self.tls:
            logger.warning("no TLS: tokens and images can be read in transit", extra=where)

    def reload_changed(self) -> None:
        """Load the files that have changed since they were last loaded."""
        loaded = [files.reload_if_changed(load) for files, load in self._watched]
        if any(loaded):
            self.changed()

    async def watch(self, interval_s: float = CHECK_INTERVAL_S) -> None:
        """Reload changed files every *interval_s* seconds, until cancelled."""
        while self._watched:
            await asyncio.sleep(interval_s)
            self.reload_changed()
