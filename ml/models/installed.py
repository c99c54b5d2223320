"""Architectures that other installed packages bring: entry points of the group `workbench.architectures`.

docs/architectures.md shows a whole package. An entry point names a function (channels, image_size) -> nn.Module from
float images (B, channels, image_size, image_size) to features (B, D).
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import torch
from torch import nn

from ml.models.classifier import Backbone

GROUP = "workbench.architectures"


def find_installed() -> dict[str, EntryPoint]:
    """Name -> entry point, in alphabetical order; nothing is imported yet."""
    found = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return {point.name: point for point in found}


class NotANetwork(ValueError):
    """What another package brings cannot be loaded or is no network, whatever the size of the images."""


def make_installed(point: EntryPoint, channels: int, image_size: int) -> Backbone:
    """Return the package's network with the number of its features, which an image of zeros tells.

    Raises NotANetwork in one sentence, or what the network raises where it cannot take images of that size.
    """
    net = _load(point)(channels, image_size)
    if not isinstance(net, nn.Module):
        raise NotANetwork(f"{point.value} gave a {type(net).__name__}, not a torch.nn.Module")
    with torch.no_grad():
        features = net.eval()(torch.zeros(1, channels, image_size, image_size))
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        shape = tuple(getattr(features, "shape", ())) or type(features).__name__
        raise NotANetwork(f"{point.value} must give features (B, D) of a batch, not {shape}")
    return Backbone(net, features.shape[1])


def _load(point: EntryPoint) -> Callable[[int, int], Any]:
    try:
        found: Callable[[int, int], Any] = point.load()
    except Exception as error:  # whatever a stranger's module does when it is imported
        raise NotANetwork(f"{point.value} cannot be loaded: {type(error).__name__}: {error}") from error
    return found
