"""The images of a training: checked, put where they are computed with, measured, and drawn in batches by index."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml.configs import TrainConfig, plan_passes
from ml.devices import pick_device
from ml.occlude import hide_region
from ml.predict import Images, check_images

Integers = Tensor | NDArray[np.integer[Any]]
Floats = Tensor | NDArray[np.floating[Any]]


@dataclass(frozen=True)
class TrainData:
    """The images, where they are computed with, and what is known about them."""

    images: Tensor  # uint8 (N, C, S, S)
    labels: Tensor  # int64 (N,)
    weights: Tensor  # float32 (N,), mean 1 over the training images
    targets: Tensor | None  # float32 (N, K), what the training images teach instead of their labels
    train_indices: Tensor  # int64 (T,), on the CPU
    validation_indices: Tensor  # int64 (V,), on the CPU
    class_count: int
    device: torch.device
    fingerprint: str  # of labels, weights, targets and indices: a checkpoint belongs to one such choice

    def fetch(self, rows: Tensor) -> Tensor:
        """Return the images `rows` (int64 (B,), on any device) as uint8 (B, C, S, S) on the device."""
        return self.images[rows.to(self.images.device)].to(self.device, non_blocking=True)


def check_data(
    images: Images,
    labels: Integers,
    *,
    weights: Floats | None,
    targets: Floats | None,
    train_indices: Integers,
    validation_indices: Integers,
    class_count: int,
    config: TrainConfig,
    device: str | torch.device | None,
) -> TrainData:
    """Check the arguments of `ml.train.train` against each other and put the data on the device."""
    pixels = hide_region(check_images(images, config), config.mask)
    count = pixels.shape[0]
    known = _to_tensor(labels, torch.int64)
    if known.shape != (count,):
        raise ValueError(f"labels must have one entry for each of the {count} images, not shape {tuple(known.shape)}")
    training = _check_indices(train_indices, known, class_count, "train_indices")
    validation = _check_indices(validation_indices, known, class_count, "validation_indices")
    if len(training) == 0:
        raise ValueError("there is no image to train on")
    if config.processes > 1 and len(training) < 2 * config.processes:
        raise ValueError(f"{config.processes} processes need {2 * config.processes} training images, or use fewer")
    if config.patience and len(validation) == 0:
        raise ValueError("patience needs validation images")
    balanced = _weigh(known, training, weights, class_count, config.class_weighting)
    soft = None if targets is None else _check_targets(targets, training, (count, class_count))
    place = pick_device(device)
    return TrainData(
        images=_place(pixels, place),
        labels=known.to(place),
        weights=balanced.to(place),
        targets=None if soft is None else soft.to(place),
        train_indices=training,
        validation_indices=validation,
        class_count=class_count,
        device=place,
        fingerprint=_fingerprint(known, balanced, training, validation, *([] if soft is None else [soft])),
    )


def _to_tensor(values: Tensor | NDArray[Any], dtype: torch.dtype) -> Tensor:
    if isinstance(values, np.ndarray):
        values = torch.from_numpy(values.copy())
    return values.to("cpu", dtype)


def _check_indices(indices: Integers, labels: Tensor, class_count: int, name: str) -> Tensor:
    rows = _to_tensor(indices, torch.int64)
    if rows.ndim != 1 or bool(((rows < 0) | (rows >= len(labels))).any()):
        raise ValueError(f"{name} must be a list of rows between 0 and {len(labels) - 1}")
    given = labels[rows]
    if bool(((given < 0) | (given >= class_count)).any()):
        raise ValueError(f"{name} holds images whose label is not one of the {class_count} classes")
    return rows


def _weigh(labels: Tensor, rows: Tensor, weights: Floats | None, class_count: int, weighting: str) -> Tensor:
    """Weights (N,) of the images in the loss, with mean 1 over the training rows."""
    out = torch.ones(len(labels)) if weights is None else _to_tensor(weights, torch.float32)
    if out.shape != labels.shape or not bool((torch.isfinite(out) & (out >= 0)).all()) or not bool(out[rows].sum() > 0):
        raise ValueError("weights must be one finite number for each image, none negative and not all zero")
    if weighting == "balanced":
        totals = torch.zeros(class_count).index_add_(0, labels[rows], out[rows])  # (K,)
        shares = torch.where(totals > 0, 1 / totals.clamp(min=1e-12), 0)
        out = out * shares[labels.clamp(min=0)]
    return out / out[rows].mean()


def _check_targets(targets: Floats, rows: Tensor, shape: tuple[int, int]) -> Tensor:
    """Targets with nothing where no training row is, so that what stands there makes no other training."""
    given = _to_tensor(targets, torch.float32)
    if tuple(given.shape) != shape:
        raise ValueError(f"targets must be one row for each image and one column for each class, {shape}")
    sums = given[rows].sum(1)
    if not bool(((given[rows] >= 0).all(1) & ((sums - 1).abs() < 1e-3)).all()):
        raise ValueError("targets of training images must be probabilities: none negative, each row with the sum 1")
    return torch.zeros(shape).index_copy_(0, rows, given[rows] / sums.unsqueeze(1))


def _place(pixels: Tensor, device: torch.device) -> Tensor:
    """The whole data set on the device if it fits in half of its free memory, else pinned memory of the host."""
    if device.type != "cuda":
        return pixels.to(device)
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return pixels.to(device) if pixels.nbytes < free_bytes / 2 else pixels.pin_memory()


def _fingerprint(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def measure_pixels(images: Tensor, indices: Tensor, *, chunk: int = 4096) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over the rows `indices`, values 0 to 255; a flat channel has std 1.

    images: uint8 (N, C, H, W). indices: int64 (M,), M >= 1. Returns two float32 (C,) on the CPU.
    Exact but for the last rounding, whatever the threads: sums of whole numbers.
    """
    channels, height, width = images.shape[1:]
    totals, squares = [0] * channels, [0] * channels
    for rows in indices.split(chunk):
        pixels = images[rows.to(images.device)].to(torch.int64)
        totals = [a + b for a, b in zip(totals, pixels.sum((0, 2, 3)).tolist(), strict=True)]
        squares = [a + b for a, b in zip(squares, pixels.square().sum((0, 2, 3)).tolist(), strict=True)]
    count = len(indices) * height * width
    variances = [(count * square - total**2) / count**2 for total, square in zip(totals, squares, strict=True)]
    stds = [math.sqrt(variance) or 1.0 for variance in variances]
    return torch.tensor([total / count for total in totals]), torch.tensor(stds)


def draw_batches(data: TrainData, config: TrainConfig, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the rows of each step of one epoch: int64 (B,) where the images are, in an order that `generator` draws."""
    count = len(data.train_indices)
    passes, steps = plan_passes(config, count)
    for _ in range(passes):
        order = _draw_order(data, config, generator)
        if count == 1:
            order = order.repeat(2)  # batch normalisation needs two values
        yield from order.to(data.images.device).tensor_split(steps)  # one copy for a pass, not one for a step


def _draw_order(data: TrainData, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """As many rows as there are training images: each once, or of each class equally many, in a drawn order."""
    rows = data.train_indices
    if config.sampling == "balanced":
        rows = _draw_alike(rows, data.labels.cpu()[rows], generator)
    return rows[torch.randperm(len(rows), generator=generator)]


def _draw_alike(rows: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Of each class its share of the rows, within one: whole passes over the class, and a drawn part of another."""
    own = [rows[labels == label] for label in labels.unique().tolist()]
    shares = [len(rows) // len(own) + (place < len(rows) % len(own)) for place in range(len(own))]
    drawn = []
    for members, share in zip(own, shares, strict=True):
        passes = [torch.randperm(len(members), generator=generator) for _ in range(-(-share // len(members)))]
        drawn += [members[torch.cat(passes)[:share]]] if passes else []
    return torch.cat(drawn)


def steps_per_epoch(data: TrainData, config: TrainConfig) -> int:
    """Optimiser steps in one epoch."""
    passes, steps = plan_passes(config, len(data.train_indices))
    return passes * steps


def images_per_epoch(data: TrainData, config: TrainConfig) -> int:
    """Images trained on in one epoch, each pass counted."""
    count = len(data.train_indices)
    return plan_passes(config, count)[0] * max(2, count)
