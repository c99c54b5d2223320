"""Plain stacks of layers, written as plans: the networks that the reference projects made up for small faces.

Each plan gives exactly the count that its project printed (docs/architectures.md, tests/ml/test_architectures.py).
Where nothing was printed about a detail, the docstring of the maker says what was assumed. Each maker takes the
widths of its layers in order, convolutions first, 0 for one that stays as it is.
"""

from collections.abc import Callable, Sequence

from torch import nn

from ml.models.classifier import Backbone

# A whole number is a convolution of 3x3 with that many channels, after "flatten" a dense layer of that width, both
# with ReLU. "norm" is batch normalisation, "pool" halves the grid by maxima, a fraction is a dropout.
Plan = tuple[int | float | str, ...]

THREE_CONV: Plan = (32, "pool", 64, "pool", 128, "pool", "flatten", 128)
CNN1: Plan = (32, 64, "pool", 128, "pool", "flatten", 528)
CNN2: Plan = (
    *(32, 64, "pool", "norm"),
    *(64, "pool", "norm", 0.25),
    *(128, "pool", "norm", 0.3),
    *(258, "pool", "norm", 0.5),
    *("flatten", 528, "norm", 0.4),
)
CNN3: Plan = (
    *(32, 64, "pool", "norm"),
    *(64, "pool", "norm", 0.25),
    *(128, "pool", "norm", 0.3),
    *(258, "pool", "norm", 0.4),
    *("flatten", 528, "norm", 0.4),
    *(528, "norm", 0.5),
    *(620, "norm", 0.6),
)
CNN4: Plan = (
    *(32, 64, "pool", "norm", 0.2),
    *(64, "pool", "norm", 0.2),
    *(128, "pool", "norm", 0.3),
    *(258, "pool", "norm", 0.4),
    *("flatten", 528, "norm", 0.4),
    *(528, "norm", 0.5),
)
VGG10: Plan = (
    *(64, "norm", 64, "norm", "pool"),
    *(128, "norm", 128, "norm", "pool"),
    *(256, "norm", 256, "norm", "pool"),
    *(512, "norm", 512, "norm", "pool"),
    *(512, "norm", 512, "norm", "pool"),
    *("flatten", 4096, 4096, 1000, 0.3, "norm"),
)


def make_three_conv(channels: int, image_size: int, widths: Sequence[int] = ()) -> Backbone:
    """Three convolutions of 32, 64 and 128 channels, each halved, and a dense layer of 128; features (B, 128).

    The project's last layer was a sigmoid under a cross-entropy of classes, a mistake; here it is a softmax, as
    everywhere. 11,169,287 parameters for grey images of 224x224 and 7 classes.
    Source: johnnycapra/Machine_Learning_Emotion_Recognition.
    """
    return _build(THREE_CONV, channels, image_size, widths)


def make_cnn1(channels: int, image_size: int, widths: Sequence[int] = ()) -> Backbone:
    """Three convolutions and a dense layer of 528; features (B, 528).

    The order of the layers is not printed; of the orders that the layers' names allow, this one gives the count:
    6,855,303 parameters for grey images of 48x48 and 7 classes. Source: annabchox/Facial_emotion_Detect, model 1.
    """
    return _build(CNN1, channels, image_size, widths)


def make_cnn2(channels: int, image_size: int, widths: Sequence[int] = ()) -> Backbone:
    """Five convolutions with normalisation and dropout, a dense layer of 528; features (B, 528).

    571,697 parameters, as Keras counts, for grey images of 48x48 and 7 classes. Source: annabchox, model 2.
    """
    return _build(CNN2, channels, image_size, widths)


def make_cnn3(channels: int, image_size: int, widths: Sequence[int] = ()) -> Backbone:
    """`make_cnn2` with dense layers of 528, 528 and 620 and more dropout; features (B, 620).

    1,184,225 parameters, as Keras counts, for grey images of 48x48 and 7 classes. Source: annabchox, model 3.
    """
    return _build(CNN3, channels, image_size, widths)


def make_cnn4(channels: int, image_size: int, widths: Sequence[int] = ()) -> Backbone:
    """`make_cnn3` without the layer of 620, and dropout from the first block on; features (B, 528).

    853,121 parameters, as Keras counts, for grey images of 48x48 and 7 classes. Source: annabchox, model 4.
    """
    return _build(CNN4, channels, image_size, widths)


def make_vgg10(channels: int, image_size: int, widths: Sequence[int] = ()) -> Backbone:
    """Ten convolutions in five pairs, dense layers of 4096, 4096 and 1000; features (B, 1000).

    The project calls it VGG16. Assumed, and confirmed by the count: normalisation after each convolution and after
    the last dense layer, none elsewhere. Assumed only: normalisation follows ReLU, dropout stands before the last one.
    63,863,463 parameters, as Keras counts, for grey images of 128x128 and 7 classes.
    Source: wafiakmal/awesome-ml-group.
    """
    return _build(VGG10, channels, image_size, widths, padding=1)


WidthMaker = Callable[..., Backbone]  # (channels, image_size, widths=())
MAKERS: dict[str, WidthMaker] = {
    "three_conv": make_three_conv,
    "cnn1": make_cnn1,
    "cnn2": make_cnn2,
    "cnn3": make_cnn3,
    "cnn4": make_cnn4,
    "vgg10": make_vgg10,
}


def _build(plan: Plan, channels: int, image_size: int, widths: Sequence[int], *, padding: int = 0) -> Backbone:
    """The network of a plan without its head. Raises ValueError if the images are too small for it."""
    layers: list[nn.Module] = []
    width, side, is_flat = channels, image_size, False
    for step in _widen(plan, widths):
        if step == "pool":
            layers, side = [*layers, nn.MaxPool2d(2)], side // 2
        elif step == "norm":
            layers.append(nn.BatchNorm1d(width) if is_flat else nn.BatchNorm2d(width))
        elif step == "flatten":
            layers, width, is_flat = [*layers, nn.Flatten()], width * side * side, True
        elif isinstance(step, float):
            layers.append(nn.Dropout(step))
        else:
            layers += _weigh(width, int(step), padding=padding, is_flat=is_flat)
            width, side = int(step), side if is_flat else side - 2 + 2 * padding
        if side < 1:
            raise ValueError("nothing is left of so small an image after its convolutions")
    return Backbone(nn.Sequential(*layers), width)


def _widen(plan: Plan, widths: Sequence[int]) -> Plan:
    """The plan with the widths of its layers replaced in order, where one is not 0."""
    places = [place for place, step in enumerate(plan) if isinstance(step, int)]
    if len(widths) > len(places):
        raise ValueError(f"it has {len(places)} layers, and widths for {len(widths)}")
    steps = list(plan)
    for place, width in zip(places, widths, strict=False):
        steps[place] = width or steps[place]
    return tuple(steps)


def _weigh(inputs: int, outputs: int, *, padding: int, is_flat: bool) -> list[nn.Module]:
    """A layer with weights, drawn as Keras draws them, and ReLU."""
    layer = nn.Linear(inputs, outputs) if is_flat else nn.Conv2d(inputs, outputs, 3, padding=padding)
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return [layer, nn.ReLU(inplace=True)]
