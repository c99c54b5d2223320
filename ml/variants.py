"""Augmented variants made once, before a training, to fill up rare classes. Each knows its parent."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ml.augment import Augmentation, augment

FILLING = Augmentation(shift=0.08, rotation=10.0, zoom=0.1, shear=8.0, brightness=0.05, contrast=0.2)
_CHUNK = 1024


def plan_variants(
    labels: NDArray[np.integer[Any]], *, indices: NDArray[np.integer[Any]], per_class: int, seed: int
) -> NDArray[np.int64]:
    """The parents of the variants that bring every class among `indices` to `per_class` images, class by class.

    labels: int (N,). indices: int (M,), the images that teach; each class uses its own, all equally often but for one.
    Returns rows of `labels`, int64 (V,); V is 0 where no class has too few. Deterministic for a seed.
    """
    rng = np.random.default_rng(seed)
    parents = [np.empty(0, np.int64)]
    for label in np.unique(labels[indices]).tolist():
        own = indices[labels[indices] == label]
        lacking = max(0, per_class - len(own))
        passes = [rng.permutation(own) for _ in range(-(-lacking // len(own)))]
        parents += [np.concatenate(passes)[:lacking].astype(np.int64)] if passes else []
    return np.concatenate(parents)


def make_variants(
    images: NDArray[np.uint8], *, parents: NDArray[np.int64], strengths: Augmentation = FILLING, seed: int
) -> NDArray[np.uint8]:
    """One random variant of each parent.

    images: uint8 (N, C, S, S). parents: int64 (V,), rows of it. Returns uint8 (V, C, S, S), rounded.
    Deterministic for a seed on one machine. Cost: that of `augment`, about 20,000 48x48 images a second.
    """
    generator = torch.Generator().manual_seed(seed)
    made = [np.empty((0, *images.shape[1:]), np.uint8)]
    for start in range(0, len(parents), _CHUNK):
        chunk = torch.from_numpy(images[parents[start : start + _CHUNK]])
        made.append(augment(chunk, strengths, generator=generator).round().to(torch.uint8).numpy())
    return np.concatenate(made)
