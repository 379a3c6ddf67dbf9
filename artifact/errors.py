"""What can be wrong with an artifact or an image.

* ArtifactError             the artifact is missing, damaged or not what its manifest says
* RepositoryError           the model repository cannot be read or written
* ImageError                the bytes are not an image that convoy decodes
  x ImageTooLargeError      they break the limit on bytes or pixels
"""

from __future__ import annotations


class ArtifactError(Exception):
    """An artifact is missing, damaged or not what its manifest says; names file and field."""


class RepositoryError(Exception):
    """The model repository cannot be read or written; names the folder."""


class ImageError(ValueError):
    """The bytes are not an image that convoy decodes."""


class ImageTooLargeError(ImageError):
    """The image breaks the limit on bytes, on pixels or on how elongated it may be."""
