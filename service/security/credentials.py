"""The credentials that one server accepts and presents: tokens and TLS, as their files are now."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from pathlib import Path

from convoy.service.security.tls import Tls, TlsFiles
from convoy.service.security.tokens import Tokens
from convoy.service.security.watched_files import FollowedFiles

logger = logging.getLogger(__name__)

LOOK_S = 10.0
"""Time between two looks at the files, in seconds."""


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
        self.tokens = Tokens(Path(token_file)) if token_file else None
        self.tls = None
        if tls_certificate:
            client_ca = Path(tls_client_ca) if tls_client_ca else None
            self.tls = Tls(TlsFiles(Path(tls_certificate), Path(tls_key), client_ca))

    def warn(self, address: str) -> None:
        """Say what is open to whoever reaches *address*, unless that is this machine alone."""
        if ipaddress.ip_address(address).is_loopback:
            return
        where = {"address": address}
        known_only = self.tls and self.tls.files.client_ca
        if not self.tokens and not known_only:
            logger.warning("whoever reaches this server may use it: no token_file", extra=where)
        if self.tokens and not self.tls:
            logger.warning("tokens and images can be read on their way: no TLS", extra=where)

    async def follow(self) -> None:
        """Take changed files, for ever."""
        followed = []
        if self.tokens:
            followed.append(FollowedFiles([self.tokens.file], self.tokens.load))
        if self.tls:
            followed.append(FollowedFiles(self.tls.files, self.tls.load))
        while followed:
            await asyncio.sleep(LOOK_S)
            for files in followed:
                files.look()
