"""The Open Inference Protocol for either transport: `convoy.pb.inference` messages in and out.

Nothing here imports grpc or starlette: gRPC passes its messages on as they are, and HTTP makes them
from JSON and binary tensors.
"""
