"""A run whose probabilities are the mean of other runs'. It trains nothing, and knows what its members know."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.configs import TrainConfig
from ml.ensembles import write_ensemble
from ml.predict import load_model, predict
from workbench.errors import NotFound
from workbench.services.predictions import load_predictions
from workbench.worker.context import Context
from workbench.worker.fitted import Fitted
from workbench.worker.materials import Material, Order


def name_taught(order: Order, material: Material) -> Material:
    """The material with what the members were trained on as what this run was trained on."""
    ids = np.array([row.image_id for row in material.rows], np.int64)
    taught = np.flatnonzero(np.isin(ids, np.array(sorted(order.inherited), np.int64)))
    usable = taught[material.labels[taught] >= 0]
    return replace(material, training=usable, left_out=np.empty(0, np.int64))


def fit_ensemble_run(context: Context, order: Order, config: TrainConfig, material: Material) -> Fitted:  # noqa: ARG001 - called like the others
    """Write the members as one checkpoint and ask it about every image.

    Where each member has out-of-sample probabilities of an image, as from folds, their mean is out of sample too.
    """
    started_s = time.monotonic()
    folder, members = context.home.run_folder(order.run_id), list(order.config["members"])
    model = load_model(write_ensemble(_list_checkpoints(context, members), folder))
    images = material.images[: len(material.rows)]
    probs, features = predict(
        model, images, on_batch=lambda done, total: context.progress(done, total, "Asking the members")
    )
    crossed = _average_crossed(context, members, material, probs)
    seconds = time.monotonic() - started_s
    return Fitted(probs, features, images_per_second=len(images) / max(seconds, 1e-6), crossed=crossed, seconds=seconds)


def _list_checkpoints(context: Context, members: Sequence[int]) -> list[Path]:
    found = [context.home.run_folder(member) / "checkpoint.pt" for member in members]
    for member, path in zip(members, found, strict=True):
        if not path.exists():
            raise NotFound(f"The checkpoint of run {member} is gone; name other members.")
    return found


def _average_crossed(
    context: Context, members: Sequence[int], material: Material, probs: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Put the mean of the members' stored probabilities where all of them are out of sample; return where that is."""
    ids = np.array([row.image_id for row in material.rows], np.int64)
    sums, unseen = np.zeros_like(probs), np.ones(len(ids), np.bool_)
    for member in members:
        said = load_predictions(context.home, member)
        place = np.searchsorted(said.image_ids, ids).clip(max=len(said.image_ids) - 1)
        unseen &= (said.image_ids[place] == ids) & said.out_of_sample[place]
        sums += said.probs[place].astype(np.float32)
    taught = np.zeros(len(ids), np.bool_)
    taught[material.training] = True
    crossed = unseen & taught  # of the others the members' networks themselves are asked
    probs[crossed] = sums[crossed] / len(members)
    return crossed
