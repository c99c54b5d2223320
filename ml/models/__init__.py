"""Architectures: our own by name in one dict literal, every torchvision classifier by its own name.

To add one: write `ml/models/<name>.py` with a function (channels, image_size) -> Backbone, and add it to `OWN`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ml.models import compact
from ml.models.classifier import Backbone, Classifier
from ml.vision import load_torchvision

OWN: dict[str, Callable[[int, int], Backbone]] = {  # (channels, image_size) -> images to features
    "compact": compact.make_compact,
}


def list_architectures() -> list[str]:
    """Names that `make_model` takes: our own first, then torchvision's classifiers in alphabetical order."""
    models = load_torchvision().models
    return [*OWN, *models.list_models(module=models)]


def is_architecture(name: str) -> bool:
    """True if `make_model` knows the name. Imports torchvision (two seconds) only for a name that is not ours."""
    return name in OWN or name in list_architectures()


def make_model(arch: str, *, channels: int, class_count: int, image_size: int) -> Classifier:
    """Make an untrained model for float images (B, channels, image_size, image_size), in float32 on the CPU.

    Its `forward` gives logits (B, class_count), its `features` the penultimate layer (B, feature_count). A
    torchvision architecture with one channel sees the grey image three times. The weights are drawn from torch's
    global random state: seed it first (`torch.manual_seed`) for the same model again.
    Raises ValueError in one sentence for an unknown name or an image size that the architecture cannot take.
    """
    if arch in OWN:
        backbone = OWN[arch](channels, image_size)
    elif is_architecture(arch):
        backbone = _make_torchvision_backbone(arch, channels, image_size)
    else:
        raise ValueError(
            f"no architecture is called {arch!r}: use {', '.join(OWN)} or a torchvision classifier such as resnet18"
        )
    return Classifier(backbone, class_count)


def _make_torchvision_backbone(arch: str, channels: int, image_size: int) -> Backbone:
    if channels not in (1, 3):
        raise ValueError(f"{arch} takes images with 1 or 3 channels, not {channels}")
    try:
        net = load_torchvision().models.get_model(arch, weights=None, **_extra_arguments(arch, image_size))
        backbone = Backbone(net, _cut_head(net), repeat_channels=3 // channels)
        _try_forward(backbone, channels, image_size)
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ValueError(
            f"{arch} cannot take {image_size}x{image_size} images, set another image_size: {reason}"
        ) from error
    return backbone


def _extra_arguments(arch: str, image_size: int) -> dict[str, Any]:
    if arch.startswith("vit_"):
        return {"image_size": image_size}
    if arch.startswith("maxvit"):
        return {"input_size": (image_size, image_size)}
    if arch in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    return {}


def _cut_head(net: nn.Module) -> int:
    """Replace the last linear (squeezenet: 1x1 convolution) layer by the identity; return the width of its input."""
    layers = [(name, layer) for name, layer in net.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    name, head = layers[-1]
    parent, _, leaf = name.rpartition(".")
    setattr(net.get_submodule(parent), leaf, nn.Identity())
    return head.in_features if isinstance(head, nn.Linear) else head.in_channels


def _try_forward(backbone: Backbone, channels: int, image_size: int) -> None:
    with torch.no_grad():
        shape = backbone.eval()(torch.zeros(1, channels, image_size, image_size)).shape
    backbone.train()
    if shape != (1, backbone.feature_count):
        raise ValueError(f"its features have the shape {tuple(shape)}")
