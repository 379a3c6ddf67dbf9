"""Rows of the layer table, made of the single operations that a reader found."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence

from convoy.artifact.layers import LINEAR, WEIGHTED, Extent, Layer, Window
from convoy.export.describing.kinds import WITH_CONSTANT


def make_rows(operations: Sequence[Layer]) -> tuple[Layer, ...]:
    """
    Make the rows of a table of single *operations*.

    An operation joins the row of the layer that it reads if it reads no other, is the only reader
    and returns as many numbers: activations, dropout, flattening, and batch norms after
    convolutions. Each row gets a name of its own, and its receptive field.
    """
    rows = _fold(operations)
    names = Counter[str]()
    named: list[Layer] = []
    for row, field in zip(rows, _receptive_fields(rows), strict=True):
        names[row.name] += 1
        name = row.name if names[row.name] == 1 else f"{row.name}#{names[row.name]}"
        named.append(dataclasses.replace(row, name=name, receptive_field_px=field))
    return tuple(named)


def _fold(operations: Sequence[Layer]) -> list[Layer]:
    readers = Counter(place for operation in operations for place in operation.inputs)
    rows: list[Layer] = []
    row_of: list[int] = []
    for operation in operations:
        inputs = tuple(row_of[place] for place in operation.inputs)
        # A second reader gets the layer without this operation.
        if len(inputs) == 1 and readers[operation.inputs[0]] == 1:
            (row,) = inputs
            if _belongs_to(operation, rows[row]):
                rows[row] = _merge(rows[row], operation)
                row_of.append(row)
                continue
        row_of.append(len(rows))
        rows.append(dataclasses.replace(operation, inputs=inputs))
    return rows


def _belongs_to(operation: Layer, row: Layer) -> bool:
    """Return whether *operation*, which reads nothing else, is only an addition to *row*."""
    # A window, a matrix, a sum over channels or the unknown makes a layer of its own.
    if operation.window or operation.kind in (LINEAR, "lrn") or not operation.is_counted:
        return False
    # Flattening is only another view of the same numbers.
    flat = (math.prod(row.output_shape),)
    if operation.output_shape not in (row.output_shape, flat):
        return False
    # Parameters join those of a layer with weights; a constant on the image is not one.
    return (
        not operation.parameters or row.kind in WEIGHTED or operation.kind in WITH_CONSTANT.values()
    )


def _merge(row: Layer, operation: Layer) -> Layer:
    then = (*row.then, operation.kind, *operation.then)
    # Constants that normalise the image are not parameters.
    if row.kind == "input":
        return dataclasses.replace(row, then=then)
    return dataclasses.replace(
        row,
        then=then,
        parameters=row.parameters + operation.parameters,
        arithmetic=" + ".join(filter(None, (row.arithmetic, operation.arithmetic))),
    )


def _receptive_fields(rows: Sequence[Layer]) -> Iterator[Extent | None]:
    """
    Yield the receptive field of each row: the largest of its inputs, widened by its own window.

    Source: Araujo, Norris, Sim. Computing Receptive Fields of Convolutional Neural Networks.
    Distill, 2019.
    """
    seen: list[tuple[Extent, Extent] | None] = []  # field, and distance between two neighbours
    for row in rows:
        before = [seen[place] for place in row.inputs]
        known = [view for view in before if view]
        # The image; then what depends on all of it, or on something that does.
        if not row.inputs:
            seen.append(((1, 1), (1, 1)))
        elif len(known) < len(before) or _sees_all(row, rows):
            seen.append(None)
        else:
            # Branches that meet: the largest of their fields.
            field = tuple(map(max, *(view[0] for view in known), (1, 1)))
            jump = tuple(map(max, *(view[1] for view in known), (1, 1)))
            seen.append(_widen(field, jump, row.window) if row.window else (field, jump))
        yield seen[-1] and seen[-1][0]


def _sees_all(row: Layer, rows: Sequence[Layer]) -> bool:
    """Return whether each number depends on the whole input, as after pooling of whole maps."""
    if row.kind == LINEAR or len(row.output_shape) < 3:
        return True
    if row.window is None or max(row.output_shape[-2:]) > 1:
        return False
    sizes = rows[row.inputs[0]].output_shape[-2:]
    return all(kernel >= size for kernel, size in zip(row.window.kernel[-2:], sizes, strict=True))


def _widen(field: Extent, jump: Extent, window: Window) -> tuple[Extent, Extent]:
    """Return field and jump after *window*; its height and width come last."""
    kernel, stride, dilation = window.kernel[-2:], window.stride[-2:], window.dilation[-2:]
    wider = tuple(
        f + d * (k - 1) * j for f, j, k, d in zip(field, jump, kernel, dilation, strict=True)
    )
    return wider, tuple(j * s for j, s in zip(jump, stride, strict=True))
