"""The Open Inference Protocol on its messages: what each rpc means, for either transport.

`convoy.pb.inference` messages in, messages out. Nothing here knows grpc or starlette: gRPC hands
its messages over as they are, HTTP makes them from JSON and binary tensors.
"""
