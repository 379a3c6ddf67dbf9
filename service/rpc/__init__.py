"""The gRPC transport: nothing outside this package imports grpc."""
