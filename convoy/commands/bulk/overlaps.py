"""A check that no source lies in another one, whose images would have two rows each."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import PurePath

from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.image_files import has_image_name, is_entered
from convoy.stores import is_url

_PATTERN = re.compile(r"[*?[{]")


def check_apart(sources: Collection[str]) -> None:
    """
    Refuse a source whose images are also read with the folder of another source.

    Raises:
        BulkError: If there is one.
    """
    folders = {_place(source): source for source in sources if _is_folder(source)}
    for source in sources if folders else ():
        place = _place(source)
        for folder in (place, *place.parents) if _may_be_images(source) else ():
            other = folders.get(folder, source)
            if other != source and all(map(is_entered, place.relative_to(folder).parts)):
                raise BulkError(f"{source} is read with {other}: leave out one of them")


def _place(source: str) -> PurePath:
    """Return the folder that a source is, or is in."""
    if _is_folder(source):
        folder = source
    elif is_url(source) or not os.path.lexists(source):
        folder = _PATTERN.split(source)[0].rpartition("/")[0]
    else:
        folder = os.path.dirname(source)
    return PurePath(folder if is_url(source) else os.path.realpath(folder))


def _is_folder(source: str) -> bool:
    if is_url(source):
        return not _PATTERN.search(source) and "." not in source.rpartition("/")[2]
    return os.path.isdir(source)


def _may_be_images(source: str) -> bool:
    """Return whether a folder's reader may take the files of a source for images."""
    return _is_folder(source) or has_image_name(source) or source.endswith("*")
