"""Listening sockets, the same for both transports."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from contextlib import suppress

from convoy.service.errors import StartError

ANY = ("::", "0.0.0.0")
"""All addresses of both families, and those of IPv4 for a machine that has no IPv6."""

LOCALHOST = ("127.0.0.1", "::1")
"""The addresses of localhost, whatever a machine's list of names says (RFC 6761)."""


def page_url(host: str, port: int, *, tls: bool) -> str:
    """Return the address at which a browser on this machine reaches a server that uses *host*."""
    name = "localhost" if host in ("", *ANY, *LOCALHOST) else host.strip("[]")
    bracketed = f"[{name}]" if ":" in name else name
    return f"{'https' if tls else 'http'}://{bracketed}:{port}/"


def resolve(host: str) -> str:
    """
    Return the address to listen on for *host*: the first of its addresses that this machine has.

    Args:
        host: A name or an address; empty for all addresses of the machine.

    Raises:
        StartError: If the name has no address.
    """
    addresses = {"": ANY, "localhost": LOCALHOST}.get(host) or _addresses(host)
    for address in addresses:
        # A name may stand for an address of a family that the machine does not have.
        with suppress(OSError):
            listen(address, 0).close()
            return address
    return addresses[0]  # listening on it gives the reason


def _addresses(host: str) -> Sequence[str]:
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise StartError(
            f"cannot listen on {host}: {error.strerror}; set --host to a name or an address of "
            "this machine"
        ) from error
    return [str(address[0]) for *_, address in found]


def listen(address: str, port: int) -> socket.socket:
    """
    Listen on an address of either family; `::` accepts IPv4, too.

    Args:
        port: 0 picks a free one.

    Raises:
        OSError: If the port is in use, or the address is not one of this machine.
    """
    both = address == "::"
    if both and not socket.has_dualstack_ipv6():
        raise OSError(errno.EAFNOSUPPORT, "no IPv6")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, dualstack_ipv6=both)
    # Connections inherit this. asyncio does not set it on sockets that it did not create, and
    # without it the second part of an answer waits 40 ms for the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def reserve(address: str, port: int) -> socket.socket:
    """
    Bind a port for the processes that share it, which listen on it themselves.

    Others cannot: they would have to share it, too, as this user.

    Args:
        port: 0 picks a free one.

    Raises:
        OSError: As `listen`.
    """
    # Also fails if another server shares the port already.
    listen(address, port).close()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    reserved = socket.socket(family)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family is socket.AF_INET6:
        reserved.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address != "::"))
    reserved.bind((address, port))
    return reserved


def reason(error: Exception, flag: str) -> str:
    """
    Return the reason why a port cannot be listened on, and the remedy.

    Args:
        flag: The flag of the port, such as `--grpc-port`.
    """
    number = error.errno if isinstance(error, OSError) else None
    host = "--control-host" if flag == "--control-port" else "--host"
    remedies = {
        errno.EADDRINUSE: f"the port is in use; choose another one with {flag}",
        errno.EADDRNOTAVAIL: f"this machine has no such address; choose one of its own with {host}",
        errno.EACCES: f"this user may not use the port; choose one from 1024 on with {flag}",
        errno.EAFNOSUPPORT: f"this machine has no IPv6; use {host} 0.0.0.0",
    }
    return remedies.get(number or 0, str(error))
