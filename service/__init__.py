"""The server: loads artifacts and answers requests in dynamic batches, without PyTorch."""

import os

# ONNX Runtime's builds for Python report their use to Microsoft, and keep a device identifier in
# the home folder, unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # noqa: TID251
