"""The errors of artifacts, model repositories and images."""

from __future__ import annotations


class ArtifactError(Exception):
    """An artifact is missing, damaged or not as its manifest states; names file and field."""


class RepositoryError(Exception):
    """The model repository cannot be read or written; names the folder."""


class ImageError(ValueError):
    """The bytes are not an image that convoy decodes."""


class ImageTooLargeError(ImageError):
    """The image exceeds the limit on its bytes, its pixels or the ratio of its sides."""
