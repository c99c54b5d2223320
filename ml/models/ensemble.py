"""Several trained models as one: its probabilities are the mean of theirs."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.models.classifier import Backbone, Classifier


class _Member(nn.Module):
    """A model with its own normalisation, for images that are normalised like those of the first member."""

    def __init__(self, model: Classifier, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.model = model
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", scale, persistent=False)  # float32 (1, C, 1, 1)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities (B, K) and features of length 1 (B, D)."""
        logits, features = self.model.forward_both(images * self.scale + self.shift)
        return functional.log_softmax(logits, dim=1), functional.normalize(features, dim=1)


class Ensemble(Classifier):
    """The mean of the members' probabilities, as logits; its features are theirs, each of length 1, side by side."""

    def __init__(self, models: Sequence[Classifier], means: Sequence[Tensor], stds: Sequence[Tensor]) -> None:
        """means, stds: float32 (1, C, 1, 1) each, what each member's images are normalised by."""
        nn.Module.__init__(self)
        self.members = nn.ModuleList(
            _Member(model, stds[0] / std, (means[0] - mean) / std)
            for model, mean, std in zip(models, means, stds, strict=True)
        )
        feature_count = sum(model.backbone.feature_count for model in models)
        self.backbone = Backbone(_Features(self.members), feature_count)

    def forward_both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return float32 logits (B, K) whose softmax is the mean, and features (B, D), of float images (B, C, H, W)."""
        answers = [member(images) for member in self.members]
        logits = torch.logsumexp(torch.stack([logs for logs, _ in answers]), dim=0) - math.log(len(answers))  # (B, K)
        return logits, torch.cat([features for _, features in answers], dim=1)


class _Features(nn.Module):
    """The members' features side by side; holds no weights of its own."""

    def __init__(self, members: nn.ModuleList) -> None:
        super().__init__()
        self._members = tuple(members)  # a tuple, so that their weights are not counted twice

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, D) for float images (B, C, H, W)."""
        return torch.cat([member(images)[1] for member in self._members], dim=1)
