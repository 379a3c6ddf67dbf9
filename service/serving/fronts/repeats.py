"""The answer of a shadow to a request of a front, as the engine sends it to the front's log.

The front has the client's identifiers and images, and the engine the shadow.
"""

from __future__ import annotations

import struct

import numpy as np

from convoy.artifact.manifest import Manifest
from convoy.service.call import Request
from convoy.service.serving.fronts.records import decode_outputs, encode_outputs
from convoy.service.serving.monitoring.worker import Repeated

_HEAD = struct.Struct("<q64sqqdd")
"""Version, SHA-256 in hexadecimal digits, images, images in the batch, seconds queued and run."""


def encode_repeated(repeated: Repeated, serving: Manifest) -> bytes:
    """
    Return the answer of a shadow in the form that `decode_repeated` reads.

    Args:
        serving: Describes the version that serves; the shadow has its outputs.
    """
    request, shadow = repeated.request, repeated.manifest
    sha256 = shadow.model_sha256.encode()
    head = _HEAD.pack(
        *(shadow.version, sha256, request.images, request.batch_size),
        *(request.queue_s, request.inference_s),
    )
    return head + encode_outputs(request.outputs, serving.outputs) + repeated.agrees.tobytes()


def decode_repeated(data: bytes, serving: Manifest) -> Repeated:
    """Return what `encode_repeated` was given, with the description of the version that serves."""
    version, sha256, images, batch_size, queue_s, inference_s = _HEAD.unpack_from(data)
    outputs = decode_outputs(data[_HEAD.size :], serving.outputs)
    request = Request(
        images=images,
        outputs=outputs,
        queue_s=queue_s,
        inference_s=inference_s,
        batch_size=batch_size,
    )
    manifest = serving.model_copy(update={"version": version, "model_sha256": sha256.decode()})
    return Repeated(request, manifest, np.frombuffer(data[-images:], bool))
