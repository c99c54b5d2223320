"""Our compact convolutional network: about a million parameters, made for small images and for two CPU cores.

A 5x5 stem of stride 2 and few channels keeps the expensive full-size grid cheap; most of the width stands where the
grid is small. See docs/experiments.md for what was tried instead.
"""

import math

from torch import Tensor, nn

from ml.models.classifier import Backbone

WIDTHS = (24, 48, 96, 192, 288)  # channels of the stem and of the four stages
REFERENCE_SIZE_PX = 48  # larger images get more steps of stride 2, so that the last grid stays about 3x3


class Residual(nn.Module):
    """x + block(x)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, images: Tensor) -> Tensor:
        """Return a tensor of the same shape (B, C, H, W)."""
        out: Tensor = images + self.block(images)
        return out


def make_compact(channels: int, image_size: int) -> Backbone:
    """Return the network without its head: float (B, channels, S, S) to (B, 288) features, for any S >= 1."""
    stem, first, second, third, last = WIDTHS
    halvings = max(0, round(math.log2(image_size / REFERENCE_SIZE_PX)))
    net = nn.Sequential(
        _convolve(channels, stem, size=5, stride=2),  # (B, 24, S/2, S/2)
        *(_convolve(stem, stem, stride=2) for _ in range(halvings)),
        _convolve(stem, first),
        nn.MaxPool2d(2, ceil_mode=True),  # (B, 48, S/4, S/4)
        _convolve(first, second),
        Residual(_convolve(second, second)),
        nn.MaxPool2d(2, ceil_mode=True),  # (B, 96, S/8, S/8)
        _convolve(second, third),
        Residual(_convolve(third, third)),
        nn.MaxPool2d(2, ceil_mode=True),  # (B, 192, S/16, S/16)
        _convolve(third, last),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),  # (B, 288)
    )
    return Backbone(net, last)


def _convolve(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
