"""click's parameters for the fields of an `Options` class."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic import ByteSize, SecretStr
from pydantic.fields import FieldInfo

from convoy.options import Option, Options
from convoy.service.machine.environment import read_variable, variable_name

_UNITS = {
    "_ms": "MILLISECONDS",
    "_s": "SECONDS",
    "seconds": "SECONDS",
    "_bytes": "BYTES",
    "_px": "PIXELS",
}
"""Metavars by the end of an option's name."""

_METAVARS = {int: "N", float: "NUMBER", ByteSize: "SIZE", Path: "PATH"}
"""Metavars by type."""


class Parameter(click.Parameter):
    """
    A parameter whose value stays the text that the user gave.

    Attributes:
        panel: Heading in the help.
        declared: Its part of the declaration.
        field: Its declaration.
    """

    panel: str
    declared: Option
    field: FieldInfo

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        return read_variable(str(self.envvar)) if self.envvar else None

    def value_from_envvar(self, ctx: click.Context) -> Any:
        value = self.resolve_envvar_value(ctx)
        return [value] if value is not None and self._is_list() else value

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else value

    @property
    def is_map(self) -> bool:
        return get_origin(self.field.annotation) is dict

    def shown_name(self, is_flag: bool) -> str:
        """Return the name for messages about a value that a flag or else a variable gave."""
        raise NotImplementedError

    @property
    def term(self) -> str:
        """The name in the help, with the form of the value."""
        raise NotImplementedError

    @property
    def texts(self) -> tuple[str, str]:
        """The description, and the default and the variable, for the help."""
        assert self.field.description  # a test checks all
        default = "" if self.required else _shown(self.field.get_default())
        facts = f"[default: {default}]" if default else "[required]" if self.required else ""
        variable = f"[env: {self.envvar}]" if self.envvar else ""
        return self.field.description, "  ".join(filter(None, (facts, variable)))

    def _is_list(self) -> bool:
        return self.nargs != 1 or bool(getattr(self, "multiple", False))


class _Argument(Parameter, click.Argument):
    """A value without a flag."""

    def make_metavar(self, ctx: click.Context) -> str:
        # click adds brackets only to names that it makes itself.
        name = super().make_metavar(ctx)
        return name if self.required or name.startswith("[") else f"[{name}]"

    def shown_name(self, is_flag: bool) -> str:
        return self.human_readable_name.strip("[].") if is_flag else str(self.envvar)

    @property
    def term(self) -> str:
        return self.human_readable_name


class _Option(Parameter, click.Option):
    """A value with a flag."""

    def shown_name(self, is_flag: bool) -> str:
        return self.opts[0] if is_flag else str(self.envvar)

    @property
    def term(self) -> str:
        if not self.is_flag:
            return f"{self.opts[0]} {self.metavar}"
        # --no-tf32 only overrides a variable: it works, but is not shown.
        return f"{self.opts[0]} / {self.secondary_opts[0]}" if self.field.default else self.opts[0]


def parameters(options: type[Options]) -> list[Parameter]:
    """Return the parameters for all fields: those of the class itself, then those of its bases."""
    return [
        # A class without a heading of its own does not belong to the panel of its base.
        _parameter(name, options.model_fields[name], vars(owner).get("panel", Options.panel))
        for owner in options.__mro__
        if issubclass(owner, Options)
        for name in inspect.get_annotations(owner)
        if name in options.model_fields
    ]


def _parameter(name: str, field: FieldInfo, panel: str) -> Parameter:
    declared = next((part for part in field.metadata if isinstance(part, Option)), Option())
    several = any(
        get_origin(kind) in (list, dict) or ... in get_args(kind) for kind in _kinds(field)
    )
    metavar = declared.metavar or _metavar(name, field)
    shared: dict[str, Any] = {
        "required": field.is_required(),
        "envvar": variable_name(name) if declared.has_variable else None,
        "shell_complete": _completion(field, metavar),
    }
    parameter: Parameter
    if declared.positional:
        name_shown = metavar if field.is_required() else f"[{metavar}]"
        shared["metavar"] = f"{name_shown}..." if several else name_shown
        parameter = _Argument([name], nargs=-1 if several else 1, **shared)
        parameter.panel = "Arguments"
    else:
        is_flag = field.annotation is bool
        parameter = _Option(
            [name, *_flags(name, declared, is_flag)],
            is_flag=is_flag or None,  # False would make the value optional
            multiple=several,
            metavar=f"{metavar},..." if several else metavar,
            **shared,
        )
        parameter.panel = panel
    parameter.field, parameter.declared = field, declared
    return parameter


def _flags(name: str, declared: Option, is_flag: bool) -> list[str]:
    """Return the spellings of a flag, the one to show first; each of a bool has its opposite."""
    names = [declared.flag] if declared.flag else []
    names.append(name.replace("_", "-"))
    return [f"--{each}/--no-{each}" if is_flag else f"--{each}" for each in names]


def _kinds(field: FieldInfo) -> list[Any]:
    """Return the types that a value can have, but None."""
    return [kind for kind in _alternatives(field.annotation) if kind is not type(None)]


def _part_kinds(field: FieldInfo) -> list[Any]:
    """Return the types that a value, or a part of a list, can have."""
    (first, *_) = kinds = _kinds(field)
    is_list = get_origin(first) in (list, tuple)
    return list(_alternatives(get_args(first)[0])) if is_list else kinds


def _alternatives(annotation: Any) -> Iterator[Any]:
    """Yield the parts of a union, and what is inside of Annotated."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _alternatives(part)
    else:
        yield annotation


def _choices(field: FieldInfo) -> list[str]:
    """Return the only possible texts of a value, or of each part of a list; else nothing."""
    kinds = _part_kinds(field)
    if any(get_origin(kind) is not Literal for kind in kinds):
        return []
    return [str(choice) for kind in kinds for choice in get_args(kind)]


def _metavar(name: str, field: FieldInfo) -> str:
    if choices := _choices(field):
        return f"[{'|'.join(choices)}]"
    units = [unit for end, unit in _UNITS.items() if name.endswith(end)]
    types = [_METAVARS[kind] for kind in _part_kinds(field) if kind in _METAVARS]
    return next(iter([*units, *types]), "TEXT")


def _completion(field: FieldInfo, metavar: str) -> Any:
    """Return the function with which a shell completes values; None for those of no set."""
    if choices := _choices(field):
        return click.Choice(choices).shell_complete
    if metavar.startswith(("FILE", "PATH", "DIR")):
        return click.Path(file_okay=not metavar.startswith("DIR")).shell_complete
    return None


def _shown(default: Any) -> str:
    """Return a default in the form in which a user would give it; empty if there is none."""
    match default:
        case True:
            return "on"
        case None | False | "" | SecretStr():
            return ""
        case ByteSize():
            return default.human_readable().replace(".0", "") if default else "0"
        case dict():
            return ",".join(f"{key}={value}" for key, value in default.items())
        case list() | tuple():
            return ",".join(map(_shown, default))
        case float():
            return f"{default:g}"
        case _:
            return str(default)
