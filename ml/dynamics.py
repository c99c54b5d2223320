"""What a model said of the images while it learned from them: of their labels a better witness than its last word."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FILE = "dynamics.npz"
MOST_VALUES = 100_000_000  # probabilities that are kept, 400 MB; larger trainings keep none


@dataclass
class Diary:
    """Sums of probabilities of images, each taken before the step in which the image taught once more."""

    sums: Tensor  # float32 (N, K)
    counts: Tensor  # float32 (N,)

    @classmethod
    def empty(cls, image_count: int, class_count: int, device: torch.device) -> "Diary | None":
        """None where it would be too large."""
        if image_count * class_count > MOST_VALUES:
            return None
        return cls(torch.zeros(image_count, class_count, device=device), torch.zeros(image_count, device=device))

    def note(self, rows: Tensor, logits: Tensor) -> None:
        """rows: int64 (B,). logits: (B, K)."""
        self.sums.index_add_(0, rows, logits.detach().float().softmax(1))
        self.counts.index_add_(0, rows, torch.ones(len(rows), device=rows.device))

    def add(self, other: "Diary") -> None:
        self.sums += other.sums
        self.counts += other.counts


def write_dynamics(folder: Path, diary: Diary) -> None:
    """Write folder/dynamics.npz: the images noted and their mean probabilities."""
    rows = torch.nonzero(diary.counts).flatten().cpu()
    means = (diary.sums.cpu()[rows] / diary.counts.cpu()[rows, None]).numpy()
    temporary = folder / f"{FILE}.tmp"
    with temporary.open("wb") as file:
        np.savez(file, rows=rows.numpy(), probs=means)
    temporary.replace(folder / FILE)


def read_dynamics(folder: Path) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """The rows (T,) of a training in this folder and their mean probabilities while they taught, (T, K).

    The mean over the epochs of what the model said of each image, varied as it was, just before the step in which the
    image taught; the first epoch is left out where there are three or more. None for trainings that noted nothing.
    In the few epochs before a network knows images by heart this ranks wrong labels as well as four folds, for
    nothing (docs/label-issues.md); the idea is that of Pleiss et al. 2020, Area Under the Margin.
    """
    try:
        with np.load(folder / FILE, allow_pickle=False) as stored:
            return stored["rows"], stored["probs"]
    except FileNotFoundError:
        return None
