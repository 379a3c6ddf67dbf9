"""The gRPC transport: everything that knows grpc is in here."""
