"""Random variants of a batch of images, as tensor operations on the whole batch."""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional

LIMITS = {  # largest strength that makes sense
    "flip": 1.0,
    "shift": 1.0,
    "rotation": 180.0,
    "zoom": 0.9,
    "shear": 60.0,
    "brightness": 1.0,
    "contrast": 1.0,
    "erasing": 1.0,
    "erasing_size": 1.0,
}


@dataclass(frozen=True)
class Augmentation:
    """How strongly to vary images. Zero switches a variation off; every draw is uniform within its range."""

    flip: float = 0.5  # probability of a left-right mirror image
    shift: float = 0.05  # at most this fraction of the side, each direction
    rotation: float = 5.0  # at most this many degrees, both ways
    zoom: float = 0.05  # side times or divided by at most 1 + zoom
    shear: float = 0.0  # upright lines lean by at most this many degrees, both ways
    brightness: float = 0.0  # at most this fraction of 255 added or taken
    contrast: float = 0.0  # distance to the image's mean times 1 - contrast to 1 + contrast
    erasing: float = 0.0  # probability that a square of the image is set to the image's mean
    erasing_size: float = 0.35  # side of that square, at most this fraction of the image's side

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value <= LIMITS[name]:
                raise ValueError(f"augment.{name} must be between 0 and {LIMITS[name]:g}, not {value}")


def augment(images: Tensor, strengths: Augmentation, *, generator: torch.Generator) -> Tensor:
    """Return a random variant of each image.

    images: uint8 or float (B, C, H, W) with values 0 to 255, on any device; left as it is.
    Returns float32 of the same shape, device and range. Pixels that come from outside are mirrored in.
    Deterministic for a given CPU `generator`, which is drawn from alike on every device.
    Cost: about 20,000 48x48 images per CPU second; on a GPU one small copy, which nothing waits for.
    """
    out = images.to(torch.float32)
    if out.shape[0] == 0:
        return out
    drawn = _send(_draw(out.shape[0], strengths, generator), out.device)
    out = _move(out, strengths, drawn[:, :6].view(-1, 2, 3))
    out = _change_light(out, strengths, drawn[:, 6], drawn[:, 7])
    return _erase(out, strengths, *drawn[:, 8:].unbind(1))


def _draw(count: int, strengths: Augmentation, generator: torch.Generator) -> Tensor:
    """All that is random in a batch: float32 (count, 8), with erasing (count, 11)."""
    matrices = draw_matrices(count, strengths, generator).view(count, 6)
    factors = 1 + _uniform(count, strengths.contrast, generator)
    offsets = _uniform(count, 255 * strengths.brightness, generator)
    columns = [factors, offsets]
    if strengths.erasing:
        chosen = torch.rand(count, generator=generator) < strengths.erasing
        halves = torch.rand(count, generator=generator) * strengths.erasing_size / 2 * chosen  # 0: nothing is erased
        columns += [halves, *(torch.rand(count, generator=generator) for _ in range(2))]
    return torch.cat([matrices, torch.stack(columns, 1)], 1)


def _send(drawn: Tensor, device: torch.device) -> Tensor:
    """From pinned memory a copy to a GPU runs beside what the GPU does."""
    return drawn.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else drawn.to(device)


def _uniform(count: int, reach: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(count, generator=generator) * 2 - 1) * reach  # (B,) in -reach..reach


def draw_matrices(count: int, strengths: Augmentation, generator: torch.Generator) -> Tensor:
    """Return float32 (count, 2, 3) affine matrices from places in the new image to places in the old one."""
    angles = _uniform(count, math.radians(strengths.rotation), generator)
    scales = (1 + strengths.zoom) ** _uniform(count, 1.0, generator)
    shifts = torch.stack([_uniform(count, 2 * strengths.shift, generator) for _ in range(2)], 1)  # the side is 2 long
    signs = torch.where(torch.rand(count, generator=generator) < strengths.flip, -1.0, 1.0)
    cos, sin = scales * angles.cos(), scales * angles.sin()
    rotations = torch.stack([cos * signs, -sin, sin * signs, cos], 1).view(count, 2, 2)
    if strengths.shear:
        rotations = rotations @ _draw_shears(count, strengths, generator)
    return torch.cat([rotations, shifts.unsqueeze(2)], 2)  # (count, 2, 3)


def _draw_shears(count: int, strengths: Augmentation, generator: torch.Generator) -> Tensor:
    shears = torch.eye(2).repeat(count, 1, 1)  # (count, 2, 2)
    shears[:, 0, 1] = _uniform(count, math.radians(strengths.shear), generator).tan()
    return shears


def _move(images: Tensor, strengths: Augmentation, matrices: Tensor) -> Tensor:
    """Mirror, shear, rotate, zoom and shift in one resampling; only mirror, exactly, if nothing else is asked for."""
    if strengths.shift == strengths.rotation == strengths.zoom == strengths.shear == 0:
        return torch.where(matrices[:, 0, 0].view(-1, 1, 1, 1) < 0, images.flip(3), images)
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)  # (B, H, W, 2)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _change_light(images: Tensor, strengths: Augmentation, factors: Tensor, offsets: Tensor) -> Tensor:
    if strengths.contrast == strengths.brightness == 0:
        return images
    means = images.mean(dim=(1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    return ((images - means) * factors.view(-1, 1, 1, 1) + means + offsets.view(-1, 1, 1, 1)).clamp_(0, 255)


def _erase(images: Tensor, strengths: Augmentation, *square: Tensor) -> Tensor:
    """square: half of its side, and its middle downwards and across, all as fractions of the image's side."""
    if strengths.erasing == 0:
        return images
    halves, middles_down, middles_across = square
    rows = _is_within(images.shape[2], middles_down, halves)
    columns = _is_within(images.shape[3], middles_across, halves)
    mask = (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)  # (B, 1, H, W)
    return torch.where(mask, images.mean(dim=(2, 3), keepdim=True), images)


def _is_within(side: int, centres: Tensor, halves: Tensor) -> Tensor:
    places = (torch.arange(side, device=centres.device) + 0.5) / side  # (side,)
    return (places - centres.unsqueeze(1)).abs() < halves.unsqueeze(1)  # (B, side)
