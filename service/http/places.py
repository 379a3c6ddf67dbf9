"""Places for a limited number of connections, and the choice of the one to close for a new one.

A connection is silent while the server waits for its client: for a TLS handshake, for the headers
of a request, or for the client to read an answer. A client with a thousand silent connections must
not exclude others, so the connection that has been silent longest is closed for a new one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain

from convoy.service.errors import TooManyConnectionsError
from convoy.service.http.limits import PROBE_PLACES


def _nothing() -> None:
    """Do nothing."""


class Place:
    """
    The place of one connection, silent at first.

    Attributes:
        address: The client's IP address.
        probes_only: Whether the connection is beyond the limit: it may request health and metrics.
        close: Closes the connection at once.
        taken: Whether the connection still holds it.
    """

    def __init__(self, places: Places, address: str, probes_only: bool) -> None:
        self._places = places
        self.address = address
        self.probes_only = probes_only
        self.close: Callable[[], object] = _nothing
        self.taken = True

    def silent(self) -> None:
        """Note that the server waits for the client; the time counts from the first such note."""
        if self.taken:
            self._places.silent[self.probes_only].setdefault(self)

    def busy(self) -> None:
        """Note that the connection has a request which is being answered."""
        self._places.silent[self.probes_only].pop(self, None)

    def free(self) -> None:
        """Free the place, which may be free already."""
        self._places.free(self)


class Places:
    """
    The places of all connections of a server; owned by the event loop.

    Args:
        most: Maximum number of connections, in addition to `PROBE_PLACES` that may only probe.
        most_per_address: Maximum number of connections of one address; 0 is no limit.
        refused: Called with the reason whenever a connection is closed for lack of places.

    Attributes:
        silent: Silent connections by `probes_only`, those that have been silent longest first.
        freed: Called whenever a place is freed, before the socket of its connection is closed.
    """

    def __init__(self, most: int, most_per_address: int, refused: Callable[[str], None]) -> None:
        self._most = {False: most, True: PROBE_PLACES}
        self._most_per_address = most_per_address
        self._refused = refused
        # By `probes_only`, as the limits.
        self._taken = {False: 0, True: 0}
        self._by_address: Counter[str] = Counter()
        self.silent: dict[bool, dict[Place, None]] = {False: {}, True: {}}
        self.freed: Callable[[], object] = _nothing

    def take(self, address: str, *, probes_only: bool = False) -> Place | None:
        """
        Take a place for a new connection from *address*.

        Args:
            probes_only: Whether it may only probe, although there are places.

        Returns:
            None if the connection has to be closed: all others are busy.
        """
        # Case 1: the address has all of its places. Only one of its own may be closed for this one.
        if 0 < self._most_per_address <= self._by_address[address]:
            own = (place for place in chain(*self.silent.values()) if place.address == address)
            if not self._close(own):
                self._refuse()
                return None
        # Case 2: busy connections hold all places. Probes have places of their own.
        probes_only = probes_only or not self._has_room(False)
        # Case 3: busy connections hold those, too.
        if probes_only and not self._has_room(True):
            self._refuse()
            return None
        place = Place(self, address, probes_only)
        self._taken[probes_only] += 1
        self._by_address[address] += 1
        place.silent()
        return place

    def make_room(self) -> bool:
        """Close the connection that has been silent longest; return False if all are busy."""
        return self._close(chain(*self.silent.values()))

    def free(self, place: Place) -> None:
        """Free *place*, which may be free already."""
        if place.taken:
            place.taken = False
            self.silent[place.probes_only].pop(place, None)
            self._taken[place.probes_only] -= 1
            self._by_address[place.address] -= 1
            # Addresses without connections take no memory.
            if not self._by_address[place.address]:
                del self._by_address[place.address]
        self.freed()

    def _has_room(self, probes_only: bool) -> bool:
        """Return whether such a place is free; close a silent connection if need be."""
        room = self._taken[probes_only] < self._most[probes_only]
        return room or self._close(self.silent[probes_only])

    def _close(self, silent: Iterable[Place]) -> bool:
        """Close the first of the *silent* connections; return False if there is none."""
        place = next(iter(silent), None)
        if place is None:
            return False
        self._refuse()
        place.free()
        place.close()
        return True

    def _refuse(self) -> None:
        self._refused(TooManyConnectionsError.reason)
