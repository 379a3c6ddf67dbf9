"""Completes the user's options by the descriptions of the graph, and tells what came from where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from convoy.export.data.labels import checked_labels, read_labels
from convoy.export.errors import DataError
from convoy.export.importing.import_settings import ImportSettings
from convoy.export.importing.metadata.companion import Companion, Options
from convoy.export.importing.metadata.huggingface import ModelConfig
from convoy.export.importing.metadata.search import companions
from convoy.export.importing.signature import GraphShape, normalizes_itself, open_shape
from convoy.export.onnx.source import Source

_GROUPS: dict[str, tuple[tuple[str, ...], Callable[[Companion, GraphShape], Options]]] = {
    "sizes": (
        ("resize", "resize_mode", "crop", "crop_offset", "pad", "fill"),
        lambda companion, shape: companion.sizes(shape),
    ),
    "filter": (
        ("interpolation", "antialias", "scaled_decoding"),
        lambda companion, shape: companion.filter(),
    ),
    "channels": (("color", "layout"), lambda companion, shape: companion.channels(shape)),
    "normalisation": (
        ("mean", "std", "normalization"),
        lambda companion, shape: companion.values(),
    ),
}
"""Options that belong together: if the user gives one, none of them comes from a description."""


@dataclass(frozen=True, slots=True)
class Completion:
    """
    The options of an import, completed.

    Attributes:
        labels: Names of the classes; None if they are to be numbered.
        origins: Names of the descriptions that gave something.
        notes: Lines for the user.
    """

    settings: ImportSettings
    labels: tuple[str, ...] | None
    origins: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def advice(self) -> str:
        """Return the remedy for options that do not fit; empty if all are the user's own."""
        if not self.origins:
            return ""
        return (
            f"; labels or options were found in {', '.join(self.origins)}: give yours, or "
            "ignore those with --no-metadata"
        )


def complete(settings: ImportSettings, source: Source) -> Completion:
    """
    Complete *settings* by the descriptions of the graph *source*, unless they forbid it.

    Raises:
        DataError: If the labels cannot be read, or a description states what cannot be served.
        GraphError: If the graph has no input that could be a batch of images.
    """
    found = list(companions(settings.file, source.model)) if settings.metadata else []
    shape = open_shape(source, settings)
    taken: dict[str, Options] = {}
    notes: list[str] = []
    for group, (names, read) in _GROUPS.items():
        given = [name for name in names if name in settings.model_fields_set]
        # The user decides; but a normalisation that the graph contains is not repeated.
        if given:
            notes += _replaced(group, given, found, read, shape)
            continue
        if group == "normalisation" and normalizes_itself(source):
            continue
        name, options = _first(group, found, read, shape)
        if group == "normalisation" and not options:
            notes += _unknown(found)
        if options:
            taken[name] = taken.get(name, {}) | options
    labels, origin = _labels(settings, found, shape)
    options = {name: value for part in taken.values() for name, value in part.items()}
    settings = _with(settings, options, ", ".join(taken))
    _check_channels(taken, shape, settings)
    return Completion(
        settings=settings,
        labels=labels,
        origins=tuple(dict.fromkeys([*taken, *([origin] if origin else [])])),
        notes=(*_found(taken, labels, origin), *notes),
    )


def _first(
    group: str,
    found: Sequence[Companion],
    read: Callable[[Companion, GraphShape], Any],
    shape: GraphShape,
) -> tuple[str, Any]:
    """Return the first of *found* that states something, and that; else an empty name and None."""
    for companion in found:
        try:
            value = read(companion, shape)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"{companion.name}: its {group} cannot be read ({error!r}); {_remedy(group)}"
            ) from error
        except DataError as error:
            raise DataError(f"{error}; {_remedy(group)}") from error
        if value:
            return companion.name, value
    return "", None


def _remedy(group: str) -> str:
    names = _GROUPS[group][0] if group in _GROUPS else ("labels",)
    # A mean without its deviation would be as wrong as none.
    word = " and " if group == "normalisation" else " or "
    return f"give {word.join(map(_flag, names[:2]))}, or ignore the file with --no-metadata"


def _replaced(
    group: str,
    given: Sequence[str],
    found: Sequence[Companion],
    read: Callable[[Companion, GraphShape], Any],
    shape: GraphShape,
) -> list[str]:
    """Return the note on a *group* that the user gave although it was found; empty if not."""
    try:
        name, options = _first(group, found, read, shape)
    except DataError:  # the user's options are the remedy
        name, options = "a file next to it", True
    flags = ", ".join(map(_flag, given))
    verb = "replaces" if len(given) == 1 else "replace"
    return [f"metadata: {flags} {verb} the {group} in {name}"] if options else []


def _unknown(found: Sequence[Companion]) -> list[str]:
    """Return a warning if a description shows that images are prepared, but not how."""
    # transformers normalises for nearly all of its networks, in a file of its own.
    names = [one.name for one in found if isinstance(one, ModelConfig) and one.is_classifier]
    return [
        f"metadata: {name} comes without a preprocessor_config.json: pixels of 0 to 1 are not "
        "normalised; give --mean and --std, or add the file"
        for name in names[:1]
    ]


def _labels(
    settings: ImportSettings, found: Sequence[Companion], shape: GraphShape
) -> tuple[tuple[str, ...] | None, str]:
    """Return the labels, and the name of the description that gave them."""
    if settings.labels:
        return read_labels(settings.labels), ""
    name, labels = _first("labels", found, lambda companion, shape: companion.labels(), shape)
    return (checked_labels(name, labels), name) if labels else (None, "")


def _with(settings: ImportSettings, options: Options, origin: str) -> ImportSettings:
    given = settings.model_dump(exclude_unset=True)
    try:
        return ImportSettings(**given, **options)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise DataError(
            f"{origin}: its {problem['loc'][0]} is {problem['input']!r}: {problem['msg']}; give "
            f"{_flag(str(problem['loc'][0]))}, or ignore the file with --no-metadata"
        ) from error


def _check_channels(
    taken: Mapping[str, Options], shape: GraphShape, settings: ImportSettings
) -> None:
    """Refuse a mean or std that has neither one number nor one per channel of the input."""
    channels = shape.channels or {None: None, "L": 1}.get(settings.color, 3)
    for origin, options in taken.items():
        for name in [name for name in ("mean", "std") if name in options]:
            count = len(getattr(settings, name))
            if channels and count not in (1, channels):
                raise DataError(
                    f"{origin}: its {name} has {count} numbers, but the input has {channels} "
                    f"channel{'s' * (channels > 1)}; {_remedy('normalisation')}"
                )


def _found(
    taken: Mapping[str, Options], labels: Sequence[str] | None, origin: str
) -> Iterator[str]:
    """Yield a line for each description, with the flags that would say the same."""
    for name in dict.fromkeys([*taken, *([origin] if origin else [])]):
        parts = [f"{len(labels)} labels"] if labels and name == origin else []
        parts += [_as_flag(*option) for option in taken.get(name, {}).items()]
        if parts:
            yield f"metadata: found in {name}: {', '.join(parts)}"


def _as_flag(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return _flag(name if value else f"no_{name}")
    mark = "x" if name in ("resize", "crop") else ","
    values = value if isinstance(value, tuple) else (value,)
    return f"{_flag(name)} {mark.join(_number(part) for part in values)}"


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
