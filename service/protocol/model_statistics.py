"""`ModelStatistics`: counts and durations of each version, in Triton's parts."""

from __future__ import annotations

from convoy.artifact.manifest import Manifest
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.serving.served_model import ServedModel
from convoy.service.telemetry.statistics import Duration


def statistics(model: ServedModel) -> pb.ModelStatistics:
    """Return the statistics of *model* since it was loaded."""
    done = model.statistics
    return pb.ModelStatistics(
        name=model.name,
        version=str(model.version),
        last_inference=done.last_inference_ms,
        inference_count=done.inference_count,
        execution_count=done.execution_count,
        inference_stats=pb.InferStatistics(
            success=_duration(Duration(done.answers, done.total_s)),
            fail=_duration(done.fail),
            queue=_duration(Duration(done.answers, done.queue_s)),
            compute_input=_duration(Duration(done.answers, done.input_s)),
            compute_infer=_duration(Duration(done.answers, done.infer_s)),
            compute_output=_duration(Duration(done.answers, done.output_s)),
            # There is no cache of responses.
            cache_hit=_duration(Duration()),
            cache_miss=_duration(Duration()),
        ),
        # These count runs; the statistics above count requests.
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=size,
                compute_input=_duration(Duration(batch.count, batch.input_s)),
                compute_infer=_duration(Duration(batch.count, batch.infer_s)),
                compute_output=_duration(Duration(batch.count, batch.output_s)),
            )
            for size, batch in sorted(done.batches.items())
        ],
        memory_usage=_memory(model.manifest, on_gpu=model.session.on_gpu),
    )


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=round(duration.seconds * 1e9))


def _memory(manifest: Manifest, *, on_gpu: bool) -> list[pb.MemoryUsage]:
    # Not every artifact states its memory.
    if manifest.memory is None:
        return []
    bytes_used = manifest.memory.weights_bytes + manifest.memory.arena_peak_bytes
    return [pb.MemoryUsage(type="GPU" if on_gpu else "CPU", id=0, byte_size=bytes_used)]
