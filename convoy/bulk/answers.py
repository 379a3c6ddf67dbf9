"""The answer for one image, and the columns of many answers in the containers of users."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from convoy.service.serving.top_k import Prediction

COLUMNS = (
    "label",
    "class_index",
    "probability",
    "top_k",
    "error",
    "model",
    "version",
    "sha256",
)
"""The columns of answers, in their order."""


class Answer(NamedTuple):
    """The classes of one image, most probable first, or the reason why there are none."""

    predictions: Sequence[Prediction] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """The model that answered."""

    name: str
    version: int
    sha256: str


def columns(answers: Sequence[Answer], model: Model) -> dict[str, list[Any]]:
    """Return *answers* as columns; a row with an error has None, and no top_k."""
    best = [answer.predictions[0] if answer.predictions else None for answer in answers]
    count = len(answers)
    return {
        "label": [one and one.label for one in best],
        "class_index": [one and one.class_index for one in best],
        "probability": [one and one.probability for one in best],
        "top_k": [
            [
                {"label": p.label, "class_index": p.class_index, "probability": p.probability}
                for p in answer.predictions
            ]
            for answer in answers
        ],
        "error": [answer.error for answer in answers],
        "model": [model.name] * count,
        "version": [model.version] * count,
        "sha256": [model.sha256] * count,
    }


def images_in(batch: Any, column: str) -> Sequence[Any]:
    """
    Return the images of a batch: a sequence, or the *column* of a table or of a map of columns.

    Raises:
        ValueError: If there is no such column, or if it is one image, and not a sequence.
    """
    if _is_table(batch):
        names = list(batch if isinstance(batch, Mapping) else _names(batch))
        if column not in names:
            raise ValueError(f"the batch has no column {column!r}: it has {', '.join(names)}")
        batch = batch[column]
    # Python would take the characters of a path, and the numbers of its bytes, for images.
    if isinstance(batch, str | bytes | bytearray | Path):
        raise ValueError("the batch is one image: put it into a list")
    if hasattr(batch, "to_pylist"):  # Arrow
        return batch.to_pylist()  # type: ignore[no-any-return]
    if hasattr(batch, "iloc"):  # pandas, which has several values for one that is missing
        pairs = zip(batch.tolist(), batch.isna(), strict=True)
        return [None if is_missing else image for image, is_missing in pairs]
    return batch  # type: ignore[no-any-return]


def answers_like(batch: Any, column: str, answers: Mapping[str, list[Any]]) -> Any:
    """
    Return *answers* in a container like *batch*, beside its columns other than the images.

    Raises:
        ValueError: If the batch has a column of the same name as one of the answers.
    """
    others = [name for name in _names(batch) if name != column] if _is_table(batch) else []
    if clash := [name for name in others if name in COLUMNS]:
        raise ValueError(f"rename the column {clash[0]!r}: the answers have one of this name")
    if isinstance(batch, Mapping):
        return {name: batch[name] for name in others} | dict(answers)
    if _is_of("pyarrow", batch):
        import pyarrow as pa

        kept = {name: batch.column(name) for name in others}
        make = pa.record_batch if isinstance(batch, pa.RecordBatch) else pa.table
        return make(kept | arrow_columns(answers))
    if _is_of("pandas", batch):
        return _data_frame(answers, batch.index, batch[others] if others else None)
    return dict(answers)


def arrow_columns(answers: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Return the columns as Arrow arrays, whose types do not depend on the rows."""
    import pyarrow as pa

    prediction = {"label": pa.string(), "class_index": pa.int32(), "probability": pa.float32()}
    types = prediction | {
        "top_k": pa.list_(pa.struct(list(prediction.items()))),
        "error": pa.string(),
        "model": pa.string(),
        "version": pa.int64(),
        "sha256": pa.string(),
    }
    return {name: pa.array(values, types[name]) for name, values in answers.items()}


def _data_frame(answers: Mapping[str, list[Any]], index: Any, kept: Any) -> Any:
    import pandas as pd

    # A plain int column cannot be empty in the rows of errors.
    types = {"class_index": "Int32", "probability": "float32", "version": "int64"}
    frame = pd.DataFrame(
        {
            name: pd.Series(values, dtype=types.get(name, "object"), index=index)
            for name, values in answers.items()
        }
    )
    return frame if kept is None else pd.concat([kept, frame], axis=1)


def _is_table(batch: Any) -> bool:
    is_frame = _is_of("pandas", batch) and hasattr(batch, "columns")
    is_arrow_table = _is_of("pyarrow", batch) and hasattr(batch, "schema")
    return isinstance(batch, Mapping) or is_frame or is_arrow_table


def _names(batch: Any) -> list[str]:
    if isinstance(batch, Mapping):
        return list(batch)
    return list(batch.schema.names if _is_of("pyarrow", batch) else batch.columns)


def _is_of(package: str, value: Any) -> bool:
    """Return whether *value* is of *package*, which is not imported for that."""
    return package in sys.modules and type(value).__module__.partition(".")[0] == package
