"""A small HTTP client: the standard library's, so that a request is exactly what a test says."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import numpy as np
from tritonclient.utils import triton_to_np_dtype

from tests.conformance.tensors import Array, Tensor, unpacked

TIMEOUT_S = 20.0

LENGTH_HEADER = "Inference-Header-Content-Length"

_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "identity": bytes,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """
    An HTTP answer.

    Attributes:
        headers: By lower-case name.
        body: Unpacked.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The JSON of the body, without the tensors behind it."""
        length = self.headers.get(LENGTH_HEADER.lower())
        return json.loads(self.body[: int(length)] if length else self.body)

    @property
    def arrays(self) -> dict[str, Array]:
        """The outputs by name, in the answer's order."""
        assert self.status == 200, (self.status, self.body[:400])
        binary = self.body[int(self.headers.get(LENGTH_HEADER.lower(), len(self.body))) :]
        found = {}
        for output in self.json["outputs"]:
            size = output.get("parameters", {}).get("binary_data_size")
            if size is None:
                dtype = object if output["datatype"] == "BYTES" else output["datatype"]
                values = np.array(output["data"], triton_to_np_dtype(dtype) or object)
                found[output["name"]] = values.reshape(output["shape"])
            else:
                found[output["name"]] = unpacked(binary[:size], output["datatype"], output["shape"])
                binary = binary[size:]
        assert not binary, f"{len(binary)} bytes follow the last tensor"
        return found


class Rest:
    """The HTTP side of a server, a new connection for each request."""

    def __init__(self, address: str) -> None:
        self._address = address

    def connection(self) -> HTTPConnection:
        """A connection to it."""
        return HTTPConnection(self._address, timeout=TIMEOUT_S)

    def get(self, path: str) -> Answer:
        """GET."""
        return self.send("GET", path)

    def post(self, path: str, body: Any = b"", **headers: str) -> Answer:
        """POST bytes, or anything else as JSON; said to be JSON unless *headers* say otherwise."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", path, data, {"Content-Type": "application/json"} | headers)

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}
    ) -> Answer:
        """Send a request; an underscore in a header's name stands for a hyphen."""
        with closing(self.connection()) as connection:
            return exchange(connection, method, path, body, headers)


def exchange(
    connection: HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] = {},
) -> Answer:
    """Send a request over an open connection."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, sent)
    response = connection.getresponse()
    found = {name.lower(): value for name, value in response.getheaders()}
    unpack = _UNPACK[found.get("content-encoding", "identity")]
    return Answer(response.status, found, unpack(response.read()))


def binary_body(tensors: Sequence[Tensor], **fields: Any) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request whose tensors follow the JSON."""
    inputs = [
        {
            "name": one.name,
            "datatype": one.datatype,
            "shape": one.shape,
            "parameters": {"binary_data_size": len(one.raw)},
        }
        for one in tensors
    ]
    text = json.dumps({"inputs": inputs, **fields}).encode()
    return text + b"".join(one.raw for one in tensors), {
        "Content-Type": "application/octet-stream",
        LENGTH_HEADER: str(len(text)),
    }
