"""Tiny trainings for the tests of `ml`, and what they are compared by."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ml.checkpoints import read_checkpoint
from ml.train import TrainConfig, TrainResult, train
from tests.ml.drawing import draw_bars, tiny_config

NONE = np.empty(0, np.int64)


def run(folder: Path, config: TrainConfig | None = None, **overrides: Any) -> TrainResult:
    images, labels = draw_bars(48)
    settings = {
        "train_indices": np.arange(40),
        "validation_indices": np.arange(40, 48),
        "class_count": 2,
        "config": config or tiny_config(),
        "folder": folder,
    }
    settings.update(overrides)
    images, labels = settings.pop("images", images), settings.pop("labels", labels)
    return train(images, labels, **settings)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "checkpoint.pt")["model"]


def assert_same_weights(first: Path, second: Path) -> None:
    one, other = weights_of(first), weights_of(second)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def timeless(reports: Any) -> list[dict[str, object]]:
    return [asdict(replace(report, seconds=0, images_per_second=0)) for report in reports]
