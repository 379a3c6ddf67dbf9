"""`convoy.v1.ShadowService` over gRPC."""

from convoy.pb.convoy.v1 import shadow_pb2_grpc
from convoy.service.protocol.shadow_control import ShadowProtocol


class ShadowServicer(ShadowProtocol, shadow_pb2_grpc.ShadowServiceServicer):
    """The rpcs of the service."""
