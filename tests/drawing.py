"""Small pictures and folders of them, drawn for tests."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def draw(number: int, *, size: int = 8, format_: str = "PNG", colour: bool = False) -> bytes:
    """A picture that no other number has."""
    pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3) if colour else (size, size), np.uint8)
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, format_)
    return target.getvalue()


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder


def write_pets(folder: Path, *, per_class: int = 2) -> Path:
    """train/ and test/ with cats, dogs and owls, all different."""
    files = {}
    for split in ("test", "train"):
        for name in ("cat", "dog", "owl"):
            for number in range(per_class):
                files[f"{split}/{name}/{number}.png"] = draw(len(files))
    return write_files(folder, files)
