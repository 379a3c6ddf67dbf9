"""`ModelStatistics`: what each version has done, as Triton splits it."""

from __future__ import annotations

from artifact.manifest import Manifest
from convoy.pb.inference import grpc_service_pb2 as pb
from service.classifier import ServedModel
from service.statistics import Duration


def statistics(model: ServedModel) -> pb.ModelStatistics:
    """Tell what *model* has done since it was loaded."""
    done = model.statistics
    return pb.ModelStatistics(
        name=model.name,
        version=str(model.version),
        last_inference=done.last_inference_ms,
        inference_count=done.inference_count,
        execution_count=done.execution_count,
        inference_stats=pb.InferStatistics(
            success=_duration(done.success),
            fail=_duration(done.fail),
            queue=_duration(done.queue),
            compute_input=_duration(done.compute_input),
            compute_infer=_duration(done.compute_infer),
            compute_output=_duration(done.compute_output),
            cache_hit=_duration(Duration()),
            cache_miss=_duration(Duration()),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=size,
                compute_input=_duration(batch.compute_input),
                compute_infer=_duration(batch.compute_infer),
                compute_output=_duration(batch.compute_output),
            )
            # A copy: the device's thread may be adding a size.
            for size, batch in sorted(done.batches.copy().items())
        ],
        memory_usage=_memory(model.manifest, on_gpu=model.session.on_gpu),
    )


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=duration.ns)


def _memory(manifest: Manifest, *, on_gpu: bool) -> list[pb.MemoryUsage]:
    if manifest.memory is None:
        return []
    bytes_used = manifest.memory.weights_bytes + manifest.memory.arena_peak_bytes
    return [pb.MemoryUsage(type="GPU" if on_gpu else "CPU", id=0, byte_size=bytes_used)]
