"""The guards of one server: its tokens and its TLS, kept as their files are."""

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


class Guards:
    """
    The guards of one server.

    Args:
        token_file: Where tokens are; None lets everybody do everything.
        tls_files: Where certificates are; None is no TLS.

    Raises:
        StartError: If one of the files is of no use.
    """

    def __init__(self, token_file: Path | None, tls_files: TlsFiles | None) -> None:
        self.tokens = Tokens(token_file) if token_file else None
        self.tls = Tls(tls_files) if tls_files else None

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
