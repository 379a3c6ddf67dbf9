"""Entries of folders that are not convoy's: of file systems, Kubernetes, viewers and editors.

They turn up in every folder that people or other programs use. They are skipped among the files of
an artifact, and among folders whose names are neither a model's nor a version's.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

_PATTERNS = (
    # Hidden: .DS_Store, ._model.onnx, .nfs0001, .gitkeep, .ipynb_checkpoints, .model.onnx.swp. A
    # ConfigMap or a Secret of Kubernetes has its files in ..2026_01_31_12_00_00.1, and ..data leads
    # to that folder.
    ".*",
    # File systems and their servers.
    "lost+found",
    "aquota.user",
    "aquota.group",
    "@eaDir",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    # Viewers and archives.
    "__MACOSX",
    "Icon\r",
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "*:Zone.Identifier",
    # Editors and interrupted transfers.
    "*~",
    "~$*",
    "#*#",
    "*.bak",
    "*.swp",
    "*.swo",
    "*.swx",
    "*.tmp",
    "*.part",
    "*.partial",
    "*.filepart",
    "*.crdownload",
    "*_.gstmp",
    "*___jb_tmp___",
    "*___jb_old___",
    "__pycache__",
    # Markers of folders in object stores.
    "*_$folder$",
)


def is_foreign(name: str) -> bool:
    """Return whether an entry of this name is not convoy's, and to be skipped."""
    return any(fnmatchcase(name, pattern) for pattern in _PATTERNS)
