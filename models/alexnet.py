"""AlexNet as one tower, with normalisation after pooling.

Source: Krizhevsky, Sutskever, Hinton. *ImageNet Classification with Deep Convolutional Neural
Networks*. NIPS 2012. Layers: section 3.5, figure 2. Normalisation: section 3.3. Overlapping
pooling: section 3.4. Dropout: section 4.2. Initial weights: section 5.

Differs from the paper as the textbooks' simplified figure does:

* One tower instead of two with 48 + 48, 128 + 128 ... channels on two GPUs: hence 62,378,344
  parameters instead of 60,965,224.
* The paper normalises before it pools; here pooling comes first, as in CaffeNet, which does the
  same normalisation on a quarter of the numbers.
* The input has 227 x 227 pixels: the paper's 224 does not give its 55 x 55 maps.

Pooling rounds sizes up, as in Caffe: no change at 227, and smaller images leave something to pool.

Shapes are N, C, H, W: images, channels, height, width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def normalization() -> nn.LocalResponseNorm:
    """
    Local response normalisation of section 3.3: n = 5, k = 2, alpha = 1e-4, beta = 0.75.

    The paper multiplies the sum of squares by alpha; PyTorch and ONNX by alpha / n. Hence 5e-4.
    """
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)


class AlexNet(nn.Module):
    """
    Five convolutions, overlapping max pooling, three linear layers with dropout.

    Args:
        num_classes: Size of the output.

    Shape:
        Input: (N, 3, H, W), normalised RGB, H and W at least 39
        Output: (N, num_classes), logits
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(  # sizes are for a 227x227 image
            nn.Conv2d(3, 96, 11, stride=4),  # (N, 96, 55, 55)
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),  # (N, 96, 27, 27)
            normalization(),
            nn.Conv2d(96, 256, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),  # (N, 256, 13, 13)
            normalization(),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),  # (N, 256, 6, 6)
        )
        # 6x6 already at 227; smaller maps are repeated, so that the linear layers stay as they are.
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, num_classes),
        )
        self._initialize()

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # (N, 256, 6, 6)
        x = self.avgpool(x)  # (N, 256, 6, 6)
        x = torch.flatten(x, 1)  # (N, 9216)
        return self.classifier(x)  # (N, num_classes)

    def _initialize(self) -> None:
        """Section 5: weights N(0, 0.01); biases 1 where that gives ReLU positive inputs early."""
        layers = [layer for layer in self.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        for layer in layers:
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        _, conv2, _, conv4, conv5, fc6, fc7, _ = layers
        for layer in (conv2, conv4, conv5, fc6, fc7):
            assert layer.bias is not None
            nn.init.ones_(layer.bias)


def alexnet(num_classes: int = 1000) -> AlexNet:
    """AlexNet in one tower: 62,378,344 parameters at 1000 classes."""
    return AlexNet(num_classes)
