"""Rich pictures and copies of them that any detector of near copies should hold for the same."""

import io
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageFilter
from sqlalchemy.orm import Session

from tests.drawn import add_image
from workbench.config import Home
from workbench.models import Dataset, Import
from workbench.services import datasets

SIDE = 64


def draw(seed: int) -> Picture.Image:
    """Soft clouds in four sizes and a dozen discs, like no other seed's."""
    rng = np.random.default_rng(seed)
    total = np.zeros((SIDE, SIDE), np.float32)
    for cells in (3, 6, 12, 24):
        noise = Picture.fromarray(rng.integers(0, 256, (cells, cells), np.uint8))
        total += np.asarray(noise.resize((SIDE, SIDE), Picture.Resampling.BICUBIC), np.float32) / cells**0.6
    y, x = np.mgrid[:SIDE, :SIDE]
    for _ in range(12):
        centre, radius, ink = rng.integers(4, SIDE - 4, 2), rng.integers(3, 9), rng.normal(0, 45)
        total += ink * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)
    spread = (total - total.min()) / (total.max() - total.min())
    return Picture.fromarray((30 + 180 * spread).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))


def brighten(picture: Picture.Image) -> Picture.Image:
    return picture.point(lambda level: min(255, round(1.1 * level + 12)))


def mirror(picture: Picture.Image) -> Picture.Image:
    return picture.transpose(Picture.Transpose.FLIP_LEFT_RIGHT)


def crop(picture: Picture.Image) -> Picture.Image:
    """The inner 96 %."""
    return picture.resize((SIDE, SIDE), Picture.Resampling.BICUBIC, box=(1.28, 1.28, SIDE - 1.28, SIDE - 1.28))


def blur(picture: Picture.Image) -> Picture.Image:
    return picture.filter(ImageFilter.GaussianBlur(0.5))


def alter(
    picture: Picture.Image, *, mirrored: bool, zoom: float, degrees: float, right: float, down: float
) -> Picture.Image:
    """What `ml.dedup.transforms.Transform` says, done: mirror, look at a place beside the middle, turned, enlarged."""
    source = mirror(picture) if mirrored else picture
    turn = np.radians(degrees)
    around = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / zoom
    middle = np.array([SIDE / 2, SIDE / 2])
    corner = middle + np.array([right, down]) * SIDE - around @ middle
    matrix = [*around[0], corner[0], *around[1], corner[1]]
    return source.transform((SIDE, SIDE), Picture.Transform.AFFINE, matrix, Picture.Resampling.BICUBIC)


def png(picture: Picture.Image) -> bytes:
    target = io.BytesIO()
    picture.save(target, "PNG")
    return target.getvalue()


def write(folder: Path, path: str, picture: Picture.Image) -> None:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(png(picture))


def make_gallery(session: Session, home: Home) -> Dataset:
    """Forty pictures, then copies of the first: equal, brighter, softer, mirrored; and two blank ones."""
    dataset = datasets.ensure_dataset(session, "gallery")
    source = Import(dataset_id=dataset.id, source="drawn", format="folder", options={}, status="done")
    session.add(source)
    session.flush()
    first = draw(0)
    pictures = [*(draw(seed) for seed in range(40)), first, brighten(first), blur(first), mirror(first)]
    pictures += [Picture.new("L", (SIDE, SIDE), level) for level in (7, 90)]
    for number, picture in enumerate(pictures):
        add_image(
            session, home, dataset, source, path=f"{number:02d}.png", data=png(picture), label_id=None, split="train"
        )
    return dataset
