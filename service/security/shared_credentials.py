"""Credentials that another process of the server reads from their files and sends."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from convoy.service.security.tls import GrpcTls, Pem
from convoy.service.security.tokens import Token, Tokens


class Contents(BaseModel):
    """
    The credentials in use.

    Attributes:
        tokens: None if no client needs one.
        pem: Certificates and keys; None without TLS.
    """

    # PEM files may have comments in any encoding.
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    tokens: list[Token] | None
    pem: Pem | None


class SharedCredentials:
    """
    Tokens and TLS that use the contents received last.

    Attributes:
        tokens: None if no client needs one.
        tls: None without TLS.
    """

    def __init__(self, contents: Contents) -> None:
        self.tokens = None if contents.tokens is None else Tokens(contents.tokens)
        self.tls = None if contents.pem is None else GrpcTls(contents.pem)

    def use(self, contents: Contents) -> None:
        """Use other contents, of the same kinds, for new calls and connections."""
        if self.tokens and contents.tokens is not None:
            self.tokens.known = contents.tokens
        if self.tls and contents.pem:
            self.tls.pem = contents.pem
