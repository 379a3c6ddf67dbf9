"""The gRPC target of an address, and the reason why a server cannot be reached."""

from __future__ import annotations

import re

import grpc

DEFAULT_PORT = 8001

_HOST_PORT = re.compile(r"(\[[^\s\[\]]+\]|[^\s:/,\[\]]+)(?::(\d+))?")
_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")

_HTTP_PORT = "{address} answers in HTTP, not gRPC: use the server's gRPC port, 8001 by default"

_EXPLANATIONS = (
    ("Connection refused", "cannot reach {address}: is `convoy serve` running?"),
    # gRPC's wordings for answers of HTTP/1 and of HTTP/2.
    ("http1.x server", _HTTP_PORT),
    ("http2 header with status", _HTTP_PORT),
    (
        "WRONG_VERSION_NUMBER",
        "{address} does not use TLS: connect without --tls, --tls-ca and --client-certificate "
        "(in Python, without credentials)",
    ),
    (
        "Hostname Verification Check failed",
        "the certificate of {address} was issued for another host name",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the certificate of {address} is not trusted: name its authority with --tls-ca "
        "(in Python, in credentials)",
    ),
    ("CERTIFICATE_REQUIRED", "{address} requires a client certificate: use --client-certificate"),
    ("hostname lookup", "cannot reach {address}: its host name is unknown"),
)
"""Part of gRPC's message, and the explanation of it."""


def to_target(address: str) -> str:
    """
    Return the gRPC target of *address*; add the default port to a bare host.

    Raises:
        ValueError: If it is neither `HOST`, `HOST:PORT` nor a target of gRPC, such as `dns:///...`.
    """
    if found := _HOST_PORT.fullmatch(address):
        host, port = found[1], int(found[2] or DEFAULT_PORT)
        # A port alone would be looked up as a host name.
        if not host.isdigit() and 0 < port < 2**16:
            return f"{host}:{port}"
    elif address.startswith(_SCHEMES):
        return address
    elif re.fullmatch(r"[0-9A-Fa-f:.]*::?[0-9A-Fa-f:.]+", address) and address.count(":") > 1:
        return f"[{address}]:{DEFAULT_PORT}"
    raise ValueError(f"invalid address {address!r}: expected HOST:PORT, such as localhost:8001")


def explain(code: grpc.StatusCode, details: str, address: str) -> str:
    """Return one line on an error that gRPC raised itself, with *details* as its message."""
    for part, explanation in _EXPLANATIONS:
        if part in details:
            return explanation.format(address=address)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        # A call that waited for a server ends in the same way.
        return (
            f"no answer from {address} within the timeout: allow more time, or check that a server "
            "is ready there"
        )
    if code is not grpc.StatusCode.UNAVAILABLE:
        return details
    # A server with TLS closes connections that begin without it, or without a required certificate.
    if "failed to connect" in details and re.search("Socket closed|reset by peer", details):
        return (
            f"{address} closes the connection: if the server uses TLS, use --tls or --tls-ca, and "
            "--client-certificate if it requires one (in Python, credentials)"
        )
    return f"cannot reach {address}: {details.rpartition('last error: ')[2]}"
