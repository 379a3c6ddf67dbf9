"""The parts of the engine that load and run models, made from the settings."""

from __future__ import annotations

import logging
from pathlib import Path

from convoy.artifact.errors import RepositoryError
from convoy.artifact.stores import Repository, open_repository
from convoy.service.batching.queue import BatchPolicy
from convoy.service.errors import StartError
from convoy.service.runtime.device import Cpu, Device, Gpu
from convoy.service.runtime.graph_cache import GraphCache
from convoy.service.serving.loader import LoadedArtifact, Loader
from convoy.service.settings import Settings

logger = logging.getLogger(__name__)


def make_device(settings: Settings, cores: int, inline_macs: int) -> Device:
    """
    Make the device that runs the models.

    Args:
        inline_macs: Limit on the multiply-accumulates of a run that the event loop executes
            itself, on a CPU.
    """
    cache = _folder(settings.graph_cache)
    return Device(
        policy=settings.device,
        cores=cores,
        inline_macs=inline_macs,
        intra_op_threads=settings.intra_op_threads,
        cpu=Cpu(provider=settings.cpu_provider, precision=settings.cpu_precision),
        gpu=Gpu(
            memory_limit_bytes=settings.gpu_memory_limit,
            tf32=settings.tf32,
            cuda_graphs=settings.cuda_graphs,
            tensorrt=settings.tensorrt,
            engine_folder=cache / "tensorrt" if cache else None,
        ),
    )


def make_loader(settings: Settings, device: Device) -> Loader:
    """
    Make the loader of the models in the repository.

    Raises:
        StartError: If the repository cannot be read.
    """
    return Loader(
        _open_repository(settings),
        device,
        GraphCache(_graph_folder(settings.graph_cache), settings.graph_cache_size),
        max_batch_size=settings.max_batch_size,
        max_message_bytes=settings.max_message_bytes,
    )


def batch_policy(settings: Settings, loaded: LoadedArtifact) -> BatchPolicy:
    """Return the policy of the queue of a loaded artifact."""
    session = loaded.session
    size = session.max_batch_size
    # A tuned batch size is a limit, unless the operator or a load request has set one.
    is_set = settings.max_batch_size or size != loaded.manifest.max_batch_size
    tuned = None if is_set else session.tuned
    return BatchPolicy(
        max_batch_size=min(size, tuned.batch_size) if tuned else size,
        max_queue_delay_s=settings.max_queue_delay_ms / 1000,
        max_queue_size=max(settings.max_queue_size, size),
        cores=session.cores,
        weight=settings.model_weight.get(loaded.manifest.name, 1.0),
        inline_size=session.inline_size,
        ahead_s=session.ahead_s,
    )


def _open_repository(settings: Settings) -> Repository:
    copies = _folder(settings.repository_cache)
    try:
        return open_repository(settings.model_repository, settings.model_name, copies)
    except RepositoryError as error:
        raise StartError(str(error)) from error


def _graph_folder(setting: str) -> Path | None:
    folder = _folder(setting)
    if setting and folder is None:
        logger.warning(
            "no home folder: cannot cache optimised graphs; set HOME, or --graph-cache to a folder"
        )
    return folder


def _folder(setting: str) -> Path | None:
    """Return the folder of a setting; None if it is empty, or in a home folder that is unknown."""
    try:
        return Path(setting).expanduser() if setting else None
    # A container may run as a user without HOME and without an entry in /etc/passwd.
    except RuntimeError:
        return None
