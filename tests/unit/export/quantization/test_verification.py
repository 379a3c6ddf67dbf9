from dataclasses import replace

import numpy as np
import pytest

from convoy.artifact.files import read_artifact
from convoy.artifact.manifest import Comparison, OutputTensor
from convoy.export.data import Split
from convoy.export.data.held_out import HeldOut
from convoy.export.quantization.interface import Interface
from convoy.export.quantization.verification import Bounds, compare, describe, objection
from tests.harness.lenet import LENET

INTERFACE = Interface.of(read_artifact(LENET).manifest)


def answers(right: int, count: int = 1000) -> np.ndarray:
    """Logits of two classes for images of class 0, the first *right* of which are right."""
    scores = np.tile(np.array([[0, 9]], np.float32), (count, 1))
    scores[:right] = [9, 0]
    return scores


def compared(
    before: np.ndarray,
    after: np.ndarray,
    *,
    is_labelled: bool = True,
    interface: Interface = INTERFACE,
) -> Comparison:
    images = Split([b""] * len(before), np.zeros(len(before), np.int64))
    photos = HeldOut(name="photos", images=images, sha256="0" * 64 if is_labelled else None)
    return compare(photos, interface, before, after)


def test_accepted_loss_is_inclusive() -> None:
    """
    Exactly the loss that is allowed is accepted, an image more is not; a gain always is.
    """
    bounds = Bounds(max_accuracy_loss=0.5, min_agreement=100)
    assert compared(answers(960), answers(955)).accuracy_loss == 0.5
    assert objection([compared(answers(960), answers(955))], bounds) == ""
    assert objection([compared(answers(955), answers(960))], bounds) == ""
    assert objection([compared(answers(960), answers(954))], bounds) == (
        "loses 0.6 points of top-1 accuracy: 954 of 1000 images of photos are right, 960 in "
        "float32; --max-accuracy-loss allows 0.5"
    )


def test_accepted_agreement_is_inclusive() -> None:
    """
    Without labels, the share of images that keep their class decides.
    """
    bounds = Bounds(max_accuracy_loss=0, min_agreement=95)
    found = compared(answers(1000), answers(950), is_labelled=False)
    assert (found.accuracy, found.accuracy_before, found.accuracy_loss) == (None, None, None)
    assert found.agreement == 95
    assert objection([found], bounds) == ""
    worse = compared(answers(1000), answers(949), is_labelled=False)
    assert objection([worse], bounds) == (
        "agrees with float32 on 949 of 1000 images of photos, 94.9 %; --min-agreement demands 95"
    )


def test_every_test_must_be_within_the_bounds() -> None:
    """
    A good result on one data set does not excuse a bad one on another.
    """
    both = [compared(answers(9, 10), answers(9, 10)), compared(answers(9, 10), answers(8, 10))]
    assert objection(both, Bounds(max_accuracy_loss=0.5, min_agreement=0)).startswith("loses 10")


def test_probabilities_are_compared_not_logits() -> None:
    """
    The largest change is one of probabilities, by a softmax for logits.
    """
    before = np.array([[0, 0]], np.float32)
    after = np.array([[np.log(3), 0]], np.float32)
    found = compared(before, after)
    assert found.largest_change == pytest.approx(0.25)
    assert describe(found, "int8") == (
        "photos: accuracy 1.0000 in int8, 1.0000 in float32; the class of 1 of 1 images stays, and "
        "no probability changes by more than 0.250"
    )


def test_all_labels_of_an_image_must_stay() -> None:
    """
    A multi-label model keeps its answer if the same labels are above one half.
    """
    independent = replace(INTERFACE, scores=OutputTensor(name="scores", kind="independent"))
    before = np.array([[0.9, 0.6, 0.1]] * 2, np.float32)
    after = np.array([[0.8, 0.7, 0.3], [0.9, 0.4, 0.1]], np.float32)
    found = compared(before, after, is_labelled=False, interface=independent)
    assert found.same_class == 1
    assert found.largest_change == pytest.approx(0.2)
