"""A collector of traces in a process of its own: OTLP over gRPC and HTTP, from the SDK's protos."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc


class Collector:
    """
    A collector that runs as a context manager.

    Args:
        grpc_port: Its port for gRPC; 0 chooses a free one.

    Attributes:
        spans: The spans that it has received, as OTLP's JSON with all attributes in one object.
        resources: The attributes of the processes that sent them.
    """

    def __init__(self, grpc_port: int = 0) -> None:
        self.spans: list[dict[str, Any]] = []
        self.resources: list[dict[str, Any]] = []
        self._port = grpc_port

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.harness.collector", str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.grpc_port, self.http_port = json.loads(self._process.stdout.readline())
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def wait_for(self, spans: int, timeout_s: float = 20.0) -> list[dict[str, Any]]:
        """Return its spans once it has so many, or when the time is up."""
        ends_at = time.monotonic() + timeout_s
        while len(self.spans) < spans and time.monotonic() < ends_at:
            time.sleep(0.02)
        return self.spans

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            for group in json.loads(line)["resourceSpans"]:
                self.resources.append(_attributes(group["resource"]))
                for scope in group["scopeSpans"]:
                    self.spans += [{**s, "attributes": _attributes(s)} for s in scope["spans"]]


def _attributes(holder: dict[str, Any]) -> dict[str, Any]:
    pairs = holder.get("attributes", [])
    return {pair["key"]: next(iter(pair["value"].values())) for pair in pairs}


def _show(request: pb.ExportTraceServiceRequest) -> pb.ExportTraceServiceResponse:
    print(json.dumps(MessageToDict(request)), flush=True)
    return pb.ExportTraceServiceResponse()


class _Service(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request: pb.ExportTraceServiceRequest, context: object) -> Any:  # noqa: N802
        return _show(request)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        answer = _show(pb.ExportTraceServiceRequest.FromString(body)).SerializeToString()
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: object) -> None:
        """Write no log."""


def main() -> None:
    """Print the two ports, then each request as a line of JSON."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    rpc = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Service(), rpc)
    port = rpc.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    rpc.start()
    print(json.dumps([port, http.server_port]), flush=True)
    http.serve_forever()


if __name__ == "__main__":
    main()
