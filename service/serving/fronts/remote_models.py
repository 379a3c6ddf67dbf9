"""`engine.Models` in a front: the models of the engine's last snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from convoy.service.call import Call
from convoy.service.decoding.decoder import Decoder
from convoy.service.serving.fronts.link import Link
from convoy.service.serving.fronts.records import ToEngine
from convoy.service.serving.fronts.remote_model import RemoteModel
from convoy.service.serving.fronts.snapshot import Snapshot
from convoy.service.serving.missing import VersionStatus, missing
from convoy.service.telemetry.metrics import UNKNOWN_MODEL, Metrics, ModelMetrics
from convoy.service.telemetry.reports import Report, take_statistics


class RemoteModels:
    """
    The models that the engine serves. Owned by the event loop.

    Args:
        report: Sends a report, with the statistics of a model before it is released.

    Attributes:
        generation: Changes with each snapshot.
    """

    def __init__(
        self, link: Link, decoder: Decoder, metrics: Metrics, report: Callable[[], None]
    ) -> None:
        self.generation = 0
        self._link = link
        self._decoder = decoder
        self._metrics = metrics
        self._report = report
        self._started = False
        self._versions: dict[str, list[VersionStatus]] = {}
        self._answers: dict[str, dict[str, RemoteModel]] = {}
        self._by_number: dict[int, RemoteModel] = {}
        self._left: dict[int, RemoteModel] = {}  # no longer served, and held by calls

    def apply(self, snapshot: Snapshot) -> None:
        """Let requests find the models of *snapshot* from now on."""
        before, self._by_number = self._by_number, {}
        for description in snapshot.models:
            number = description.number
            if number in before:
                self._by_number[number] = before.pop(number)
                continue
            self._by_number[number] = RemoteModel(
                description,
                self._link,
                self._decoder,
                ModelMetrics(self._metrics, description.manifest.name),
                self._unused,
            )
        self._answers = {}
        # In ascending order: a request that names no version gets the newest.
        for model in self.models():
            self._answers.setdefault(model.name, {}).update({str(model.version): model, "": model})
        self._started = snapshot.started
        self._versions = snapshot.versions
        self.generation += 1
        self._left |= before
        for model in before.values():
            if not model.held:
                self._unused(model)

    def get(self, name: str, version: str = "") -> RemoteModel:
        """Find a model; see `engine.Models`."""
        if (answers := self._answers.get(name)) and (model := answers.get(version)):
            return model
        raise missing(name, version, self._versions.get(name, []), started=self._started)

    def models(self) -> Sequence[RemoteModel]:
        """Return every model that serves, by name and version."""
        return sorted(self._by_number.values(), key=lambda model: (model.name, model.version))

    def find(self, call: Call, name: str, version: str = "") -> RemoteModel:
        """Find the model that *call* asks for, and let the call hold it."""
        call.label_unknown()
        model = self.get(name, version)
        call.use(model)
        return model

    def label(self, name: str) -> str:
        """Return the label of calls for *name* in metrics: itself only if it serves."""
        return name if not name or name in self._answers else UNKNOWN_MODEL

    def take_statistics(self) -> dict[int, Report]:
        """Return what was counted of each model since the last report."""
        taken = {number: take_statistics(model.statistics) for number, model in self._held()}
        return {number: report for number, report in taken.items() if report}

    def take_signals(self) -> dict[int, dict[str, list[int]]]:
        """Return the counts of signals since the last report, by model number and signal."""
        taken = {number: model.take_signals() for number, model in self._held()}
        return {number: signals for number, signals in taken.items() if signals}

    def _held(self) -> Iterable[tuple[int, RemoteModel]]:
        """Return the models that the engine holds for this front, with their numbers."""
        return {**self._by_number, **self._left}.items()

    def _unused(self, model: RemoteModel) -> None:
        """Release a model that no longer serves, and that no call holds any more."""
        if model.number in self._left:
            self._report()
            del self._left[model.number]
            self._link.tell(ToEngine.RELEASE, model=model.number)
