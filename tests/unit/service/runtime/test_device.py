"""The device chooses threads by the size of a network, or by none if its size is not known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from convoy.artifact.repository import ModelRepository
from convoy.artifact.tuning import Choice, Tuning
from convoy.service.runtime.device import INLINE_MACS, SMALL_MACS, Cpu, Device
from tests.harness import tiny


@pytest.mark.parametrize(
    ("macs", "threads", "inline"),
    [
        (INLINE_MACS // 4, 1, 4),
        (SMALL_MACS - 1, 1, 0),
        (SMALL_MACS, 8, 0),
        (None, 8, 0),
    ],
)
def test_size_of_a_network(tmp_path: Path, macs: int | None, threads: int, inline: int) -> None:
    """
    A small network runs on one core, and a tiny one on the event loop; one whose operations are
    not counted may be large.
    """
    tiny.write(tmp_path, macs=macs)
    artifact = ModelRepository(tmp_path).read("tiny", 1)
    device = Device(policy="cpu", cores=8)
    assert device.cpu_run(artifact) == ("onnxruntime", "float32", threads)
    assert device.inline_size(artifact) == inline


@pytest.mark.parametrize(("macs", "threads"), [(SMALL_MACS - 1, 1), (SMALL_MACS, 4)])
def test_two_runs_of_a_large_network_in_bf16(tmp_path: Path, macs: int, threads: int) -> None:
    """
    bf16 chooses OpenVINO, whose runs gain little from more threads than half of the cores.
    """
    tiny.write(tmp_path, macs=macs)
    artifact = ModelRepository(tmp_path).read("tiny", 1)
    device = Device(policy="cpu", cores=8, cpu=Cpu(precision="bf16"))
    assert device.cpu_run(artifact) == ("openvino", "bf16", threads)


@pytest.mark.parametrize(
    ("cpu", "uses"),
    [
        (Cpu(precision="bf16"), True),
        (Cpu(provider="openvino", precision="bf16"), True),
        (Cpu(), False),
        (Cpu(provider="openvino"), False),
        (Cpu(provider="onnxruntime"), False),
    ],
)
def test_tuning_is_used_where_it_is_allowed(tmp_path: Path, cpu: Cpu, uses: bool) -> None:
    """
    A tuning that chose bf16 never changes the answers of a server that was not told to use it.
    """
    tiny.write(tmp_path)
    artifact = ModelRepository(tmp_path).read("tiny", 1)
    device = Device(policy="cpu", cores=4, cpu=cpu)
    chosen = Choice(
        provider="openvino",
        precision="bf16",
        threads=2,
        batch_size=1,
        images_per_s=1,
        run_ms=1,
        run_p99_ms=1,
    )
    tuning = Tuning(
        machine=device.machine(on_gpu=False),
        model_sha256=artifact.manifest.model_sha256,
        p99_ms=100,
        chosen=chosen,
        measured=(chosen,),
        made_at=datetime.now(UTC),
    )
    tuned = replace(artifact, tuning=tuning)
    assert (device.tuned(tuned, on_gpu=False) == chosen) == uses
    assert (device.cpu_run(tuned) == ("openvino", "bf16", 2)) == uses
