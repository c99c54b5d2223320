"""The images that a recipe chooses from, with what a run says about them as verdicts corrected it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Invalid
from workbench.models import Class, Dataset, Run
from workbench.models.states import merge_roots
from workbench.queries import datasets, duplicates, findings, image_lists
from workbench.queries import queues as queries
from workbench.services import image_filters
from workbench.services.posteriors import find_posteriors, load_judged
from workbench.services.predictions import Predictions
from workbench.services.recipes.pool import Pool, PoolGroup, Recipe


def load_pool(
    session: Session,
    home: Home,
    dataset: Dataset,
    recipe: Recipe,
    *,
    run: Run | None,
    split: str | None = None,
    against_id: int | None = None,
    without: str | None = None,
) -> Pool:
    """Those that are not excluded, nor decided on unless the recipe keeps them; without: a split that is left out."""
    rows = queries.list_pool(session, dataset.id, split=split, with_reviewed=recipe.keeps_reviewed, without=without)
    table = np.array([(row[0], row[1] or 0, row[2], row[3]) for row in rows], np.int64).reshape(-1, 4)
    classes = datasets.list_classes(session, dataset.id)
    pool = Pool(
        image_ids=table[:, 0],
        label_ids=table[:, 1],
        class_names={cls.id: cls.name for cls in classes},
        settled=table[:, 2].astype(np.bool_),
        disputed=table[:, 3].astype(np.bool_),
        p_wrong=np.array([np.nan if row[4] is None else row[4] for row in rows], np.float32),
        findings=findings.list_open(session, dataset.id) if recipe.needs_findings else (),
        groups=_load_groups(session, dataset, set(table[:, 0].tolist())) if recipe.needs_groups else (),
    )
    if not recipe.needs_run:
        return _foresee(home, pool, run_id=dataset.promoted_run_id)
    run = run or queries.get_run(session, dataset, None)
    pool = replace(pool, run_id=run.id)
    pool, said = _align(pool, _shown_as_merged(load_judged(home, run.id), classes))
    pool = _foresee(home, replace(pool, predictions=said), run_id=run.id)
    if against_id is None:
        return pool
    other = queries.get_run(session, dataset, against_id)
    return _compare(pool, _shown_as_merged(load_judged(home, other.id), classes), against_id=other.id)


def load_matches(
    session: Session, home: Home, dataset: Dataset, params: Mapping[str, Any], *, without: str | None, limit: int | None
) -> Pool:
    """What a filter matches, in its order."""
    names = {cls.id: cls.name for cls in datasets.list_classes(session, dataset.id)}
    rows = image_lists.list_matches(
        session,
        dataset.id,
        image_filters.read(params, names),
        sort=params.get("sort", "id"),
        without=without,
        limit=limit,
    )
    table = np.array([(row[0], row[1] or 0, row[2] or 0) for row in rows], np.int64).reshape(-1, 3)
    pool = Pool(
        image_ids=table[:, 0],
        label_ids=table[:, 1],
        class_names=names,
        predicted_ids=table[:, 2],
        p_wrong=np.array([np.nan if row[3] is None else row[3] for row in rows], np.float32),
    )
    return _foresee(home, pool, run_id=dataset.promoted_run_id)


def _foresee(home: Home, pool: Pool, *, run_id: int | None) -> Pool:
    """The pool with what reviewers will say, as far as verdicts on a run's predictions taught it."""
    learned = find_posteriors(home, run_id) if run_id else None
    p_ambiguous = np.zeros(len(pool.image_ids), np.float32)
    p_hit = np.full(len(pool.image_ids), np.nan, np.float32)
    if learned is not None and len(learned.image_ids):
        rows = np.minimum(np.searchsorted(learned.image_ids, pool.image_ids), len(learned.image_ids) - 1)
        known = learned.image_ids[rows] == pool.image_ids
        p_ambiguous[known] = learned.p_ambiguous[rows[known]]
        if len(learned.p_hit):
            p_hit[known] = learned.p_hit[rows[known]]
    return replace(pool, p_ambiguous=p_ambiguous, p_hit=p_hit)


def _compare(pool: Pool, other: Predictions, *, against_id: int) -> Pool:
    """The pool cut to the images about which both runs say something."""
    pool, said = _align(pool, other)
    if pool.predictions is None:
        raise Invalid("There is no run to compare with.")
    pool, first = _align(pool, pool.predictions)
    return replace(pool, predictions=first, against=said, against_id=against_id)


def _shown_as_merged(said: Predictions, classes: Sequence[Class]) -> Predictions:
    """A class that was merged away since the training counts as the one it went into."""
    roots = merge_roots(classes)
    ids = np.array([roots.get(int(class_id), int(class_id)) for class_id in said.class_ids], np.int64)
    return replace(said, class_ids=ids)


def _align(pool: Pool, said: Predictions) -> tuple[Pool, Predictions]:
    """The images about which a run says something, and what it says, row by row."""
    rows = np.searchsorted(said.image_ids, pool.image_ids)
    rows[rows == len(said.image_ids)] = 0
    known = said.image_ids[rows] == pool.image_ids if len(said.image_ids) else np.zeros(len(rows), bool)
    rows = rows[known]
    kept = replace(
        pool,
        image_ids=pool.image_ids[known],
        label_ids=pool.label_ids[known],
        settled=pool.settled[known],
        disputed=pool.disputed[known],
        p_wrong=pool.p_wrong[known],
        p_ambiguous=pool.p_ambiguous[known] if len(pool.p_ambiguous) else pool.p_ambiguous,
        p_hit=pool.p_hit[known] if len(pool.p_hit) else pool.p_hit,
    )
    return kept, Predictions(
        image_ids=kept.image_ids,
        probs=said.probs[rows],
        out_of_sample=said.out_of_sample[rows],
        p_wrong=said.p_wrong[rows],
        suggested=said.suggested[rows],
        entropy=said.entropy[rows],
        margin=said.margin[rows],
        features=np.empty((len(rows), 0), np.float16),
        class_ids=said.class_ids,
        witness=said.witness[rows] if len(said.witness) else said.witness,
    )


def _load_groups(session: Session, dataset: Dataset, pool_ids: set[int]) -> list[PoolGroup]:
    found = duplicates.list_groups(session, dataset.id, kind="near", limit=None)
    groups = []
    for each in found:
        ids = [image.id for image in each.images if image.id in pool_ids]
        if ids:
            row = each.group
            groups.append(PoolGroup(row.id, row.kind, ids, row.score, row.p, row.conflicting, row.spanning))
    return groups
