"""`convoy.v1.ClassifierService` over gRPC."""

from convoy.pb.convoy.v1 import classifier_pb2_grpc
from convoy.service.protocol.classifier import ClassifierProtocol


class ClassifierServicer(ClassifierProtocol, classifier_pb2_grpc.ClassifierServiceServicer):
    """The rpcs of the service."""
