import pytest

from convoy.service.machine.sockets import page_url


@pytest.mark.parametrize(
    ("host", "tls", "url"),
    [
        ("", False, "http://localhost:8000/"),
        ("0.0.0.0", False, "http://localhost:8000/"),
        ("::", False, "http://localhost:8000/"),
        ("127.0.0.1", False, "http://localhost:8000/"),
        ("localhost", True, "https://localhost:8000/"),
        ("192.0.2.1", False, "http://192.0.2.1:8000/"),
        ("2001:db8::1", False, "http://[2001:db8::1]:8000/"),
        ("[2001:db8::1]", True, "https://[2001:db8::1]:8000/"),
        ("server", False, "http://server:8000/"),
    ],
)
def test_page_url(host: str, tls: bool, url: str) -> None:
    """
    The address of the page can be opened by a browser on the server's own machine.
    """
    assert page_url(host, 8000, tls=tls) == url
