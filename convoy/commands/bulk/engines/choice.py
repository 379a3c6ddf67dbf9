"""The choice of an engine. Those of extras are imported only when they are chosen."""

from __future__ import annotations

from convoy.commands.bulk.bulk_settings import BulkSettings
from convoy.commands.bulk.engines import Engine
from convoy.service.machine.resources import has_gpu


def open_engine(settings: BulkSettings, workers: int) -> Engine:
    """
    Start or reach the engine.

    Raises:
        BulkError: If its cluster cannot be reached.
    """
    if settings.engine == "dask":
        from convoy.commands.bulk.engines.dask_engine import DaskEngine

        return DaskEngine(settings.address, workers)
    if settings.engine == "ray":
        from convoy.commands.bulk.engines.ray_engine import RayEngine

        return RayEngine(settings.address, workers, "" if settings.server else settings.device)
    from convoy.commands.bulk.engines.local_engine import LocalEngine

    return LocalEngine(workers)


def runs_on_gpu(settings: BulkSettings) -> bool:
    """Return whether this machine runs the model on a GPU, or is to."""
    if settings.server or settings.engine != "local":
        return False
    if settings.device == "auto" and has_gpu():
        from convoy.service.runtime.cuda import has_cuda  # with ONNX Runtime

        return has_cuda()
    return settings.device == "cuda"
