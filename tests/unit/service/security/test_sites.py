"""Requests of other sites' pages are told from those of clients and of the server's own page."""

from __future__ import annotations

import pytest

from convoy.service.errors import HostNotAllowedError, OriginNotAllowedError
from convoy.service.security.sites import SiteCheck

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:60.0) Gecko/20100101 Firefox/60.0"


def allowed(
    check: SiteCheck, verb: str = "POST", host: str = "localhost:8000", **headers: str
) -> bool:
    """Return whether the check lets a request with these headers pass; _ stands for -."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        check.check(verb, {"host": host, **given})
    except OriginNotAllowedError:
        return False
    return True


def serves(check: SiteCheck, host: str) -> bool:
    """Return whether the check lets a request for *host* pass."""
    try:
        check.check("GET", {"host": host})
    except HostNotAllowedError:
        return False
    return True


LOCAL = [
    *("localhost", "localhost:8000", "LOCALHOST", "localhost.", "app.localhost", ""),
    *(
        "127.0.0.1",
        "127.0.0.1:8000",
        "10.1.2.3",
        "192.0.2.7:80",
        "[::1]",
        "[::1]:8000",
        "[fe80::1]",
    ),
    *(
        "server:8000",
        "convoy",
        "gpu-box",
        "convoy.models.svc",
        "convoy.models.svc.cluster.local:8000",
    ),
    *("printer.local", "host.docker.internal", "nas.home.arpa"),
]

FOREIGN = [
    *(
        "evil.example",
        "evil.example:8000",
        "EVIL.example.",
        "127.0.0.1.evil.example",
        "local.example",
    ),
    *("localhost.evil.example", "evil.example:", "evil.example:x", "evillocal.com", "convoy.dev"),
    *("[::1].evil.example", "1.2.3", "svc.com", "1.2.3.4.5", "example.com:80:80"),
]


@pytest.mark.parametrize("host", LOCAL)
def test_host_of_a_private_network(host: str) -> None:
    """A name that no site of the internet can have is served."""
    assert serves(SiteCheck([]), host)


@pytest.mark.parametrize("host", FOREIGN)
def test_host_of_the_internet(host: str) -> None:
    """A name that a site may have is served only where every name is."""
    assert not serves(SiteCheck([]), host)
    assert serves(SiteCheck(), host)
    assert serves(SiteCheck(["*"]), host)


def test_host_that_the_operator_allows() -> None:
    """An operator's name is served with any port and in any case, and no other is."""
    check = SiteCheck(["Models.example", "*.lab.example"])
    for host in ("models.example", "MODELS.EXAMPLE:80", "models.example.", "a.lab.example:8000"):
        assert serves(check, host)
    for host in (
        "evil.example",
        "amodels.example",
        "models.example.com",
        "lab.example",
        "xlab.example",
    ):
        assert not serves(check, host)


def test_refusal_names_the_remedy() -> None:
    """The message of a refused host has its beginning, without the port, and the flag."""
    with pytest.raises(HostNotAllowedError, match=f"'{'e' * 64}' is .*--allowed-hosts"):
        SiteCheck([]).check("GET", {"host": "e" * 100 + ".example:80"})


OWN = [
    {},
    {"content_type": "application/x-www-form-urlencoded", "user_agent": "curl/8.5.0"},
    {"content_type": "text/plain;charset=UTF-8", "user_agent": "node"},
    {"content_type": "application/json", "user_agent": BROWSER},
    {"content_type": "application/octet-stream", "user_agent": BROWSER},
    {"user_agent": BROWSER},
    {"sec_fetch_site": "same-origin", "origin": "http://localhost:8000"},
    {"sec_fetch_site": "same-origin", "origin": "https://models.example"},
    {"sec_fetch_site": "same-origin", "content_type": "text/plain", "user_agent": BROWSER},
    {"sec_fetch_site": "none"},
    {"origin": "http://localhost:8000"},
    {"origin": "HTTP://LocalHost:8000"},
    {"origin": "https://localhost:8000", "user_agent": BROWSER, "content_type": "text/plain"},
    {"origin": "http://models.example", "x_forwarded_host": "models.example"},
    {"origin": "http://models.example:81", "x_forwarded_host": "Models.example:81, proxy:8000"},
]

OTHER = [
    {"sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "same-site", "origin": "http://localhost:3000"},
    {"sec_fetch_site": ""},
    {"sec_fetch_site": "cross-site", "origin": "http://localhost:8000"},
    {"origin": "http://evil.example"},
    {"origin": "http://localhost"},
    {"origin": "http://localhost:3000"},
    {"origin": "http://localhost:8000.evil.example"},
    {"origin": "ftp://localhost:8000"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "http://evil.example", "x_forwarded_host": "models.example"},
    {"content_type": "text/plain", "user_agent": BROWSER},
    {"content_type": "Text/Plain; charset=UTF-8", "user_agent": BROWSER},
    {"content_type": "application/x-www-form-urlencoded", "user_agent": BROWSER},
    {"content_type": "multipart/form-data; boundary=x", "user_agent": BROWSER},
]


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_own_page_and_other_clients(headers: dict[str, str]) -> None:
    """Clients without a page, and the server's own page, are let through, by any method."""
    for verb in ("GET", "HEAD", "POST", "PUT"):
        assert allowed(SiteCheck([]), verb, **headers)


@pytest.mark.parametrize("headers", OTHER, ids=str)
def test_page_of_another_site(headers: dict[str, str]) -> None:
    """A page of another site may cause only requests that change nothing."""
    for check in (SiteCheck(), SiteCheck([]), SiteCheck(["*"])):
        assert not allowed(check, "POST", **headers)
        assert not allowed(check, "DELETE", **headers)
        assert allowed(check, "GET", **headers)


def test_page_that_hides_its_origin() -> None:
    """A hidden origin is that of no host, even without one."""
    assert not allowed(SiteCheck(), host="", origin="null")
