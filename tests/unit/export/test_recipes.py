import pytest

from export.recipes import RECIPES
from models import ARCHITECTURES


def test_every_architecture_has_a_recipe() -> None:
    """
    Whatever can be named can be exported.
    """
    assert RECIPES.keys() == ARCHITECTURES.keys()


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_fits_its_architecture(name: str) -> None:
    """
    The pixels that a recipe makes are the native input of its network, and it has a source.
    """
    recipe, architecture = RECIPES[name], ARCHITECTURES[name]
    made = recipe.preprocessing
    assert (made.height, made.width) == (architecture.input_px, architecture.input_px)
    assert made.channels == architecture.channels == len(recipe.mean) == len(recipe.std)
    assert recipe.source
