"""Architectures: ours and the reference projects' in one dict literal, torchvision's, and other installed packages'.

To add one: write `ml/models/<name>.py` with a function (channels, image_size) -> Backbone, add it to `OWN`, and add its
source, size and count to workbench/services/architectures.py. Without touching this repository: docs/architectures.md.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch

from ml.configs import TrainConfig, read_widths
from ml.models import compact, efficientnet, mini_xception, stacks
from ml.models.classifier import Backbone, Classifier
from ml.models.installed import NotANetwork, find_installed, make_installed
from ml.models.published import list_published, make_published

Maker = Callable[[int, int], Backbone]  # (channels, image_size) -> images to features

OWN: dict[str, Maker] = {
    "compact": compact.make_compact,
    **stacks.MAKERS,
    "mini_xception": mini_xception.make_mini_xception,
    "efficientnet_v2_b0": efficientnet.make_efficientnet_v2_b0,
    "efficientnet_v2_b0_dense": efficientnet.make_efficientnet_v2_b0_dense,
}
ENLARGED = (32, 48, 64, 96, 128, 224, 299)  # pixels: what images are enlarged to where a network needs larger ones


def list_architectures() -> list[str]:
    """Names that `make_model` takes: our own, torchvision's in alphabetical order, those of other packages likewise."""
    known = [*OWN, *list_published()]
    return known + [name for name in find_installed() if name not in known]


def make_model(
    arch: str,
    *,
    channels: int,
    class_count: int,
    image_size: int,
    hidden: int = 0,
    dropout: float | None = None,
    widths: Sequence[int] = (),
) -> Classifier:
    """Make an untrained model for float images (B, channels, image_size, image_size), in float32 on the CPU.

    Its `forward` gives logits (B, class_count), its `features` the penultimate layer (B, feature_count). A
    torchvision architecture with one channel sees the grey image three times. A network that cannot take so small an
    image sees it enlarged, to the first of ENLARGED that it can take (`model.backbone.enlarge_to`).
    hidden: width of a layer between features and logits, 0 for none. dropout: probability for all dropouts of the
    network (of its features, if it has none); None leaves them as its authors set them. widths: of the layers of a
    plain stack (ml.models.stacks).
    The weights are drawn from torch's global random state: seed it first (`torch.manual_seed`) for the same again.
    Raises ValueError in one sentence for an unknown name or an image size that the architecture cannot take.
    """
    maker = _find_maker(arch, channels)
    if any(widths):
        if arch not in stacks.MAKERS:
            raise ValueError(f"{arch} has no widths to set; {', '.join(stacks.MAKERS)} have")
        maker = partial(stacks.MAKERS[arch], widths=widths)
    return Classifier(_make_fitting(arch, maker, channels, image_size), class_count, hidden=hidden, dropout=dropout)


def make_net(config: TrainConfig, class_count: int) -> Classifier:
    """`make_model` as a config says."""
    return make_model(
        config.arch,
        channels=config.channels,
        class_count=class_count,
        image_size=config.image_size,
        hidden=config.hidden,
        dropout=config.dropout if config.dropout >= 0 else None,
        widths=read_widths(config.widths),
    )


def _find_maker(arch: str, channels: int) -> Maker:
    if arch in OWN and not arch.startswith("efficientnet"):
        return OWN[arch]
    if arch in OWN or arch in list_published():
        if channels not in (1, 3):
            raise ValueError(f"{arch} takes images with 1 or 3 channels, not {channels}")
        return OWN.get(arch, partial(make_published, arch))
    if arch in (installed := find_installed()):
        return partial(make_installed, installed[arch])
    raise ValueError(
        f"no architecture is called {arch!r}: use {', '.join(OWN)} or a torchvision classifier such as resnet18"
    )


def _make_fitting(arch: str, maker: Maker, channels: int, image_size: int) -> Backbone:
    """The backbone for images of this size, which it sees enlarged if it must."""
    reason = ""
    for size in (image_size, *(larger for larger in ENLARGED if larger > image_size)):
        try:
            backbone = maker(channels, size)
            _try_forward(backbone, channels, size)
        except NotANetwork:
            raise
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = reason or str(error).split("\n", 1)[0]
            continue
        backbone.enlarge_to = size if size != image_size else 0
        return backbone
    raise ValueError(f"{arch} cannot take {image_size}x{image_size} images, set another image_size: {reason}")


def _try_forward(backbone: Backbone, channels: int, image_size: int) -> None:
    with torch.no_grad():
        shape = backbone.eval()(torch.zeros(1, channels, image_size, image_size)).shape
    backbone.train()
    if shape != (1, backbone.feature_count):
        raise ValueError(f"its features have the shape {tuple(shape)}")
