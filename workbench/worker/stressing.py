"""Measuring a run on images made worse and on images that lack a region."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy.orm import Session
from torch import Tensor

from ml.corrupt import CORRUPTIONS, Corruption, corrupt
from ml.occlude import BANDS, REGIONS, hide_region, measure_share
from ml.predict import Model, predict
from workbench.config import Home
from workbench.errors import Invalid
from workbench.models import Dataset, utc_now
from workbench.models.states import merge_roots
from workbench.queries import datasets
from workbench.queries import runs as queries
from workbench.services.evaluations import judge
from workbench.services.stress import measure, save_stress
from workbench.services.versions import VersionRow, states_at
from workbench.worker.context import Context
from workbench.worker.explaining import open_model
from workbench.worker.pictures import load_pictures

MOST = 2000  # images: their interval is about two points either way
SEED = 20_172  # the same run, the same noise

Right = NDArray[np.bool_]


@dataclass(frozen=True)
class _Order:
    """What is measured, read once. labels: class id of each row; columns: class id of each of the run's columns."""

    rows: list[VersionRow]
    labels: dict[int, int]
    columns: NDArray[np.int64]
    split: str


class _Bench:
    """The images, and which of them the run gets right once something was done to them."""

    def __init__(self, context: Context, model: Model, order: _Order) -> None:
        pixels, kept = load_pictures(context.home, order.rows, model.config)
        self.images = torch.from_numpy(pixels)
        self._labels = np.array([order.labels[row.image_id] for row in kept], np.int64)
        self._columns, self._context, self.model = order.columns, context, model
        self._done, self._total = 0, 1 + len(REGIONS) + len(BANDS) + sum(len(c.strengths) for c in CORRUPTIONS.values())

    def ask(self, change: Callable[[Tensor], Tensor], words: str) -> Right:
        self._context.progress(self._done, self._total, words)
        self._done += 1
        probs, _ = predict(self.model, change(self.images))
        return np.asarray(self._columns[probs.argmax(1)] == self._labels)


def stress_run(context: Context, *, run: int, dataset: str = "") -> dict[str, Any]:
    """Accuracy of a run under every corruption and without each region, on up to 2,000 images that it had not seen.

    dataset: jobs name it; the run says it itself. Run again, it is measured anew, by the newest labels.
    """
    with context.database.read() as session:
        order = _read_order(session, context.home, run)
    model = open_model(context.home, run)
    bench = _Bench(context, model, order)
    if not len(bench.images):
        raise Invalid(f"No image of {order.split} can be read that run {run} had not seen; add some.")
    plain = bench.ask(lambda images: images, "As they are")
    found = {
        "run": run,
        "dataset": dataset,
        "split": order.split,
        "n": len(plain),
        "made_at": utc_now().isoformat(),
        "plain": measure(plain, plain),
        "curves": [_trace(bench, name, one, plain) for name, one in CORRUPTIONS.items()],
        "regions": [_hide(bench, mask, plain) for mask in REGIONS],
        "bands": [_hide(bench, mask, plain) for mask in BANDS],
    }
    save_stress(context.home, run, found)
    return found


def _read_order(session: Session, home: Home, run_id: int) -> _Order:
    run = queries.get_run(session, run_id)
    judged = judge(session, home, run)
    drawn = np.sort(np.random.default_rng(SEED).permutation(len(judged.image_ids))[:MOST])
    ids = judged.image_ids[drawn].tolist()
    dataset = session.get_one(Dataset, run.dataset_id)
    roots = merge_roots(datasets.list_classes(session, dataset.id))
    columns = [int(cls["id"]) for cls in run.config["classes"]]
    return _Order(
        rows=states_at(session, dataset, image_ids=ids),
        labels={
            image_id: judged.class_ids[label]
            for image_id, label in zip(ids, judged.labels[drawn].tolist(), strict=True)
        },
        columns=np.array([roots.get(class_id, class_id) for class_id in columns], np.int64),
        split=judged.split,
    )


def _trace(bench: _Bench, name: str, one: Corruption, plain: Right) -> dict[str, Any]:
    """One curve. The same noise in every strength, so that they differ by strength alone."""
    points = []
    for strength in one.strengths:
        generator = torch.Generator().manual_seed(SEED)
        worsen = partial(corrupt, name=name, strength=strength, generator=generator)
        right = bench.ask(worsen, f"{one.title} {strength:g}")
        points.append({"strength": strength, **measure(right, plain)})
    return {"name": name, "title": one.title, "unit": one.unit, "points": points}


def _hide(bench: _Bench, mask: str, plain: Right) -> dict[str, Any]:
    """A region in the colour of the training images' mean: less of a surprise to the run than black."""
    fill = bench.model.mean.flatten().cpu()
    right = bench.ask(lambda images: hide_region(images, mask, fill=fill), f"Without {mask}")
    return {"mask": mask, "share": measure_share(mask), **measure(right, plain)}
