"""The one shape that every model of ours has: a backbone from images to features, and a linear head to logits."""

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """Images (B, C, H, W) to features (B, feature_count), whatever network does it."""

    def __init__(self, net: nn.Module, feature_count: int, *, repeat_channels: int = 1) -> None:
        super().__init__()
        self.net = net
        self.feature_count = feature_count
        self.repeat_channels = repeat_channels

    def forward(self, images: Tensor) -> Tensor:
        """Return the features (B, feature_count) of float images (B, C, H, W)."""
        if self.repeat_channels > 1:
            images = images.repeat(1, self.repeat_channels, 1, 1)  # (B, 1, H, W) -> (B, 3, H, W)
        features: Tensor = self.net(images)
        return features


class Classifier(nn.Module):
    """Backbone and linear head. `forward` gives logits; `forward_both` gives logits and features in one pass."""

    def __init__(self, backbone: Backbone, class_count: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.feature_count, class_count)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward_both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return float32 logits (B, K) and float32 features (B, D) of float images (B, C, H, W).

        The head runs in float32 even under autocast: bfloat16 logits have three digits, and ranks would tie.
        """
        features = self.backbone(images).float()  # (B, D)
        with torch.autocast(images.device.type, enabled=False):
            logits: Tensor = self.head(features)  # (B, K)
        return logits, features

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 logits (B, K) of float images (B, C, H, W)."""
        return self.forward_both(images)[0]


def count_parameters(model: nn.Module) -> int:
    """Number of trainable numbers in the model."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
