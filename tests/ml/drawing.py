"""Small pictures drawn for the tests of `ml`: a bright bar whose direction is the class."""

from dataclasses import replace
from typing import Any

import numpy as np

from ml.train import TrainConfig, make_config


def draw_bars(count: int, *, classes: int = 2, side: int = 12, channels: int = 1, seed: int = 0) -> tuple[Any, Any]:
    """Noise with a bar at one of `classes` angles. Returns uint8 (N, C, S, S) images and int64 (N,) labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    angles = (labels * np.pi / classes)[:, None, None]
    distances = np.abs(rows * np.cos(angles) + columns * np.sin(angles) - rng.uniform(-1, 1, (count, 1, 1)))
    pictures = np.where(distances < 1.5, 200, 60) + rng.normal(0, 15, (count, side, side))
    images = np.clip(pictures, 0, 255).astype(np.uint8)[:, None]  # (N, 1, S, S)
    return np.repeat(images, channels, axis=1), labels.astype(np.int64)


def tiny_config(**overrides: Any) -> TrainConfig:
    """A training of a second: 12x12 pixels, two epochs, one thread, no mirror images."""
    settings = {"image_size": 12, "epochs": 2, "min_steps": 8, "batch_size": 16, "flip": False, "threads": 1}
    return replace(make_config("quick"), **{**settings, **overrides})
