"""The front processes of a server: started, watched, told of changes, and stopped."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from weakref import WeakKeyDictionary

from convoy.service.errors import StartError
from convoy.service.lifecycle import Lifecycle
from convoy.service.machine.resources import process_usage
from convoy.service.machine.sockets import reserve
from convoy.service.security.credentials import Credentials
from convoy.service.serving.fronts.arena import make_arena
from convoy.service.serving.fronts.front_session import OnAnswer, Session
from convoy.service.serving.fronts.front_start import Start
from convoy.service.serving.fronts.snapshot import ModelDescription, Snapshot
from convoy.service.serving.missing import VersionStatus
from convoy.service.serving.monitoring.drift import Drift
from convoy.service.serving.registry import ModelRegistry
from convoy.service.serving.served_model import ServedModel
from convoy.service.telemetry.logs import RateLimit
from convoy.service.telemetry.metrics import FrontFacts, Metrics

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
"""Longest time for the fronts to listen, in seconds."""

ANSWER_TIMEOUT_S = 0.5
"""Longest time to wait for fronts to report, or to use a snapshot; one may be stopped."""

STOP_TIMEOUT_S = 10.0
"""
Longest time for a front to end after its last answer, in seconds; then it is killed.

It closes its port (`rpc.listener`), and sends its last spans, predictions and signals, each with
a limit of its own (`CLOSE_TIMEOUT_S` in `serving.monitoring`); together, they take less.
"""

TICK_S = 0.25
"""Time between two looks at the fronts, and at states that nobody announces, in seconds."""

SILENT_TICKS = 40
"""Looks without a packet after which a front is killed: it reports ten times a second."""

FIRST_DELAY_S, LONGEST_DELAY_S = 0.1, 10.0
"""Bounds of the time until a front that has ended is replaced; it doubles with each end."""

QUIET_S = 60.0
"""Minimum time between two lines of the log about fronts that cannot be told, in seconds."""

LASTED_S = 60.0
"""Life of a front after which its end counts as the first, in seconds."""


class Fronts:
    """
    The front processes. Owned by the event loop.

    Args:
        count: Number of processes.
        arena_bytes: Shared memory of each.
        settings: The settings of the server, as JSON.
        module: The module that a front runs.
        on_answer: Called with each request of a front that was answered; see `Session`.

    Raises:
        StartError: If the folder for `engine` cannot be made.

    Attributes:
        engine: Path at which the engine's own gRPC server has to listen.
        restarts: Fronts that were replaced.
    """

    def __init__(
        self,
        count: int,
        registry: ModelRegistry,
        lifecycle: Lifecycle,
        metrics: Metrics,
        credentials: Credentials,
        drift: Drift | None,
        *,
        arena_bytes: int,
        settings: str,
        module: str,
        on_answer: OnAnswer = lambda request, model, on_end: False,
    ) -> None:
        self._on_answer = on_answer
        self._registry = registry
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._credentials = credentials
        self._drift = drift
        self._arena_bytes = arena_bytes
        self._settings = settings
        self._module = module
        self._fronts: list[_Front | None] = [None] * count
        self._folder = _private_folder()
        self.engine = f"{self._folder.name}/engine"
        self.restarts = 0
        self._ended = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._reserved: socket.socket | None = None
        # Without the models that are closed and free.
        self._numbers: WeakKeyDictionary[ServedModel, int] = WeakKeyDictionary()
        self._next_number = itertools.count(1)
        self._snapshots = itertools.count(1)
        self._asked = itertools.count(1)
        self._published: Snapshot | None = None  # None, too, if not every front could be told
        self._renewed = True
        self._warnings = RateLimit(1, QUIET_S)
        self._publishing = False

    async def start(self, address: str, port: int) -> int:
        """
        Start the fronts, and wait until they listen.

        Returns:
            The port; a free one if *port* is 0.

        Raises:
            OSError: If the port is not available.
            StartError: If a front does not start.
        """
        self._reserved = reserve(address, port)
        port = int(self._reserved.getsockname()[1])
        make_start = partial(
            Start,
            settings=self._settings,
            fronts=len(self._fronts),
            address=address,
            port=port,
            engine=self.engine,
        )
        self._tasks = [
            *(
                asyncio.create_task(self._keep(index, make_start))
                for index in range(len(self._fronts))
            ),
            asyncio.create_task(self._watch(), name="fronts"),
        ]
        await self._until(lambda: all(front and front.session.listens for front in self._fronts))
        # Not at the next tick: a client may ask at once.
        self._lifecycle.cut_off = False
        return port

    @property
    def serving(self) -> bool:
        """True if a front accepts connections."""
        return bool(self._listening)

    @property
    def sessions(self) -> list[Session]:
        """The sessions of the fronts that run."""
        return [front.session for front in self._fronts if front]

    @property
    def _listening(self) -> list[Session]:
        """The sessions of fronts that accept connections: those to wait for."""
        return [session for session in self.sessions if session.listens]

    @property
    def in_flight(self) -> int:
        """Calls in all fronts, as of their last reports."""
        return sum(session.in_flight for session in self.sessions)

    @property
    def waiting(self) -> int:
        """Calls that wait in the transports of all fronts, as of their last reports."""
        return sum(session.waiting for session in self.sessions)

    @property
    def processor_s(self) -> float:
        """Processor time of the fronts that run, in seconds."""
        return sum(facts.cpu_s for facts in self.facts())

    def facts(self) -> Iterator[FrontFacts]:
        """Describe the fronts, for the metrics."""
        for index, front in enumerate(self._fronts):
            cpu_s, resident_bytes = process_usage(front.process.pid) if front else (0.0, 0)
            yield FrontFacts(
                index=index,
                up=front is not None and front.session.listens,
                in_flight=front.session.in_flight if front else 0,
                arena_bytes=front.session.used_bytes if front else 0,
                resident_bytes=resident_bytes,
                cpu_s=cpu_s,
            )

    def publish(self) -> None:
        """Send the state of the engine to every front, in the next turn of the event loop."""
        if not self._publishing:
            self._publishing = True
            asyncio.get_running_loop().call_soon(self._publish)

    def renew_credentials(self) -> None:
        """Send the current credentials to every front; if that is not possible now, do it later."""
        contents = self._credentials.contents
        self._renewed = self._tell(lambda session: session.send_credentials(contents))

    async def published(self) -> None:
        """Publish, and wait until every front that answers uses the snapshot."""
        self._publish()
        if self._published:
            number = self._published.number
            await self._briefly(lambda: all(session.seen >= number for session in self._listening))

    async def refresh(self) -> None:
        """Fetch what the fronts have counted."""
        number = next(self._asked)
        for session in self.sessions:
            session.ask(number)
        await self._briefly(lambda: all(session.reported >= number for session in self._listening))

    async def idle(self) -> None:
        """Wait until no front has a call in flight."""
        while True:
            await self.refresh()
            if not self.in_flight:
                return
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Let the fronts answer their last calls, and end them."""
        for task in self._tasks:
            task.cancel()
        fronts = [front for front in self._fronts if front]
        for front in fronts:
            front.session.stop()
        await asyncio.gather(*(front.wait(STOP_TIMEOUT_S) for front in fronts))
        for front in fronts:
            front.session.close()
        self._fronts = [None] * len(self._fronts)
        if self._reserved:
            self._reserved.close()
        self._folder.cleanup()

    async def _keep(self, index: int, make_start: Callable[..., Start]) -> None:
        """Run a front, and replace it whenever it has ended."""
        loop, delay_s = asyncio.get_running_loop(), FIRST_DELAY_S
        while True:
            began = loop.time()
            try:
                why: dict[str, object] = {"exit_code": await self._run(index, make_start)}
            # No process or no memory is left; later there may be.
            except OSError as error:
                why = {"error": error.strerror}
            self._ended += 1
            delay_s = FIRST_DELAY_S if loop.time() > began + LASTED_S else delay_s
            logger.error(
                "a front process has ended, and is replaced", extra=why | {"seconds": delay_s}
            )
            await asyncio.sleep(delay_s)
            delay_s = min(LONGEST_DELAY_S, 2 * delay_s)
            self.restarts += 1

    async def _run(self, index: int, make_start: Callable[..., Start]) -> int:
        """Run a front until it ends; return its exit code."""
        front = _Front(self._module, self._arena_bytes, self._metrics, self._drift, self._on_answer)
        self._fronts[index] = front
        try:
            front.session.send_start(make_start(credentials=self._credentials.contents))
        except OSError:
            await self._end(index, front)
            raise
        # Not the last snapshot again: models that it names may have gone since.
        self._publish()
        await front.lost.wait()
        return await self._end(index, front)

    async def _end(self, index: int, front: _Front) -> int:
        """Kill a front that is of no use, or has ended; return its exit code."""
        front.process.kill()
        self._fronts[index] = None
        front.session.close()
        return await front.wait(STOP_TIMEOUT_S)

    async def _watch(self) -> None:
        """Kill fronts that are silent for long, and tell the others what they do not know yet."""
        while True:
            await asyncio.sleep(TICK_S)
            self._lifecycle.cut_off = not self.serving
            for front in self._fronts:
                if front and front.is_silent():
                    logger.error("a front process does not answer, and is killed")
                    front.process.kill()
            if self._published is None or self._state(self._published.number) != self._published:
                self._publish()
            if not self._renewed:
                self.renew_credentials()

    def _publish(self) -> None:
        self._publishing = False
        snapshot = self._state(next(self._snapshots))
        served = {self._number(model): model for model in self._registry.models()}
        told = self._tell(lambda session: session.send_snapshot(snapshot, served))
        self._published = snapshot if told else None

    def _tell(self, send: Callable[[Session], None]) -> bool:
        """Send to every front; return False if no descriptor or no memory is left for that."""
        try:
            for session in self.sessions:
                send(session)
        except OSError as error:
            if self._warnings.take(time.monotonic()) is not None:
                extra = {"error": error.strerror}
                logger.warning("cannot tell the front processes of a change yet", extra=extra)
            return False
        return True

    def _state(self, number: int) -> Snapshot:
        registry = self._registry
        versions: dict[str, list[VersionStatus]] = {}
        for entry in registry.entries():
            versions.setdefault(entry.name, []).append(entry.status)
        return Snapshot.model_construct(
            number=number,
            started=registry.started,
            phase=self._lifecycle.phase,
            log_level=logging.getLogger().level,
            models=[
                ModelDescription.model_construct(
                    number=self._number(model),
                    manifest=model.manifest,
                    max_batch_size=model.max_batch_size,
                    provider=model.provider,
                    precision=model.precision,
                    fallback_reason=model.fallback_reason,
                    baseline=model.baseline if self._drift else None,
                )
                for model in registry.models()
            ],
            versions=versions,
        )

    def _number(self, model: ServedModel) -> int:
        if model not in self._numbers:
            self._numbers[model] = next(self._next_number)
        return self._numbers[model]

    async def _until(self, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not condition():
                    # A front that ends at its start has said why.
                    if self._ended:
                        raise StartError("a front process has ended at its start")
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            raise StartError("the front processes did not start in time") from error

    async def _briefly(self, condition: Callable[[], bool]) -> None:
        ends_at = asyncio.get_running_loop().time() + ANSWER_TIMEOUT_S
        while not condition() and asyncio.get_running_loop().time() < ends_at:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def _private_folder() -> tempfile.TemporaryDirectory[str]:
    """
    Make a folder that only this user can enter.

    Raises:
        StartError: If that is not possible.
    """
    try:
        return tempfile.TemporaryDirectory(prefix="convoy-")
    except OSError as error:
        raise StartError(
            f"cannot make a temporary folder for --front-processes: {error.strerror}; set TMPDIR "
            "to a folder that can be written"
        ) from error


class _Front:
    """A process, its session, and the signal that it has closed its end."""

    def __init__(
        self,
        module: str,
        arena_bytes: int,
        metrics: Metrics,
        drift: Drift | None,
        on_answer: OnAnswer,
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arena = make_arena(arena_bytes)
        self.lost = asyncio.Event()
        self.session = Session(ours, arena, metrics, drift, self.lost.set, on_answer)
        try:
            self.process = subprocess.Popen(
                # -P: no file in the working directory hides a module.
                [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(arena)],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), arena),
                # Ctrl-C is for the engine, which then stops its fronts.
                start_new_session=True,
            )
        except OSError:
            self.session.close()
            raise
        finally:
            theirs.close()
            os.close(arena)
        self._silent_ticks = 0

    def is_silent(self) -> bool:
        """Look at the front; return whether it has said nothing for SILENT_TICKS looks."""
        self._silent_ticks = 0 if self.session.heard else self._silent_ticks + 1
        self.session.heard = False
        return self.session.listens and self._silent_ticks >= SILENT_TICKS

    async def wait(self, timeout_s: float) -> int:
        """Wait for the end of the process, and kill it if that takes too long."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(None, self.process.wait, timeout_s)
        except subprocess.TimeoutExpired:
            logger.warning("a front process does not end, and is killed")
            self.process.kill()
            return await loop.run_in_executor(None, self.process.wait)
