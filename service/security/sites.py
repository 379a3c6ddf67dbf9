"""Requests that a web page makes a browser send, and the check that the page is this server's.

A browser reaches servers that strangers do not: on its own machine, and inside its network. A page
of any site can use it for two attacks:

* The page sends a request to the server's address. It cannot read the answer, but the request may
  load a model, or cost a run. The browser states the page's site beside such a request.
* The page's host name resolves to the server's address (DNS rebinding). The browser then takes the
  server for a part of the page's site, and lets the page read the answers, too. Its requests name
  that host.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import lru_cache

from convoy.service.errors import HostNotAllowedError, OriginNotAllowedError

READING = frozenset({"GET", "HEAD"})
"""Methods of requests that change nothing. A page of another site cannot read their answers."""

# Ends of names that only private networks have: of RFC 6761, 6762 and 8375, ICANN's `internal`, and
# the `svc` of Kubernetes, which no registry sells.
_PRIVATE_ENDS = (".home.arpa", ".internal", ".local", ".localhost", ".svc")

# Media types of forms. Scripts may send these, and no others, to another site without asking first.
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")


class SiteCheck:
    """
    Refuses requests that a page of another site has caused.

    Args:
        hosts: Patterns of names by which clients may address the server, beside addresses and the
            names of private networks; None allows any.
        origins: Origins of pages that may use the server, such as `https://app.example`; `*` is
            any.
    """

    def __init__(self, hosts: Iterable[str] | None = None, origins: Iterable[str] = ()) -> None:
        self._hosts = None if hosts is None else [host.lower() for host in hosts]
        self._origins = frozenset(origins)

    def check(self, verb: str, headers: Mapping[str, str]) -> None:
        """
        Raise if a page of another site may have caused the request.

        Args:
            verb: Its HTTP method.
            headers: Its headers, by names in lower case.

        Raises:
            HostNotAllowedError: If it names a host that is not allowed.
            OriginNotAllowedError: If it may change something, and comes from a page of another
                site.
        """
        host = headers.get("host", "").lower()
        if not self._allows(_name(host)):
            raise HostNotAllowedError(
                f"host {_name(host)[:64]!r} is not allowed: use the server's address, or start the "
                "server with --allowed-hosts and this name"
            )
        if verb in READING or "*" in self._origins or headers.get("origin") in self._origins:
            return
        if _is_foreign(host, headers):
            raise OriginNotAllowedError(
                "a web page of another site sent this request: allow it by --cors-origins; if it "
                "is the server's own page, let the proxy in front keep the header Host or set "
                "X-Forwarded-Host"
            )

    def _allows(self, name: str) -> bool:
        return (
            self._hosts is None
            or _is_private(name)
            or any(fnmatchcase(name, pattern) for pattern in self._hosts)
        )


def _name(host: str) -> str:
    """Return *host*, of a header, without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and (not port or port.isdecimal()) else host).removesuffix(".")


# Reading an address takes as long as the rest of the check, and clients use few names.
@lru_cache(maxsize=64)
def _is_private(name: str) -> bool:
    # Case 1: an address, which no name server can be made to change.
    with suppress(ValueError):
        ipaddress.ip_address(name.strip("[]"))
        return True
    # Case 2: a name that no site of the internet has: of one part, or of a private network.
    return "." not in name or name.endswith(_PRIVATE_ENDS)


def _is_foreign(host: str, headers: Mapping[str, str]) -> bool:
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    # Case 1: the browser states the result of its own comparison.
    if site is not None:
        return site not in ("same-origin", "none")
    # Case 2: without TLS it states only the page's origin; `null` hides one. A proxy may have
    # replaced the host that the browser asked for. No page can send the proxy's header unasked.
    if origin is not None:
        forwarded = headers.get("x-forwarded-host", "").lower().replace(" ", "").split(",")
        page = origin.lower().removeprefix("http://").removeprefix("https://")
        return not page or page not in (host, *forwarded)
    # Case 3: a browser that is too old to state either may send a form for a page. Other clients
    # send JSON as these types, too: curl --data, and Node's fetch.
    form = headers.get("content-type", "").lower().startswith(_FORM_TYPES)
    return form and headers.get("user-agent", "").startswith("Mozilla/")
