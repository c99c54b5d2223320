"""Probabilities and features of images from a checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml.checkpoints import read_checkpoint
from ml.configs import TrainConfig, read_config
from ml.devices import autocast, pick_device, pick_precision
from ml.ensembles import make_ensemble
from ml.models import make_net
from ml.models.classifier import Classifier
from ml.occlude import hide_region
from ml.progress import Ticker

Images = Tensor | NDArray[np.uint8]


@dataclass(frozen=True)
class Model:
    """A trained model with what it needs to see images as it saw them in training."""

    net: Classifier  # in evaluation mode, on `device`
    config: TrainConfig
    class_count: int
    mean: Tensor  # float32 (1, C, 1, 1), of the training images, 0 to 255
    std: Tensor  # likewise, never 0
    device: torch.device
    precision: str  # "float32" or "bfloat16"

    @property
    def feature_count(self) -> int:
        """Width of the penultimate layer."""
        return self.net.backbone.feature_count


def load_model(checkpoint: Path, *, device: str | torch.device | None = None) -> Model:
    """Return the model of a checkpoint, finished or not (of an unfinished one: as after its last whole epoch).

    Reads tensors and plain values only (`weights_only=True`). Raises FileNotFoundError, or ValueError if the file is
    damaged, of another version or asks for a device that is not here.
    """
    contents = read_checkpoint(checkpoint)
    config, place = read_config(contents["config"]), pick_device(device)
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are thrown away
        net = make_ensemble(contents) if "members" in contents else make_net(config, contents["class_count"])
    net.load_state_dict(contents["model"])
    net.to(place, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    mean, std = (torch.tensor(contents[name]).view(1, -1, 1, 1).to(place) for name in ("mean", "std"))
    precision = pick_precision(place, config.precision)
    return Model(net, config, contents["class_count"], mean, std, place, precision)


def predict(
    model: Model,
    images: Images,
    *,
    batch_size: int = 512,
    on_batch: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return class probabilities and penultimate features of images, masked and normalised as in training.

    images: uint8 (N, C, S, S) with the channels and size of `model.config`; N may be 0.
    Returns probs float32 (N, K), rows sum to 1, and features float32 (N, D).
    `on_batch(done, total)` is called at most four times a second and at the end.
    Deterministic for equal batches and threads. Cost: a third of a training pass; memory of one batch and the result.
    Raises ValueError if the images have another shape or type.
    """
    pixels = check_images(images, model.config)
    count = pixels.shape[0]
    probs = np.empty((count, model.class_count), np.float32)
    features = np.empty((count, model.feature_count), np.float32)
    ticker = Ticker(on_batch, count)
    for start in range(0, count, batch_size):
        rows = slice(start, start + batch_size)
        logits, batch_features = _forward(model, hide_region(pixels[rows], model.config.mask))
        probs[rows] = logits.softmax(1).cpu().numpy()
        features[rows] = batch_features.cpu().numpy()
        ticker.tick(min(start + batch_size, count))
    return probs, features


def _forward(model: Model, pixels: Tensor) -> tuple[Tensor, Tensor]:
    inputs = normalise(pixels.to(model.device), model.mean, model.std)
    with torch.inference_mode(), autocast(model.device, model.precision):
        return model.net.forward_both(inputs)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return float32 (B, C, H, W), channels last in memory, with `mean` 0 and `std` 1 over the training images."""
    return ((images.to(torch.float32) - mean) / std).contiguous(memory_format=torch.channels_last)


def check_images(images: Images, config: TrainConfig) -> Tensor:
    """Return images as a uint8 tensor (N, C, S, S), without a copy where the memory is writable.

    Raises ValueError in one sentence if type or shape are not those of `config`.
    """
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(images if images.flags.writeable else images.copy())
    wanted = (config.channels, config.image_size, config.image_size)
    if images.dtype != torch.uint8 or images.ndim != 4 or tuple(images.shape[1:]) != wanted:
        found = f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
        raise ValueError(f"images must be uint8 (N, {', '.join(map(str, wanted))}), not {found}")
    return images
