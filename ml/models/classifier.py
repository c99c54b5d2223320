"""The one shape that every model of ours has: a backbone from images to features, and a small head to logits."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Backbone(nn.Module):
    """Images (B, C, H, W) to features (B, feature_count), whatever network does it."""

    def __init__(self, net: nn.Module, feature_count: int, *, repeat_channels: int = 1) -> None:
        super().__init__()
        self.net = net
        self.feature_count = feature_count
        self.repeat_channels = repeat_channels
        self.enlarge_to = 0  # pixels; smaller images are enlarged to it first, for networks that need larger ones

    def forward(self, images: Tensor) -> Tensor:
        """Return the features (B, feature_count) of float images (B, C, H, W)."""
        if self.enlarge_to:
            images = functional.interpolate(images, size=self.enlarge_to, mode="bilinear")  # (B, C, E, E)
        if self.repeat_channels > 1:
            images = images.repeat(1, self.repeat_channels, 1, 1)  # (B, 1, H, W) -> (B, 3, H, W)
        features: Tensor = self.net(images)
        return features


class Classifier(nn.Module):
    """Backbone and head. `forward` gives logits; `forward_both` gives logits and features in one pass."""

    def __init__(self, backbone: Backbone, class_count: int, *, hidden: int = 0, dropout: float | None = None) -> None:
        """hidden: width of a layer between features and logits, 0 for none. dropout: as for `set_dropout`."""
        super().__init__()
        self.backbone = backbone
        self.dropout: nn.Module = nn.Identity()
        self.head = make_head(backbone.feature_count, class_count, hidden=hidden)
        if dropout is not None:
            set_dropout(self, dropout)

    def forward_both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return float32 logits (B, K) and float32 features (B, D) of float images (B, C, H, W).

        The head runs in float32 even under autocast: bfloat16 logits have three digits, and ranks would tie.
        """
        features = self.backbone(images).float()  # (B, D)
        with torch.autocast(images.device.type, enabled=False):
            logits: Tensor = self.head(self.dropout(features))  # (B, K)
        return logits, features

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 logits (B, K) of float images (B, C, H, W)."""
        return self.forward_both(images)[0]


def make_head(feature_count: int, class_count: int, *, hidden: int = 0) -> nn.Module:
    """Return an untrained head from float32 features (B, D) to logits (B, K): linear, or with one hidden layer."""
    last = nn.Linear(hidden or feature_count, class_count)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)
    if not hidden:
        return last
    return nn.Sequential(nn.Linear(feature_count, hidden), nn.ReLU(), last)


def set_dropout(model: Classifier, probability: float) -> None:
    """Let every dropout of the network drop with this probability, 0 to 1; where it has none, its features are dropped.

    So the setting always does something, whatever the architecture.
    """
    found = [layer for layer in model.backbone.modules() if isinstance(layer, nn.Dropout)]
    for layer in found:
        layer.p = probability
    if not found:
        model.dropout = nn.Dropout(probability)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable numbers in the model."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_with_statistics(model: nn.Module) -> int:
    """`count_parameters` and the running means and variances of normalisation: what Keras prints as "total params"."""
    statistics = ("running_mean", "running_var")
    return count_parameters(model) + sum(
        values.numel() for name, values in model.named_buffers() if name.endswith(statistics)
    )
