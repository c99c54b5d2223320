"""Maps of where a run looks, for every image of its data set, and the test whether they are true.

The images that somebody waits for come first: the one that was asked for, then those in open queues. What is made is
kept every few seconds, so that the first maps are seen at once and a killed job goes on where it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from ml.explain import STEPS, choose_layer, list_layers, map_saliency, measure_faithfulness
from ml.predict import Model, load_model
from workbench.config import Home
from workbench.errors import Invalid, NotFound
from workbench.models import Dataset, utc_now
from workbench.queries import explaining
from workbench.queries import runs as queries
from workbench.services.evaluations import judge
from workbench.services.saliency import (
    Saliency,
    describe_test,
    judge_test,
    load_maps,
    read_test,
    save_maps,
    save_test,
)
from workbench.services.versions import VersionRow, states_at
from workbench.worker.context import Context
from workbench.worker.pictures import load_pictures

TESTED, CHOSEN_ON = 300, 150  # images that the maps are tested on, and others that the layer is chosen on
SEED = 20_171  # the same run, the same test
_FIRST, _CHUNK = 64, 1000  # images; the first few are kept at once


@dataclass(frozen=True)
class _Order:
    """What the job works on, read once. rows: in the order in which they are mapped."""

    rows: list[VersionRow]
    measured: list[VersionRow]  # images that the run had not seen
    class_ids: list[int]  # of the run's columns
    split: str


def explain_run(context: Context, *, run: int, dataset: str = "", image: int | None = None) -> dict[str, Any]:
    """Test the maps of a run and make those that are missing. image: the one that somebody waits for.

    dataset: jobs name it; the run says it itself.
    """
    with context.database.read() as session:
        order = _read_order(session, context.home, run, first=image)
    model = open_model(context.home, run)
    test = read_test(context.home, run) or _test(context, run, model, order)
    saliency = _map_all(context, run, model, order, layer=test["layer"])
    return {"run": run, "dataset": dataset, "images": len(saliency.image_ids), **test, "verdict": judge_test(test).kind}


def _read_order(session: Session, home: Home, run_id: int, *, first: int | None) -> _Order:
    run = queries.get_run(session, run_id)
    judged = judge(session, home, run)
    dataset = session.get_one(Dataset, run.dataset_id)
    rows = {row.image_id: row for row in states_at(session, dataset)}
    waiting = explaining.list_waiting_images(session, dataset_id=dataset.id)
    wanted = dict.fromkeys([*([first] if first else []), *waiting, *rows])
    return _Order(
        rows=[rows[image_id] for image_id in wanted if image_id in rows],
        measured=[rows[image_id] for image_id in judged.image_ids.tolist() if image_id in rows],
        class_ids=[int(cls["id"]) for cls in run.config["classes"]],
        split=judged.split,
    )


def open_model(home: Home, run_id: int) -> Model:
    """NotFound in a sentence where the run keeps no model of its own: lost, or made elsewhere."""
    try:
        return load_model(home.run_folder(run_id) / "checkpoint.pt")
    except (FileNotFoundError, ValueError) as error:
        raise NotFound(f"Run {run_id} has no model of its own here, or it is damaged; train again.") from error


def _test(context: Context, run_id: int, model: Model, order: _Order) -> dict[str, Any]:
    """On images that the run has not seen; the layer is chosen on others than those that are tested on."""
    rng = np.random.default_rng(SEED)
    drawn = [order.measured[place] for place in rng.permutation(len(order.measured))[: TESTED + CHOSEN_ON]]
    context.progress(0, len(order.rows), "Choosing where to look")
    images, kept = load_pictures(context.home, drawn, model.config)
    if len(kept) < 4:
        raise Invalid(f"Run {run_id} has fewer than four images in {order.split} to test its maps on; add some.")
    part = len(kept) * CHOSEN_ON // (TESTED + CHOSEN_ON)
    try:
        layer = choose_layer(model, images[:part], rng=rng) if part else list_layers(model)[0]
    except ValueError as error:
        raise Invalid(f"Run {run_id} cannot be explained: {error}.") from error
    context.progress(0, len(order.rows), "Testing whether the maps are true")
    maps, columns = map_saliency(model, images[part:], layer=layer)
    found = measure_faithfulness(model, images[part:], maps, columns, rng=rng)
    test = describe_test(
        found.own,
        found.random,
        found.other,
        layer=layer,
        grid=maps.shape[1],
        split=order.split,
        made_at=utc_now().isoformat(),
        fractions=[step / STEPS for step in range(STEPS + 1)],
        deletion={kind: curve.tolist() for kind, curve in found.deletion.items()},
        insertion={kind: curve.tolist() for kind, curve in found.insertion.items()},
    )
    save_test(context.home, run_id, test)
    return test


def _map_all(context: Context, run_id: int, model: Model, order: _Order, *, layer: str) -> Saliency:
    """Kept after the first few and whenever there are twice as many, so that writing costs little in all."""
    saliency = load_maps(context.home, run_id) or _map(context.home, model, [], order.class_ids, layer=layer)
    todo = [row for row in order.rows if saliency.find(row.image_id) is None]
    kept, done = len(saliency.image_ids), len(order.rows) - len(todo)
    for chunk in _cut(todo):
        context.progress(done, len(order.rows), "Mapping where the run looks")
        saliency = saliency.add(_map(context.home, model, chunk, order.class_ids, layer=layer))
        done += len(chunk)
        if len(saliency.image_ids) >= 2 * kept:
            save_maps(context.home, run_id, saliency)
            kept = len(saliency.image_ids)
    save_maps(context.home, run_id, saliency)
    context.progress(len(order.rows), len(order.rows), "")
    return saliency


def _cut(rows: Sequence[VersionRow]) -> list[Sequence[VersionRow]]:
    starts = [0, *range(_FIRST, len(rows), _CHUNK)]
    return [rows[start:end] for start, end in zip(starts, [*starts[1:], len(rows)], strict=True) if end > start]


def _map(home: Home, model: Model, rows: Sequence[VersionRow], class_ids: Sequence[int], *, layer: str) -> Saliency:
    images, kept = load_pictures(home, rows, model.config)
    maps, columns = map_saliency(model, images, layer=layer)
    ids: NDArray[np.int64] = np.array([row.image_id for row in kept], np.int64)
    order = np.argsort(ids)
    return Saliency(
        image_ids=ids[order],
        maps=np.round(255 * maps[order]).astype(np.uint8),
        class_ids=np.array(class_ids, np.int64)[columns[order]],
    )
