"""Out-of-sample probabilities for every image: folds that part no group, and one model per fold."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ml.launch import launch
from ml.predict import Images, load_model, predict
from ml.train import EpochReport, TrainConfig

PLAN = "folds.json"
PROBS = "probs.npy"

IntArray = NDArray[np.integer[Any]]


def grouped_folds(labels: IntArray, groups: IntArray, *, folds: int, seed: int) -> NDArray[np.int64]:
    """Give each row a fold so that no group is parted and every class is spread evenly over the folds.

    labels: int (N,), any values; rows without a label (-1) are spread like a class of their own. groups: int (N,).
    Returns int64 (N,) with values 0..folds-1. Groups go, largest first, to the fold that has least of their classes,
    ties to the fold with the fewest rows. Deterministic for a seed, which orders groups of one size.
    Time O(N + groups x folds): 0.2 s for 30,000 rows in 29,000 groups.
    Raises ValueError if folds < 2, if there are fewer groups than folds, or if the lengths differ.
    Source: the greedy rule of scikit-learn's StratifiedGroupKFold, with a cheaper measure of evenness.
    """
    names, group_of = np.unique(groups, return_inverse=True)
    if labels.shape != groups.shape or labels.ndim != 1:
        raise ValueError("labels and groups must be two lists of one length")
    if not 2 <= folds <= len(names):
        raise ValueError(f"{len(names)} groups cannot be dealt to {folds} folds")
    contents = _count_classes(labels, group_of, len(names))
    fold_of_group = _deal(contents, _order(contents, seed), Counter(labels.tolist()), folds)
    return fold_of_group[group_of]


def _count_classes(labels: IntArray, group_of: IntArray, group_count: int) -> list[Counter[int]]:
    contents: list[Counter[int]] = [Counter() for _ in range(group_count)]
    for group, label in zip(group_of.tolist(), labels.tolist(), strict=True):
        contents[group][label] += 1
    return contents


def _order(contents: list[Counter[int]], seed: int) -> list[int]:
    """Largest groups first; groups of one size in an order that the seed draws."""
    drawn = np.random.default_rng(seed).permutation(len(contents)).tolist()
    return sorted(drawn, key=lambda group: -contents[group].total())


def _deal(contents: list[Counter[int]], order: list[int], totals: Counter[int], folds: int) -> NDArray[np.int64]:
    filled = {label: [0] * folds for label in totals}  # rows of each class in each fold
    sizes = [0] * folds
    fold_of_group = np.empty(len(contents), np.int64)
    for group in order:
        classes = contents[group].items()
        costs = [sum(n * filled[label][fold] / totals[label] ** 2 for label, n in classes) for fold in range(folds)]
        fold = min(range(folds), key=lambda candidate: (costs[candidate], sizes[candidate]))
        for label, n in classes:
            filled[label][fold] += n
            sizes[fold] += n
        fold_of_group[group] = fold
    return fold_of_group


def cross_predict(
    images: Images,
    labels: IntArray,
    groups: IntArray,
    *,
    indices: IntArray,
    folds: int,
    class_count: int,
    config: TrainConfig,
    folder: Path,
    on_progress: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[int, EpochReport], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    device: str | torch.device | None = None,
    weights: NDArray[np.float32] | None = None,
    targets: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return probabilities of the images `indices`, each from a model that saw neither it nor any of its group.

    images: uint8 (N, C, S, S). labels: int64 (N,), -1 where there is none: such rows are predicted, not trained on.
    groups: int (N,), equal for images that must not be parted. indices: int64 (M,), the rows to use, in any order.
    weights, targets: as for `train`. Returns float32 (M, K), row i belongs to image indices[i].
    on_progress(images done, images in all) counts trained images over all folds; on_epoch(fold, report).

    One model per fold is trained in folder/fold-<k>; a whole fold leaves its probabilities there, so that a run that
    was killed goes on where it was. Deterministic like `train`. Patience is off: the held-out part chooses nothing.
    Cost: (folds - 1) trainings on all the images. Raises ValueError (also if the folder holds another such job),
    `ml.train.Stopped`, `ml.train.Diverged`.
    """
    fold_of = grouped_folds(labels[indices], groups[indices], folds=folds, seed=config.seed)
    config = replace(config, patience=0)
    _write_plan(folder, {"folds": folds, "config": asdict(config), "rows": _digest(indices, fold_of)})
    probs = np.empty((len(indices), class_count), np.float32)
    for fold in range(folds):
        held = fold_of == fold
        stored = folder / f"fold-{fold}" / PROBS
        if not stored.exists():
            known = indices[~held & (labels[indices] >= 0)]
            result = launch(
                images,
                labels,
                train_indices=known,
                validation_indices=np.empty(0, np.int64),
                class_count=class_count,
                config=config,
                folder=stored.parent,
                on_epoch=_bind_epoch(on_epoch, fold),
                on_batch=_bind_batch(on_progress, fold, folds),
                should_stop=should_stop,
                device=device,
                weights=weights,
                targets=targets,
            )
            _store(stored, predict(load_model(result.checkpoint, device=device), images[indices[held]])[0])
        probs[held] = np.load(stored)
    return probs


def _digest(*arrays: IntArray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, np.int64).tobytes())
    return digest.hexdigest()


def _write_plan(folder: Path, plan: dict[str, Any]) -> None:
    """Write folder/folds.json, or check that the one that is there says the same."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PLAN
    if path.exists():
        if json.loads(path.read_text(encoding="utf-8")) != plan:
            raise ValueError("the folder holds folds of another config or other images: use a new folder")
        return
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(plan), encoding="utf-8")
    temporary.replace(path)


def _store(path: Path, probs: NDArray[np.float32]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.save(file, probs)
    temporary.replace(path)


def _bind_epoch(on_epoch: Callable[[int, EpochReport], None] | None, fold: int) -> Callable[[EpochReport], None] | None:
    return None if on_epoch is None else lambda report: on_epoch(fold, report)


def _bind_batch(
    on_progress: Callable[[int, int], None] | None, fold: int, folds: int
) -> Callable[[int, int], None] | None:
    """Progress of one fold as progress of all, every fold counted as large as this one."""
    return None if on_progress is None else lambda done, total: on_progress(fold * total + done, folds * total)
