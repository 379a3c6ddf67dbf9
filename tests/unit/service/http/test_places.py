"""Places: silent connections leave for new ones, in their order; busy ones stay."""

from __future__ import annotations

import pytest

from convoy.service.http.limits import PROBE_PLACES
from convoy.service.http.places import Place, Places

Closed = list[Place]


@pytest.fixture
def refusals() -> list[str]:
    """The reasons that the places under test have given."""
    return []


def taken(places: Places, closed: Closed, address: str = "a") -> Place:
    """Take a place that notes in *closed* when it has to leave."""
    place = places.take(address)
    assert place is not None
    place.close = lambda: closed.append(place)
    return place


def test_the_longest_silent_one_leaves(refusals: list[str]) -> None:
    """The connection that was silent first leaves first, from the end of its last request."""
    places, closed = Places(3, 0, refusals.append), Closed()
    first, second, third = (taken(places, closed) for _ in range(3))
    first.busy()
    first.silent()
    second.silent()  # a part of its headers: it was silent before
    for expected in (second, third, first):
        assert taken(places, closed).probes_only is False
        assert closed[-1] is expected
    assert refusals == ["TOO_MANY_CONNECTIONS"] * 3


def test_busy_ones_stay(refusals: list[str]) -> None:
    """With all places busy, some further connections may probe, and the next is closed."""
    places, closed = Places(2, 0, refusals.append), Closed()
    busy = [taken(places, closed) for _ in range(2)]
    for place in busy:
        place.busy()
    probes = [taken(places, closed) for _ in range(PROBE_PLACES)]
    assert all(place.probes_only for place in probes)
    assert refusals == []
    probes += [taken(places, closed) for _ in range(2)]
    assert closed == probes[:2]
    for place in probes[2:]:
        place.busy()
    assert places.take("b") is None
    assert refusals == ["TOO_MANY_CONNECTIONS"] * 3
    busy[0].free()
    assert taken(places, closed).probes_only is False


def test_places_are_given_back(refusals: list[str]) -> None:
    """A place that is free is there for the next connection, whoever gave it back, and once."""
    places, closed = Places(1, 0, refusals.append), Closed()
    for _ in range(3):
        place = taken(places, closed)
        place.busy()
        assert place.probes_only is False
        place.free()
        place.free()
    assert (closed, refusals) == ([], [])


def test_a_connection_that_left_stays_away(refusals: list[str]) -> None:
    """A connection that had to leave changes nothing any more."""
    places, closed = Places(1, 0, refusals.append), Closed()
    gone = taken(places, closed)
    taken(places, closed)
    for late in (gone.silent, gone.busy, gone.silent, gone.free):
        late()
    last = taken(places, closed)
    last.busy()
    assert len(closed) == 2
    assert places.make_room() is False


def test_share_of_an_address(refusals: list[str]) -> None:
    """An address that has its share gives up a silent connection of its own, or gets no further."""
    places, closed = Places(9, 2, refusals.append), Closed()
    other = taken(places, closed, "b")
    first, second = (taken(places, closed) for _ in range(2))
    third = taken(places, closed)
    assert closed == [first]
    second.busy()
    third.busy()
    assert places.take("a") is None
    assert refusals == ["TOO_MANY_CONNECTIONS"] * 2
    assert taken(places, closed, "b").probes_only is False
    second.free()
    assert taken(places, closed).probes_only is False
    assert other not in closed


def test_only_for_probes(refusals: list[str]) -> None:
    """A connection may be restricted to probes although there are places, as if files run short."""
    place = Places(9, 0, refusals.append).take("a", probes_only=True)
    assert place is not None
    assert place.probes_only
    assert refusals == []


def test_end_is_told(refusals: list[str]) -> None:
    """Each end of a connection is told, also of one that had to leave before."""
    places, ends = Places(1, 0, refusals.append), []
    places.freed = lambda: ends.append(1)
    place = taken(places, Closed())
    places.make_room()
    place.free()
    assert len(ends) == 2
