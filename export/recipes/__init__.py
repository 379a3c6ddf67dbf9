"""Recipes of the trainings: frozen data, every number with its unit and source."""

from __future__ import annotations

from convoy.export.recipes.paper import PAPER
from convoy.export.recipes.photos import CIFAR10, IMAGENETTE
from convoy.export.recipes.recipe import Recipe, record
from convoy.export.recipes.small import SMALL

NETWORKS = tuple(SMALL)
"""The names of all networks. `convoy.models.ARCHITECTURES` has the same, and needs PyTorch."""

DIGITS = ("mnist5k", "hard5k", "mnist")
"""Data sets that the small recipes were made for."""


def recipe_for(architecture: str, data: str) -> Recipe:
    """
    Return the recipe of *architecture* for the data set *data*.

    It is the small one for digits, that of the set for Imagenette and CIFAR-10, else the paper's.
    LeNet-5 has the small one only: its paper is about digits.
    """
    kind = data.partition(":")[0]
    recipes = {**dict.fromkeys(DIGITS, SMALL), "imagenette": IMAGENETTE, "cifar10": CIFAR10}
    return recipes.get(kind, PAPER).get(architecture, SMALL[architecture])


__all__ = [
    "CIFAR10",
    "DIGITS",
    "IMAGENETTE",
    "NETWORKS",
    "PAPER",
    "SMALL",
    "Recipe",
    "recipe_for",
    "record",
]
