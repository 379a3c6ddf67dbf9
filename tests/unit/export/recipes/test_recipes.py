import dataclasses

import pytest

from convoy.export.errors import ExportError
from convoy.export.recipes import CIFAR10, IMAGENETTE, PAPER, SMALL, Recipe, recipe_for
from convoy.export.recipes.changes import at_size, fine_tuning, with_numbers
from convoy.export.recipes.recipe import Affine, PhotoCrop
from convoy.models import ARCHITECTURES


def test_every_architecture_has_recipes() -> None:
    """
    Each architecture has a recipe, and all but LeNet-5, which is for digits, has the
    recipe of its paper.
    """
    assert SMALL.keys() == ARCHITECTURES.keys()
    assert PAPER.keys() == ARCHITECTURES.keys() - {"lenet5"}


@pytest.mark.parametrize("name", SMALL)
def test_small_recipe_fits_its_architecture(name: str) -> None:
    """
    The pixels that a small recipe makes are enough for its network, and it has a source.
    """
    recipe, architecture = SMALL[name], ARCHITECTURES[name]
    assert architecture.min_px <= recipe.preprocessing.height <= architecture.input_px
    assert recipe.preprocessing.channels == architecture.channels == len(recipe.mean)
    assert isinstance(recipe.augmentation, Affine)
    assert recipe.source


@pytest.mark.parametrize("name", PAPER)
def test_paper_recipe_fits_its_architecture(name: str) -> None:
    """
    The pixels that a paper's recipe makes are the native input of its network; it says which
    paper it is from.
    """
    recipe, architecture = PAPER[name], ARCHITECTURES[name]
    assert recipe.preprocessing.height == architecture.input_px
    assert recipe.preprocessing.channels == architecture.channels == len(recipe.mean)
    assert "section" in recipe.source


@pytest.mark.parametrize("recipes", [IMAGENETTE, CIFAR10])
@pytest.mark.parametrize("name", PAPER)
def test_recipe_for_few_photographs(recipes: dict[str, Recipe], name: str) -> None:
    """
    The pixels are enough for the network; a network that needs other first weights, clipped
    gradients or another optimiser for digits gets them here, too, unless its paper has a recipe.
    """
    recipe, architecture = recipes[name], ARCHITECTURES[name]
    assert architecture.min_px <= recipe.preprocessing.height <= max(architecture.input_px, 64)
    assert isinstance(recipe.augmentation, PhotoCrop)
    assert recipe.source
    if recipe is not PAPER[name]:
        assert recipe.initialization == SMALL[name].initialization
        assert recipe.gradient_clip == SMALL[name].gradient_clip
        assert recipe.augmentation.pad_px in (0, recipe.preprocessing.height // 8)


def test_recipe_of_the_brief() -> None:
    """
    AlexNet's points: batch 128, SGD with momentum 0.9, augmentation.
    """
    recipe = PAPER["alexnet"]
    assert recipe.batch_size == 128
    assert recipe.optimizer.momentum == 0.9
    assert recipe.augmentation == PhotoCrop(short_side_px=(256, 256), lighting_std=0.1)


@pytest.mark.parametrize(
    ("architecture", "data", "expected"),
    [
        ("resnet18", "mnist5k", SMALL["resnet18"]),
        ("resnet18", "hard5k", SMALL["resnet18"]),
        ("resnet18", "mnist:elsewhere", SMALL["resnet18"]),
        ("resnet18", "folder:photos", PAPER["resnet18"]),
        ("resnet20", "cifar10", PAPER["resnet20"]),
        ("resnet18", "cifar10:/data", CIFAR10["resnet18"]),
        ("resnet18", "imagenette", IMAGENETTE["resnet18"]),
        ("lenet5", "imagenette", SMALL["lenet5"]),
        ("lenet5", "folder:photos", SMALL["lenet5"]),
    ],
)
def test_data_chooses_the_recipe(architecture: str, data: str, expected: Recipe) -> None:
    """
    Digits are trained on in the small way, photographs in the paper's.
    """
    assert recipe_for(architecture, data) is expected


def test_other_size() -> None:
    """
    For a smaller input, what comes before the crop shrinks in proportion.
    """
    recipe = at_size(PAPER["resnet50"], 112)
    assert (recipe.preprocessing.resize_px, recipe.preprocessing.height) == (128, 112)
    assert isinstance(recipe.augmentation, PhotoCrop)
    assert recipe.augmentation.short_side_px == (128, 240)
    assert at_size(PAPER["resnet50"], 224) is PAPER["resnet50"]


def test_padded_input_has_one_size() -> None:
    """
    LeNet-5's characters are padded, never resized to another field.
    """
    with pytest.raises(ExportError, match="--input-px 64: lenet5 takes images of 32 x 32 pixels"):
        at_size(SMALL["lenet5"], 64, "lenet5")


def test_fine_tuning_keeps_what_the_weights_saw() -> None:
    """
    Fine-tuning shows the images as the weights were evaluated, and begins gently.
    """
    made = PAPER["inception_v4"].preprocessing
    recipe = fine_tuning(PAPER["resnet50"], made, (0.5,) * 3, (0.5,) * 3)
    assert (recipe.preprocessing, recipe.mean) == (made, (0.5, 0.5, 0.5))
    assert recipe.optimizer.learning_rate <= PAPER["resnet50"].optimizer.learning_rate / 10
    assert isinstance(recipe.augmentation, PhotoCrop)
    digits = fine_tuning(SMALL["resnet50"], made, (0.5,) * 3, (0.5,) * 3)
    assert isinstance(digits.augmentation, Affine)


def test_numbers_of_the_user() -> None:
    """
    A number that was given replaces the recipe's; 0 leaves it.
    """
    recipe = with_numbers(PAPER["vgg16"], epochs=3, batch_size=0, learning_rate=0.5)
    assert (recipe.epochs, recipe.batch_size, recipe.optimizer.learning_rate) == (3, 256, 0.5)
    same = with_numbers(PAPER["vgg16"], epochs=0, batch_size=0, learning_rate=0)
    assert dataclasses.asdict(same) == dataclasses.asdict(PAPER["vgg16"])
