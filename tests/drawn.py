"""Data sets of drawn images with their files, small enough to train on in a second."""

import io

import numpy as np
from PIL import Image as Picture
from sqlalchemy.orm import Session

from workbench import storage
from workbench.config import Home
from workbench.models import Dataset, Image, Import
from workbench.services import datasets, decisions, users
from workbench.services.decisions import Line

CLASSES = ("rows", "columns", "blank")
SPLITS = ("train", "train", "train", "validation", "test")


def draw_png(name: str, *, seed: int, size: int = 16, colour: bool = False) -> bytes:
    """Stripes across, stripes down, or nothing, under noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 90, (size, size))
    stripes = (np.arange(size) // 2 % 2 == 0) * 120
    pixels += stripes[:, None] if name == "rows" else stripes[None, :] if name == "columns" else 0
    values = pixels.astype(np.uint8)
    if colour:
        values = np.stack([values, values // 2, values // 3], axis=-1)
    target = io.BytesIO()
    Picture.fromarray(values).save(target, "PNG")
    return target.getvalue()


def make_stripes(
    session: Session,
    home: Home,
    *,
    per_class: int = 20,
    splits: tuple[str | None, ...] = SPLITS,
    classes: tuple[str, ...] = CLASSES,
    name: str = "stripes",
    colour: bool = False,
) -> Dataset:
    """`per_class` images of each class, dealt to `splits` in turn, with the log line of their import."""
    dataset = datasets.ensure_dataset(session, name)
    made = datasets.ensure_classes(session, dataset, list(classes))
    source = Import(dataset_id=dataset.id, source="drawn", format="folder", options={}, status="done")
    session.add(source)
    session.flush()
    for class_number, cls in enumerate(made.values()):
        for number in range(per_class):
            png = draw_png(cls.name, seed=1000 * class_number + number, colour=colour)
            add_image(
                session, home, dataset, source, path=f"{cls.name}/{number:03d}.png", data=png, label_id=cls.id,
                split=splits[number % len(splits)],
            )  # fmt: skip
    line = Line("import", detail={"import": source.id})
    decisions.submit(session, dataset=dataset, user=users.ensure_admin(session), lines=[line])
    return dataset


def add_image(
    session: Session,
    home: Home,
    dataset: Dataset,
    source: Import,
    *,
    path: str,
    data: bytes,
    label_id: int | None,
    split: str | None,
) -> Image:
    from ml.images import inspect

    facts = inspect(data)
    storage.put_object(home, data)
    image = Image(
        dataset_id=dataset.id, import_id=source.id, path=path, location="object", file_sha256=facts.file_sha256,
        pixel_sha256=facts.pixel_sha256, width=facts.width, height=facts.height, mode=facts.mode,
        media_type=facts.media_type, size_bytes=facts.size_bytes, first_label_id=label_id, base_label_id=label_id,
        label_id=label_id, first_split=split, split=split,
    )  # fmt: skip
    session.add(image)
    session.flush()
    return image


def draw(seed: int, *, height: int = 48, width: int = 48) -> np.ndarray:
    """A grey picture with structure at several sizes, as photographs have."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width))
    for cells in (3, 6, 12, 24):
        coarse = Picture.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
        total += np.asarray(coarse.resize((width, height), Picture.Resampling.BICUBIC)) / np.sqrt(cells)
    return np.clip(128 + 60 * total, 0, 255).astype(np.uint8)


def altered(picture: np.ndarray) -> dict[str, np.ndarray]:
    """Copies of a grey picture as they are met in the wild."""
    height, width = picture.shape
    rng = np.random.default_rng(1)
    larger = Picture.fromarray(picture).resize((round(width * 1.1), round(height * 1.1)), Picture.Resampling.BICUBIC)
    masked = picture.copy()
    masked[round(height * 0.58) :] = 0
    return {
        "brighter": np.clip(picture * 0.8 + 40, 0, 255).astype(np.uint8),
        "noisy": np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8),
        "shifted": np.roll(picture, 2, axis=1),
        "enlarged": np.asarray(larger)[2 : height + 2, 2 : width + 2],
        "smaller": np.asarray(Picture.fromarray(picture).resize((width // 2, height // 2))),
        "mirrored": np.ascontiguousarray(picture[:, ::-1]),
        "masked": masked,
    }
