"""A readiness probe for HEALTHCHECK: `python -m convoy.service.http.probe PORT`.

Small images have no curl, and this starts in a tenth of the time of a gRPC client. Add `--tls` if
the server uses TLS, and `--certificate` and `--key` if it requires certificates of clients. The
server's certificate is not verified: it is not issued for localhost.
"""

from __future__ import annotations

import argparse
import http.client
import sys
from contextlib import closing

TIMEOUT_S = 2.0

LOOPBACK = ("127.0.0.1", "::1")
"""Not localhost: it may have no address of the family that the machine has."""


def main(arguments: list[str]) -> int:
    """Ask the server on an HTTP port; return 0 if it is ready, else 1."""
    asked = _parser().parse_args(arguments)
    for address in LOOPBACK:
        try:
            status = _status(asked, address)
        except (OSError, http.client.HTTPException) as error:
            print(f"port {asked.port} does not answer on {address}: {error}")
            continue
        print(f"port {asked.port} answers {status}")
        return 0 if status == http.client.OK else 1
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m convoy.service.http.probe")
    parser.add_argument("port", type=int, nargs="?", default=8000)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    return parser


def _status(asked: argparse.Namespace, address: str) -> int:
    with closing(_connection(asked, address)) as connection:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status


def _connection(asked: argparse.Namespace, host: str) -> http.client.HTTPConnection:
    if not (asked.tls or asked.certificate):
        return http.client.HTTPConnection(host, asked.port, timeout=TIMEOUT_S)
    import ssl  # doubles the start-up time

    context = ssl.create_default_context()
    # The order matters: Python refuses the second line while the first one is missing.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if asked.certificate:
        context.load_cert_chain(asked.certificate, asked.key)
    return http.client.HTTPSConnection(host, asked.port, timeout=TIMEOUT_S, context=context)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
