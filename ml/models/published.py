"""Every classifier of torchvision, without its head, for images with 1 or 3 channels."""

from typing import Any

from torch import nn

from ml.models.classifier import Backbone
from ml.vision import load_torchvision


def list_published() -> list[str]:
    """Names of torchvision's classifiers in alphabetical order. The first call imports torchvision (two seconds)."""
    models = load_torchvision().models
    return list(models.list_models(module=models))


def make_published(arch: str, channels: int, image_size: int) -> Backbone:
    """Return torchvision's network `arch`, untrained, without its head; a grey image is seen three times.

    Raises ValueError, RuntimeError or AssertionError where the network cannot be made for images of that size.
    """
    net = load_torchvision().models.get_model(arch, weights=None, **_extra_arguments(arch, image_size))
    return Backbone(net, _cut_head(net), repeat_channels=3 // channels)


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
