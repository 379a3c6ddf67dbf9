"""The objects that the functions of `convoy.api` return; each shows itself in a notebook."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convoy.artifact.manifest import Manifest
    from convoy.export.training.epoch_log import Epoch
    from convoy.export.training.run_record import RunRecord


class TrainingRun:
    """
    A training that has ended.

    Attributes:
        folder: The folder with its weights, measurements and curves.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def record(self) -> RunRecord:
        """The origin of the weights, and the files that were kept."""
        from convoy.export.training.run_record import read_record

        return read_record(self.folder)

    @property
    def epochs(self) -> list[Epoch]:
        """The measurements of all epochs."""
        from convoy.export.training.epoch_log import METRICS_FILE, read_metrics

        return read_metrics(self.folder / METRICS_FILE)

    @property
    def best(self) -> Epoch:
        """The epoch whose weights are exported."""
        from convoy.export.training.epoch_log import best_epoch

        return best_epoch(self.epochs)

    def __repr__(self) -> str:
        best = self.best
        share = best.validation_accuracy
        measured = "not validated" if share is None else f"validation accuracy {share:.4f}"
        epoch = f"epoch {best.epoch} of {len(self.epochs)}"
        return f"TrainingRun({str(self.folder)!r}, {epoch}: {measured})"

    def _repr_html_(self) -> str:
        curves = self.folder / "curves.png"
        picture = b64encode(curves.read_bytes()).decode() if curves.exists() else ""
        image = f'<img alt="curves" src="data:image/png;base64,{picture}">' if picture else ""
        return f"<p>{escape(repr(self))}<br>{escape(self.record.command)}</p>{image}"


class ExportedModel:
    """
    A version of a model in a repository.

    Attributes:
        location: The folder of the version, or its URL in an object store.
        manifest: The description of the version.
    """

    def __init__(self, location: str, manifest: Manifest) -> None:
        self.location = location
        self.manifest = manifest

    @property
    def folder(self) -> Path:
        """The folder of the version, unless it is in an object store."""
        return Path(self.location)

    @property
    def repository(self) -> str:
        """The folder or the URL of the repository."""
        *root, _, _ = self.location.rsplit("/", 2)
        # A path leaves out the working directory.
        return (root[0] or "/") if root else "."

    @property
    def title(self) -> str:
        """The name and the version, such as `lenet5:1`."""
        return f"{self.manifest.name}:{self.manifest.version}"

    def __repr__(self) -> str:
        return f"ExportedModel({self.location!r}, {self.manifest.precision})"

    def _repr_html_(self) -> str:
        manifest = self.manifest
        rows = {
            "model": self.title,
            "location": self.location,
            "precision": manifest.precision,
            "parameters": f"{manifest.parameter_count:,}",
            "classes": str(len(manifest.labels)),
            **{
                f"top-1 on {one.data}": f"{one.top1:.4f}, {one.attribution}"
                for one in manifest.evaluations
            },
        }
        cells = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>"
            for name, text in rows.items()
        )
        return f"<table>{cells}</table>"
