"""Signals of images and answers."""

import numpy as np
import pytest

from convoy.artifact import signals
from convoy.artifact.manifest import Normalization
from tests.harness.images import png
from tests.harness.tiny import manifest


def test_header() -> None:
    """
    An image has a format and a size; other bytes have none.
    """
    assert signals.read_header(png(3)) == ("PNG", 4, 4)
    assert signals.read_header(b"no image") is None


def test_memory_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A lack of memory does not turn an image into something else.
    """

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.Image.open", fail)
    with pytest.raises(MemoryError):
        signals.read_header(png(3))


@pytest.mark.parametrize(("layout", "shape"), [("NHWC", (40, 70, 3)), ("NCHW", (3, 40, 70))])
def test_requests_together(layout: str, shape: tuple[int, ...]) -> None:
    """
    Requests that are looked at together have the same signals as one by one, of the right pixels.
    """
    usual = manifest()
    tensor = usual.input.model_copy(
        update={"layout": layout, "channels": 3, "height": 40, "width": 70}
    )
    described = usual.model_copy(
        update={
            "input": tensor,
            "normalization": Normalization(mean=(0.5,) * 3, std=(0.5,) * 3, where="graph"),
        }
    )
    random = np.random.default_rng(1)
    batches = [random.integers(0, 256, (count, *shape), np.uint8) for count in (1, 3)]
    scores = random.random((4, 10), np.float32)
    together = signals.of_answers(scores, batches, [png(1), png(2)], described)
    parts = [
        signals.of_answers(scores[:1], batches[:1], [png(1)], described),
        signals.of_answers(scores[1:], batches[1:], [png(2)], described),
    ]
    assert together.keys() == parts[0].keys()
    for signal, values in together.items():
        np.testing.assert_array_equal(values, np.concatenate([part[signal] for part in parts]))
    first = batches[0][0] if layout == "NHWC" else batches[0][0].transpose(1, 2, 0)
    assert together["brightness"][0] == pytest.approx(first[:, ::2].mean() / 255, abs=1e-4)
    warmth = (first[:, ::2, 0].mean() - first[:, ::2, 2].mean()) / 255
    assert together["warmth"][0] == pytest.approx(warmth, abs=1e-4)


def test_scores_that_are_no_numbers() -> None:
    """
    Answers with a score that is not finite have no signals.
    """
    scores = np.zeros((3, 10), np.float32)
    scores[1, 3] = np.nan
    found = signals.of_answers(scores, [np.zeros((3, 4, 4, 1), np.uint8)], [], manifest())
    assert len(found["confidence"]) == 2
    assert len(found["brightness"]) == 3
