"""Images made worse in five ways and several strengths each, to see what a model's accuracy rests on.

After Hendrycks & Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, with
strengths in units that mean the same for every image size: shares of the side, of the range, degrees, JPEG quality.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Corruption:
    """One way of making images worse. Strength 0 is the image as it is and not among `strengths`."""

    title: str
    unit: str  # what a strength counts
    strengths: tuple[float, ...]  # ascending, with 0 left out
    apply: Callable[[Tensor, float, torch.Generator], Tensor]  # float32 (N, C, H, W), 0 to 255, to the same


def corrupt(images: Tensor, name: str, strength: float, *, generator: torch.Generator) -> Tensor:
    """Return the images made worse: uint8 (N, C, H, W), same shape and device. The images given are not changed.

    name: one of CORRUPTIONS. strength: in its unit; 0 gives the images as they are.
    Deterministic for a CPU generator in the same state. Cost: 10,000 to 100,000 images of 48 px a second, JPEG 20,000.
    Raises KeyError for an unknown name.
    """
    worse = CORRUPTIONS[name].apply
    if strength == 0 or len(images) == 0:
        return images.clone()
    return worse(images.to(torch.float32), strength, generator).round().clamp_(0, 255).to(torch.uint8)


def blur(images: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:  # noqa: ARG001
    """Gaussian blur with a standard deviation of `strength` percent of the shorter side; edges are mirrored.

    images: float32 (N, C, H, W). Returns the same shape.
    """
    channels, height, width = images.shape[1:]
    sigma = strength / 100 * min(height, width)
    reach = min(math.ceil(3 * sigma), min(height, width) - 1)
    places = torch.arange(-reach, reach + 1, dtype=torch.float32)
    weights = torch.exp(-places.square() / (2 * sigma * sigma))
    kernel = (weights / weights.sum()).to(images.device).expand(channels, 1, -1)  # (C, 1, 2 * reach + 1)
    padded = functional.pad(images, (reach, reach, reach, reach), mode="reflect")
    across = functional.conv2d(padded, kernel.unsqueeze(2), groups=channels)
    return functional.conv2d(across, kernel.unsqueeze(3), groups=channels)


def _add_noise(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    noise = torch.randn(images.shape, generator=generator) * (255 * strength / 100)
    return images + noise.to(images.device)


def _change_brightness(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:  # noqa: ARG001
    return images + 255 * strength / 100


def _compress(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:  # noqa: ARG001
    """Through JPEG with quality 100 - strength, each image alone."""
    pixels = images.round().clamp(0, 255).to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()  # (N, H, W, C)
    options = [cv2.IMWRITE_JPEG_QUALITY, round(100 - strength)]
    out = np.empty_like(pixels)
    for row, picture in enumerate(pixels):
        _, data = cv2.imencode(".jpg", picture, options)
        out[row] = np.reshape(np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED)), picture.shape)
    return torch.from_numpy(out).permute(0, 3, 1, 2).to(images.device, torch.float32)  # (N, C, H, W)


def _rotate(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Turned by `strength` degrees, each to a side that is drawn for it; corners are mirrored in."""
    signs = torch.where(torch.rand(len(images), generator=generator) < 0.5, -1.0, 1.0)
    angles = signs * math.radians(strength)  # (N,)
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros(len(images))
    matrices = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3).to(images.device)
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)  # (N, H, W, 2)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


CORRUPTIONS: dict[str, Corruption] = {
    "blur": Corruption("Blur", "% of the side", (1, 2, 3, 4, 6), blur),
    "noise": Corruption("Noise", "% of the range", (4, 8, 12, 18, 25), _add_noise),
    "brightness": Corruption("Brightness", "% of the range", (-40, -20, -10, 10, 20, 40), _change_brightness),
    "jpeg": Corruption("JPEG", "100 − quality", (20, 50, 70, 85, 95), _compress),
    "rotation": Corruption("Rotation", "degrees, either way", (5, 10, 20, 30, 45), _rotate),
}
