"""Models run by OpenVINO, in float32 and bf16, and never by another provider in silence."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convoy.artifact.files import Artifact
from convoy.artifact.golden import Golden
from convoy.artifact.repository import ModelRepository
from convoy.service.errors import ModelLoadError
from convoy.service.machine.resources import has_bf16
from convoy.service.runtime import openvino
from convoy.service.runtime.device import Cpu, Device
from convoy.service.runtime.openvino import has_openvino
from convoy.service.runtime.runs import CPU, OPENVINO
from convoy.service.runtime.session import Session

ONNXRUNTIME, IN_FLOAT32, IN_BF16 = (
    Device(policy="cpu", cores=2, cpu=cpu)
    for cpu in (Cpu(), Cpu(provider="openvino"), Cpu(provider="openvino", precision="bf16"))
)
AUTO = Device(policy="cpu", cores=2, cpu=Cpu(precision="bf16"))


@pytest.fixture
def artifact(lenet_repository: Path) -> Artifact:
    return ModelRepository(lenet_repository).read("lenet5", 1)


def largest_difference(artifact: Artifact, device: Device) -> float:
    """Return that of the golden logits from ONNX Runtime's, as a share of their range."""
    images = artifact.golden.images
    expected = Session(artifact, ONNXRUNTIME).run(images)["logits"]
    found = Session(artifact, device).run(images)["logits"]
    return float(np.abs(found - expected).max() / np.ptp(expected))


@pytest.mark.openvino
def test_float32(artifact: Artifact) -> None:
    """
    Every node runs in OpenVINO, and in float32, even where it would choose bf16 by itself.
    """
    session = Session(artifact, IN_FLOAT32)
    assert (session.provider, session.precision, session.fallback_reason) == (
        OPENVINO,
        "float32",
        "",
    )
    assert set(session.nodes) == {OPENVINO}
    assert not session.on_gpu
    assert largest_difference(artifact, IN_FLOAT32) < 1e-5


@pytest.mark.openvino
@pytest.mark.bf16
def test_bf16(artifact: Artifact) -> None:
    """
    bf16 says so, and really rounds: its answers are near those of float32, and not the same.
    """
    for device in (IN_BF16, AUTO):
        session = Session(artifact, device)
        assert (session.provider, session.precision) == (OPENVINO, "bf16")
        assert session.fallback_reason == ""
    assert 1e-5 < largest_difference(artifact, IN_BF16) < 1e-2


@pytest.mark.openvino
@pytest.mark.bf16
def test_bf16_has_a_tolerance_of_its_own(artifact: Artifact) -> None:
    """
    The golden answers are proven in bf16, too: within what its significand explains.
    """
    golden = artifact.golden
    span = np.ptp(golden.logits)
    for share, is_refused in ((0.01, False), (0.05, True)):
        drifted = replace(artifact, golden=Golden(golden.images, golden.logits - share * span))
        if is_refused:
            with pytest.raises(ModelLoadError, match="drift from the golden answers"):
                Session(drifted, IN_BF16)
        else:
            Session(drifted, IN_BF16)


@pytest.mark.openvino
@pytest.mark.parametrize("config", ["no JSON", '{"CPU": {"NO_SUCH_PROPERTY": "1"}}'])
def test_rejected_option_is_an_error(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    """
    An option that OpenVINO rejects stops the model. ONNX Runtime alone would only warn.
    """
    monkeypatch.setattr(openvino, "_config", lambda *_: config)
    with pytest.raises(ModelLoadError, match="cannot open"):
        Session(artifact, IN_FLOAT32)


@pytest.mark.openvino
def test_runs_at_once(artifact: Artifact) -> None:
    """
    Runs of several threads get the answers to their own images.
    """
    session = Session(artifact, IN_FLOAT32)
    images = artifact.golden.images
    expected = session.run(images)["logits"]
    with ThreadPoolExecutor(4) as pool:
        places = [number % len(images) for number in range(40)]
        told = pool.map(lambda place: session.run(images[place : place + 1])["logits"], places)
        for place, logits in zip(places, told, strict=True):
            assert np.allclose(logits[0], expected[place], atol=1e-3)


@pytest.mark.skipif(has_openvino(), reason="OpenVINO is installed")
def test_not_installed(artifact: Artifact) -> None:
    """
    The message names the extra, also where the plugin is there and does not serve the processor.
    """
    with pytest.raises(ModelLoadError, match="install the extra openvino in place of cpu"):
        Session(artifact, IN_FLOAT32)


@pytest.mark.skipif(has_openvino() and has_bf16(), reason="this machine has bf16")
def test_auto_reports_its_fallback(artifact: Artifact, caplog: pytest.LogCaptureFixture) -> None:
    """
    A server that cannot use bf16 runs in float32, reports the reason, and logs it once.
    """
    device = replace(AUTO, logged=set())
    for _ in range(2):
        session = Session(artifact, device)
        assert (session.provider, session.precision) == (CPU, "float32")
        assert session.cores == 1
        assert re.search("extra openvino|for bf16", session.fallback_reason)
    (line,) = caplog.records
    assert line.message == "cpu-provider auto: falling back to ONNX Runtime in float32"


def test_processor_without_bf16(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    OpenVINO would compute in float32 in silence: that is an error, or a fallback that is logged.
    """
    monkeypatch.setattr(openvino, "has_bf16", lambda: False)
    with pytest.raises(ModelLoadError, match="has no instructions for bf16"):
        Session(artifact, IN_BF16)
    session = Session(artifact, replace(AUTO, logged=set()))
    assert (session.provider, session.precision) == (CPU, "float32")
    assert "has no instructions for bf16" in session.fallback_reason
    (line,) = caplog.records
    assert line.message == "cpu-provider auto: falling back to ONNX Runtime in float32"
