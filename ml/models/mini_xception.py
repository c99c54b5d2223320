"""A small network of separable convolutions with shortcuts, after Xception."""

from torch import Tensor, nn

from ml.models.classifier import Backbone

WIDTHS = (128, 256, 512, 728)  # channels of the separable blocks, each of which halves the grid


def make_mini_xception(channels: int, image_size: int) -> Backbone:
    """Return the network without its head: float (B, channels, S, S) to (B, 1024) features, for any S >= 1.

    2,782,649 parameters, as Keras counts, for colour images and a single output; here each class has an output of
    its own, so that two classes have 1,025 more. The project's L2 penalty of 0.001 on the second convolution is no
    part of the network: set `weight_decay`.
    Source: Keras' example of image classification from scratch (after Chollet 2017, Xception), as used by
    yhaendler/Emotion-Detection-with-Convolutional-Neural-Networks---Deep-Learning on faces of 56x56.
    """
    del image_size  # the grid is averaged at the end, whatever its size
    first, second, last = 32, 64, 1024
    inputs = (second, *WIDTHS)
    net = nn.Sequential(
        *(nn.Conv2d(channels, first, 3, stride=2, padding=1), nn.BatchNorm2d(first), nn.ReLU(inplace=True)),
        *(nn.Conv2d(first, second, 3, padding=1), nn.BatchNorm2d(second), nn.ReLU(inplace=True)),
        *(_Block(before, after) for before, after in zip(inputs, WIDTHS, strict=False)),
        *(_Separable(WIDTHS[-1], last), nn.BatchNorm2d(last), nn.ReLU(inplace=True)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),  # (B, 1024)
        nn.Dropout(0.5),
    )
    return Backbone(net, last)


class _Separable(nn.Module):
    """A 3x3 filter on each channel for itself, then a mixture of the channels at each place."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.filters = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.mixture = nn.Conv2d(inputs, outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        mixed: Tensor = self.mixture(self.filters(images))
        return mixed


class _Block(nn.Module):
    """Two separable convolutions and a halving, beside a shortcut of one 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.ReLU(), _Separable(inputs, outputs), nn.BatchNorm2d(outputs)),
            *(nn.ReLU(inplace=True), _Separable(outputs, outputs), nn.BatchNorm2d(outputs)),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.net(images) + self.shortcut(images)
        return out
