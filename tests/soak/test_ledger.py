from collections import Counter

import grpc
import pytest

from tests.soak.ledger import CANCELLED, EXPIRED, OK, Entry, Ledger
from tests.soak.server_counts import ServerCounts
from tests.soak.wire import LOST

METHOD = "ModelInfer"
ENTRY = Entry("kind", METHOD, "m", 1, frozenset({CANCELLED, EXPIRED, LOST}))
STREAM = Entry("stream", "ModelStreamInfer", may_end=frozenset({CANCELLED}))


def ledger(local: bool = False, **ended: int) -> Ledger:
    """Calls of one image that ended so."""
    made = Ledger()
    for code, count in ended.items():
        made.begin(ENTRY, count)
        made.end(ENTRY, code, has_reason=True, local=local, count=count)
    return made


def server(images: int = 5, received: int = 7, dropped: int = 0, **codes: int) -> ServerCounts:
    """The counts of a server that ran so many images, and counted so many calls."""
    return ServerCounts(
        calls={METHOD: Counter(codes)},
        images=Counter(m=images),
        received=received,
        dropped=dropped,
        in_flight=received - dropped - sum(codes.values()),
    )


@pytest.mark.parametrize(
    "counted",
    [
        server(received=12, dropped=5, OK=5, NOT_FOUND=2),
        server(9, 12, dropped=1, OK=6, NOT_FOUND=2, CANCELLED=2, DEADLINE_EXCEEDED=1),
        server(received=12, dropped=4, OK=5, NOT_FOUND=2, CANCELLED=1),
    ],
)
def test_balanced(counted: ServerCounts) -> None:
    """
    Counts agree; those whose client left may be under any code, or have been dropped.
    """
    account = ledger(OK=5, NOT_FOUND=2, DEADLINE_EXCEEDED=1, CANCELLED=3, LOST=1)
    assert account.problems(counted) == []


@pytest.mark.parametrize(
    ("counted", "problem"),
    [
        (server(received=7, OK=4, NOT_FOUND=2), "ModelInfer: "),
        (server(received=7, OK=4, NOT_FOUND=2), "in flight"),
        (server(received=8, OK=6, NOT_FOUND=2), "ModelInfer: "),
        (server(received=8, OK=6, NOT_FOUND=2), "gRPC carried 7"),
        (server(OK=5, INVALID_ARGUMENT=2), "ModelInfer: "),
        (server(OK=4, NOT_FOUND=2, INTERNAL=1), "ModelInfer: "),
        (server(OK=4, NOT_FOUND=2, CANCELLED=1), "ModelInfer: "),
        (server(4, OK=5, NOT_FOUND=2), "images of m: "),
        (server(6, OK=5, NOT_FOUND=2), "images of m: "),
        (server(received=7, dropped=17, OK=5, NOT_FOUND=2), "the server dropped 17"),
        (server(received=8, dropped=1, OK=5, NOT_FOUND=2), "gRPC carried 7"),
        (server(received=6, OK=5, NOT_FOUND=2), "the server received 6"),
    ],
)
def test_server_counted_otherwise(counted: ServerCounts, problem: str) -> None:
    """
    A call or an image that one side has and the other has not is a problem.
    """
    assert problem in "\n".join(ledger(OK=5, NOT_FOUND=2).problems(counted))


@pytest.mark.parametrize(
    ("local", "counted", "is_sound"),
    [
        (False, server(0, received=3, dropped=3), True),
        (False, server(0, received=3, dropped=2, CANCELLED=1), True),
        (False, server(0, received=2, dropped=2), False),
        (True, server(0, received=2, dropped=2), True),
        (True, server(0, received=0), True),
        (True, server(0, received=3, dropped=2), False),
        (True, server(0, received=3, dropped=20), False),
        (True, server(0, received=4, dropped=4), False),
    ],
)
def test_dropped_calls(local: bool, counted: ServerCounts, is_sound: bool) -> None:
    """
    A call that its client ended may not have reached the server; one that did was dropped, if the
    server counts it under no code.
    """
    assert bool(ledger(local, CANCELLED=3).problems(counted)) is not is_sound


@pytest.mark.parametrize("left", [True, False])
def test_calls_that_grpc_does_not_carry(left: bool) -> None:
    """
    HTTP is not the transport's, so that it drops no call of it; a stream is one call, whatever its
    requests.
    """
    account, may_end = Ledger(), frozenset({CANCELLED})
    for entry, carried in ((Entry("http", METHOD, may_end=may_end), 0), (STREAM, 1)):
        account.begin(entry, 3, carried)
        account.end(entry, CANCELLED, local=left, count=3)
    counted = ServerCounts(calls={STREAM.method: Counter(CANCELLED=2)}, received=1)
    assert (account.problems(counted) == []) is left


def test_inferences_without_a_duration() -> None:
    """
    A call that infers has a duration, whatever its end.
    """
    counted = server(received=7, OK=5, NOT_FOUND=2)
    counted.inferences, counted.durations = Counter(m=5, unknown=2), Counter(m=5)
    (told,) = ledger(OK=5, NOT_FOUND=2).problems(counted)
    assert "have a duration" in told


def test_lost_call() -> None:
    """
    A call that never ended is a problem.
    """
    account = ledger(OK=1, CANCELLED=1)
    account.begin(ENTRY)
    assert "not every call ended once" in account.problems(server(images=1, OK=2))[0]


@pytest.mark.parametrize(
    ("code", "has_reason", "is_fault"),
    [
        (CANCELLED, False, True),
        (EXPIRED, False, True),
        (LOST, False, True),
        ("RESOURCE_EXHAUSTED", True, False),
        ("UNAVAILABLE", False, True),
        ("INTERNAL", True, True),
    ],
)
def test_ends_that_are_faults(code: str, has_reason: bool, is_fault: bool) -> None:
    """
    A call that nobody cancels or hurries may only be answered, or refused for a reason.
    """
    account, entry = Ledger(), Entry("kind", METHOD)
    account.begin(entry)
    account.end(entry, code, has_reason=has_reason)
    assert bool(account.faults) is is_fault


def error(code: grpc.StatusCode, **trailing: str) -> grpc.aio.AioRpcError:
    """The error of a call that ended with a status."""
    metadata = grpc.aio.Metadata(*((name.replace("_", "-"), v) for name, v in trailing.items()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata)


@pytest.mark.parametrize(
    ("raised", "code", "faults", "local"),
    [
        (error(grpc.StatusCode.DEADLINE_EXCEEDED), EXPIRED, 0, 1),
        (error(grpc.StatusCode.NOT_FOUND, error_reason="MODEL_NOT_FOUND"), "NOT_FOUND", 0, 0),
        (error(grpc.StatusCode.UNAVAILABLE), LOST, 0, 1),
        (error(grpc.StatusCode.INTERNAL, error_reason="INTERNAL"), "INTERNAL", 1, 0),
        (ValueError("image 3 by version 2"), OK, 1, 0),
        (None, OK, 0, 0),
    ],
)
def test_call(raised: Exception | None, code: str, faults: int, local: int) -> None:
    """
    A call ends as gRPC's client says; a wrong answer is a fault, and goes no further.
    """
    account = Ledger()
    with account.call(ENTRY):
        if raised:
            raise raised
    assert account.ended == {("kind", METHOD, code): 1}
    assert account.images == {("m", code): 1}
    assert (account.faults.total(), account.local.total()) == (faults, local)


def test_accounts_are_added() -> None:
    """
    The account of another process is read from a line, and added.
    """
    account = ledger(OK=2, CANCELLED=1)
    account.add(Ledger.load(ledger(local=True, OK=1, INTERNAL=1).dump()))
    assert account.of_method(METHOD) == {OK: 3, CANCELLED: 1, "INTERNAL": 1}
    assert account.sent.total() == 5
    assert account.local.total() == 2
    assert account.faults.total() == 1
