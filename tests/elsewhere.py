"""Predictions as a model elsewhere would make them, and an architecture that another package brings."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sqlalchemy import select

from workbench.db import Database
from workbench.models import Dataset, Image
from workbench.queries import datasets

NETWORKS = '''
import torch
from torch import nn


class Net(nn.Module):
    """Two convolutions. frozen: the first of them never learns. restless: mirrors at random, whatever the mode."""

    def __init__(self, channels, frozen=False, restless=False):
        super().__init__()
        self.first = nn.Conv2d(channels, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 16, 3, padding=1)
        self.first.requires_grad_(not frozen)
        self.restless = restless

    def forward(self, images):
        if self.restless:
            images = images + torch.randn_like(images)
        hidden = torch.relu(self.second(torch.relu(self.first(images))))
        return torch.cat([hidden.mean((2, 3)), hidden.std((2, 3))], 1)


def make_frozen(channels, image_size):
    return Net(channels, frozen=True)


def make_restless(channels, image_size):
    return Net(channels, restless=True)
'''


def write_package(folder: Path) -> Path:
    """An installed package with the architectures `frozen` and `restless`; put the folder on sys.path."""
    (folder / "elsewhere_networks.py").write_text(NETWORKS)
    info = folder / "elsewhere_networks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere-networks\nVersion: 1.0\n")
    lines = [f"{name} = elsewhere_networks:make_{name}" for name in ("frozen", "restless")]
    (info / "entry_points.txt").write_text("\n".join(["[workbench.architectures]", *lines, ""]))
    return folder


class Elsewhere:
    """What a model says about the images of some splits of a data set, by path. probs: (N, K), one row an image."""

    def __init__(self, database: Database, name: str, *, splits: Sequence[str] = ("test",), right: float = 0.8) -> None:
        with database.read() as session:
            dataset = session.scalars(select(Dataset).where(Dataset.name == name)).one()
            classes = datasets.list_open_classes(session, dataset.id)
            query = select(Image.path, Image.label_id).where(Image.dataset_id == dataset.id, Image.split.in_(splits))
            images = list(session.execute(query.order_by(Image.id)))
        column = {cls.id: index for index, cls in enumerate(classes)}
        self.names = [cls.name for cls in classes]
        self.paths = [row.path for row in images]
        self.labels = np.array([column[row.label_id] for row in images])
        self.probs = draw_probs(self.labels, len(classes), right=right, seed=3)

    def write(self, path: Path, **more: Sequence[object]) -> Path:
        """As CSV; more: further columns."""
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["path", *self.names, *more])
            for number, name in enumerate(self.paths):
                rows.writerow([name, *self.probs[number], *(column[number] for column in more.values())])
        return path


def draw_probs(labels: np.ndarray, count: int, *, right: float, seed: int) -> np.ndarray:
    """Probabilities of a model that is right so often, and about as sure as that."""
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(labels)) < right, labels, rng.integers(0, count, len(labels)))
    found: np.ndarray = (1 - right) * rng.dirichlet(np.full(count, 20.0), len(labels)) + right * np.eye(count)[said]
    return found
