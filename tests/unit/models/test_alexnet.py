import torch

from convoy.models.alexnet import alexnet, normalization


def test_normalization_is_the_papers() -> None:
    """
    b = a / (k + alpha * sum of a^2 over n channels)^beta, with k = 2, n = 5, alpha = 1e-4,
    beta = 0.75 (section 3.3): alpha is not divided by n, as PyTorch's is.
    """
    maps = 30 * torch.rand(1, 9, 2, 2, generator=torch.Generator().manual_seed(0))
    squares = maps**2
    for channel in range(9):
        window = squares[:, max(0, channel - 2) : channel + 3].sum(1)
        expected = maps[:, channel] / (2 + 1e-4 * window) ** 0.75
        assert torch.allclose(normalization()(maps)[:, channel], expected, rtol=1e-5)


def test_sizes_of_the_brief() -> None:
    """
    At 227 pixels the maps have 55, 27, 13 and 6 pixels, and pooling comes before normalisation.
    """
    sizes = []
    x = torch.zeros(1, 3, 227, 227)
    for layer in alexnet().features:
        x = layer(x)
        sizes.append((type(layer).__name__, tuple(x.shape[1:])))
    assert sizes[:4] == [
        ("Conv2d", (96, 55, 55)),
        ("ReLU", (96, 55, 55)),
        ("MaxPool2d", (96, 27, 27)),
        ("LocalResponseNorm", (96, 27, 27)),
    ]
    assert sizes[-1] == ("MaxPool2d", (256, 6, 6))
