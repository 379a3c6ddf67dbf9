"""The structure stays as docs/explanation/architecture.md describes it."""

import pytest

from tools import structure


@pytest.mark.parametrize("folder", [*structure.FOLDERS, "tests"])
def test_docstrings_are_no_fragments(folder: str) -> None:
    """
    Docstrings begin with a verb or a noun phrase.
    """
    fragments = [text.place for text in structure.docstrings(folder) if text.is_fragment]
    assert fragments == []


def test_docstrings_of_the_page_are_no_fragments() -> None:
    """
    Docstrings of JavaScript begin with a verb or a noun phrase, too.
    """
    texts = list(structure.page_docstrings())
    assert len(texts) > 200
    assert [text.place for text in texts if text.is_fragment] == []


def test_fragment_is_found() -> None:
    """
    A docstring that begins with one of the words is a fragment, in whatever form.
    """
    assert structure.Docstring("a.py:1", "Whether the client waits.").is_fragment
    assert structure.Docstring("a.py:1", "`What` a request holds.").is_fragment
    assert not structure.Docstring("a.py:1", "Return whether the client waits.").is_fragment


@pytest.mark.parametrize("folder", structure.FOLDERS)
def test_arguments_are_told_apart(folder: str) -> None:
    """
    No function takes more than seven arguments by position, whose order nobody could remember.
    """
    assert list(structure.long_parameter_lists(folder, 7)) == []


def test_service_is_small_enough_to_overlook() -> None:
    """
    A newcomer sees at most 18 modules and packages directly in service/.
    """
    assert structure.figures("service").entries <= 18


def test_names_tell_modules_apart() -> None:
    """
    Few modules share their name with another one, so that a name finds its file.
    """
    assert structure.shared_names(structure.FOLDERS) < 0.15
