"""The classes of data as those of a model."""

import pytest

from convoy.export.data.classes import class_indices
from convoy.export.errors import DataError


def test_by_name_and_by_order() -> None:
    """
    Classes have the indices of their labels, or those of their order if the user says so.
    """
    labels = ("cat", "dog", "fox")
    assert class_indices(["fox", "cat"], labels, "m", by_order=False).tolist() == [2, 0]
    assert class_indices(["a", "b", "c"], labels, "m", by_order=True).tolist() == [0, 1, 2]


def test_labels_of_several_classes() -> None:
    """
    Labels that several classes share do not tell which class a folder is of; other labels do.
    """
    labels = ("crane", "dog", "crane")
    assert class_indices(["dog"], labels, "m", by_order=False).tolist() == [1]
    with pytest.raises(DataError, match="several classes of m have the label 'crane'"):
        class_indices(["crane", "dog"], labels, "m", by_order=False)
    assert class_indices(["a", "b", "c"], labels, "m", by_order=True).tolist() == [0, 1, 2]


def test_folders_of_imagenet() -> None:
    """
    The 1,000 folders of ImageNet are in the order of the labels; some of them may be any classes.
    """
    folders = [f"n{number:08}" for number in range(1000)]
    labels = tuple(f"label {number}" for number in range(1000))
    assert class_indices(folders, labels, "m", by_order=False).tolist() == list(range(1000))
    with pytest.raises(DataError, match="does not know the classes n00000000"):
        class_indices(folders[:10], labels[:10], "m", by_order=False)


def test_unknown_classes() -> None:
    """
    Classes that the model does not know are named.
    """
    with pytest.raises(DataError, match="m does not know the classes owl: name the folders"):
        class_indices(["cat", "owl"], ("cat", "dog"), "m", by_order=False)
    with pytest.raises(DataError, match="the data has 1 class, and m has 2"):
        class_indices(["cat"], ("cat", "dog"), "m", by_order=True)
