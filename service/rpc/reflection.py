"""Server reflection, under both of its names.

grpcio-reflection has v1alpha only. Newer clients ask for v1 first, which has the same messages
under another name.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc


def _describe_v1() -> str:
    """Add the description of v1 to protobuf's pool, where reflection finds it; return its name."""
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    text = text_format.MessageToString(file).replace("v1alpha", "v1")
    described = text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
    descriptor_pool.Default().AddSerializedFile(described.SerializeToString())
    return f"{described.package}.{described.service[0].name}"


SERVICE_NAMES = (reflection.SERVICE_NAME, _describe_v1())


def add_reflection(services: Sequence[str], server: grpc.aio.Server) -> None:
    """Let clients of *server* list *services* and reflection itself, and read their descriptors."""
    servicer = reflection.aio.ReflectionServicer((*services, *SERVICE_NAMES))
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    _, v1 = SERVICE_NAMES
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(v1, {"ServerReflectionInfo": handler}),)
    )
