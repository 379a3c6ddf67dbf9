import grpc
import pytest

from convoy.connecting import explain, to_target


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("localhost", "localhost:8001"),
        ("localhost:9000", "localhost:9000"),
        ("10.0.0.1", "10.0.0.1:8001"),
        ("::1", "[::1]:8001"),
        ("[::1]", "[::1]:8001"),
        ("[::1]:9000", "[::1]:9000"),
        ("dns:9000", "dns:9000"),
        ("dns:///name:9000", "dns:///name:9000"),
        ("ipv4:10.0.0.1:8001,10.0.0.2:8001", "ipv4:10.0.0.1:8001,10.0.0.2:8001"),
        ("unix:/run/convoy.sock", "unix:/run/convoy.sock"),
    ],
)
def test_target(address: str, target: str) -> None:
    """
    A host without a port gets the default one; a target of gRPC stays as it is.
    """
    assert to_target(address) == target


@pytest.mark.parametrize(
    "address",
    ["", ":8001", "8001", "localhost:", "localhost:99999", "http://localhost:8000", "a b"],
)
def test_malformed_address(address: str) -> None:
    """
    Anything else is refused with an example.
    """
    with pytest.raises(ValueError, match="expected HOST:PORT, such as localhost:8001"):
        to_target(address)


def test_other_errors_keep_the_words_of_grpc() -> None:
    """
    An error that is not known is stated in gRPC's words, without its list of attempts.
    """
    details = "failed to connect to all addresses; last error: UNKNOWN: no route"
    unavailable, internal = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL
    assert explain(unavailable, details, "h:1") == "cannot reach h:1: UNKNOWN: no route"
    assert explain(internal, "odd", "h:1") == "odd"
