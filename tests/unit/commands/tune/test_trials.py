import pytest

from convoy.artifact.tuning import Choice
from convoy.commands.tune import trials
from convoy.commands.tune.trials import choose, providers, request_p99_ms, thread_counts
from convoy.service.runtime.device import Cpu, CpuRun


def choice(images_per_s: float, run_p99_ms: float) -> Choice:
    return Choice(
        threads=1, batch_size=1, images_per_s=images_per_s, run_ms=1.0, run_p99_ms=run_p99_ms
    )


def test_most_images_within_the_bound() -> None:
    """
    A request waits for the run that is on and for its own: twice a run's p99 is to keep the bound.
    """
    slow, middle, fast = choice(300, 60), choice(200, 50), choice(100, 10)
    assert request_p99_ms(middle) == 100
    assert choose([fast, slow, middle], 100) is middle
    assert choose([fast, slow, middle], 120) is slow
    assert choose([fast, slow, middle], 20) is fast
    assert choose([fast, slow, middle], 19) is None


def test_p99_lies_within_its_spread() -> None:
    """
    The p99 of all turns together lies between those of the turns, however few runs they have.
    """
    way = trials._Way(CpuRun("onnxruntime", "float32", 1), batch_size=1)
    for turn in range(3):
        way.add(100.0, [0.010 + 0.001 * turn] * 9 + [0.020 + 0.001 * turn])
    found = way.choice()
    assert found.run_p99_spread_ms == (20.0, 22.0)
    assert found.run_p99_ms == 22.0


def test_noise_does_not_choose() -> None:
    """
    The one with the shortest latency is taken of those that are equal within the noise.
    """
    best, as_good = choice(100, 40), choice(98, 10)
    assert choose([best, as_good], 100) is as_good
    assert choose([best, choice(96, 10)], 100) is best


@pytest.mark.parametrize(
    ("cores", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_thread_counts(cores: int, counts: list[int]) -> None:
    """
    One thread, all cores, and the powers of two between.
    """
    assert thread_counts(cores) == counts


@pytest.mark.parametrize(
    ("cpu", "is_installed", "expected"),
    [
        (Cpu(), False, ["onnxruntime float32"]),
        (Cpu(), True, ["onnxruntime float32", "openvino float32"]),
        (
            Cpu(precision="bf16"),
            True,
            ["onnxruntime float32", "openvino float32", "openvino bf16"],
        ),
        # Why it cannot be measured is reported.
        (Cpu(precision="bf16"), False, ["onnxruntime float32", "openvino bf16"]),
        (
            Cpu(provider="openvino", precision="bf16"),
            True,
            ["openvino float32", "openvino bf16"],
        ),
        (Cpu(provider="onnxruntime"), True, ["onnxruntime float32"]),
    ],
)
def test_providers(
    monkeypatch: pytest.MonkeyPatch, cpu: Cpu, is_installed: bool, expected: list[str]
) -> None:
    """
    Every provider that is installed and allowed is measured, and bf16 only if that is asked for.
    """
    monkeypatch.setattr("convoy.commands.tune.trials.has_openvino", lambda: is_installed)
    assert [" ".join(one) for one in providers(cpu)] == expected
