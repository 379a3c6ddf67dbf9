"""Training and export: from an architecture and data to an artifact with its proof."""

import os

# ONNX Runtime's builds for Python report their use to Microsoft, and keep a device identifier in
# the home folder, unless this is set before they are imported; no other setting is in time.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # noqa: TID251
