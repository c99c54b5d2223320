"""Packages that bring architectures, as installed: a module and the entry points that name its functions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NETS = """
import torch
from torch import nn

def make_tiny(channels, image_size):
    return nn.Sequential(nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def make_wide(channels, image_size):  # takes images of 48 pixels and more
    return nn.Sequential(nn.Conv2d(channels, 4, 40), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def make_grid(channels, image_size):
    return nn.Conv2d(channels, 6, 3)

def make_nothing(channels, image_size):
    return "a network"

compact = make_tiny
"""
POINTS = {
    "compact": "lab_nets:compact",
    "lab_broken": "lab_nets:missing",
    "lab_grid": "lab_nets:make_grid",
    "lab_nothing": "lab_nets:make_nothing",
    "lab_tiny": "lab_nets:make_tiny",
    "lab_wide": "lab_nets:make_wide",
}


@contextmanager
def installed_nets(folder: Path, points: dict[str, str] | None = None) -> Iterator[None]:
    """Inside, the package lab-nets 1.2 is installed."""
    info = folder / "lab_nets-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-nets\nVersion: 1.2\n")
    lines = [f"{name} = {place}\n" for name, place in (points or POINTS).items()]
    (info / "entry_points.txt").write_text("[workbench.architectures]\n" + "".join(lines))
    (folder / "lab_nets.py").write_text(NETS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield
