"""Queues: built by recipes; `leases` gives their items to reviewers.

Building has two halves, so that no transaction is open while a recipe computes: `plan_queue` reads and computes,
`open_queue` writes. `build_queue` does both in one session, for callers to whom a second does not matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Invalid, NothingToReview
from workbench.models import SPLITS, Class, Dataset, Queue, QueueItem, Run, utc_now
from workbench.models.states import merge_roots
from workbench.queries import datasets, duplicates, image_lists
from workbench.queries import decisions as log
from workbench.queries import queues as queries
from workbench.services import image_filters
from workbench.services.predictions import Predictions, load_predictions
from workbench.services.recipes import RECIPES, confusion, read_recipe
from workbench.services.recipes.pool import Candidates, Pool, PoolGroup, Recipe

AUTOMATIC_CELLS = 3
MOST_OPINIONS = 20
MOST_GOLD = 50  # for every hundred items
AUTOMATIC_LIMITS = {"label_issues": 1000, "confusion": 200, "uncertain": 200}


@dataclass(frozen=True)
class GoldImage:
    """An image whose class a lead knows, to be mixed in with what it said at import."""

    image_id: int
    given_id: int | None
    suggested_id: int | None


@dataclass(frozen=True)
class QueuePlan:
    """A queue before it is stored. rows: its items as they are written, but for the queue's id."""

    dataset_id: int
    recipe: str
    title: str
    params: dict[str, Any]
    run_id: int | None
    automatic: bool
    size: int  # gold items left out
    expected_hits: float | None
    rows: list[dict[str, Any]]
    without: str | None = None  # the frozen split, whose images a model's flags may not choose
    opinions: int = 1
    blind: bool = False

    @property
    def image_ids(self) -> list[int]:
        return [row["image_id"] for row in self.rows]


def build_queue(
    session: Session,
    home: Home,
    *,
    dataset: Dataset,
    recipe: str,
    run: Run | None = None,
    limit: int | None = None,
    title: str | None = None,
    automatic: bool = False,
    **params: Any,
) -> Queue:
    """Plan and open a queue in one session."""
    plan = plan_queue(
        session, home, dataset=dataset, recipe=recipe, run=run, limit=limit, title=title, automatic=automatic, **params
    )
    return open_queue(session, plan)


def plan_queue(
    session: Session,
    home: Home,
    *,
    dataset: Dataset,
    recipe: str,
    run: Run | None = None,
    limit: int | None = None,
    title: str | None = None,
    automatic: bool = False,
    force: bool = False,
    opinions: int = 1,
    blind: bool = False,
    gold: float = 0,
    **params: Any,
) -> QueuePlan:
    """What a recipe chooses now. run: none for the promoted one. params: the recipe's own, and `split` for any.

    opinions: how many reviewers each image is asked of; more than one are always blind. blind: what is known about the
    image stays hidden until it is decided. gold: hidden gold images for every hundred items, as far as there are any.

    Images of a frozen split are left out where a run's predictions choose, unless that is forced; deciding on them is
    refused even then, until somebody gives a reason.

    Excluded images and images that a reviewer has decided on are left out, unless the recipe says otherwise.
    Raises Invalid if nothing is left to look at.
    """
    name = read_recipe(recipe)
    made = RECIPES[name]
    _check_wishes(made, limit=limit, opinions=opinions, gold=gold)
    split, own = read_params(name, params)
    without = dataset.frozen_split if made.follows_flags(own) and not force else None
    if without is not None and without in (split, own.get("split")):
        raise Invalid(
            f"{without} is frozen, so no queue of a model's flags is built from it: draw a random sample instead, or "
            "force it (workbench queue build --force)."
        )
    most = limit or made.default_limit
    if made.needs_matches:
        pool = _load_matches(session, dataset, own, without=without, limit=most)
    else:
        pool = _load_pool(
            session, home, dataset, made, run=run, split=split, against_id=own.get("against"), without=without
        )
    candidates = _cut(made.find(pool, **own), most)
    if not len(candidates.image_ids):
        raise NothingToReview("There is nothing to review: every image that fits is decided already, or none does.")
    plan = _plan_of(pool, dataset, name, own, candidates, wants=opinions)
    is_blind = blind or opinions > 1
    heading = title or ("Blind review" if is_blind else plan.title)  # the recipe's title may name what is hidden
    return replace(
        plan,
        title=heading if title or split is None else f"{heading} ({split})",
        params=own if split is None else {**own, "split": split},
        automatic=automatic,
        rows=_mix(plan.rows, _choose_gold(session, dataset, candidates, percent=gold)),
        without=without,
        opinions=opinions,
        blind=is_blind,
    )


def _check_wishes(made: Recipe, *, limit: int | None, opinions: int, gold: float) -> None:
    if limit is not None and limit < 1:
        raise Invalid("A queue holds at least one image: give a limit of 1 or more.")
    if not 1 <= opinions <= MOST_OPINIONS:
        raise Invalid(f"Ask 1 to {MOST_OPINIONS} reviewers for each image.")
    if not 0 <= gold <= MOST_GOLD:
        raise Invalid(f"Hidden gold images are 0 to {MOST_GOLD} for every hundred.")
    if gold and opinions < 2:
        raise Invalid(
            "Hidden gold images need a queue that asks two or more reviewers: in any other they can be told apart."
        )
    if made.needs_groups and (opinions > 1 or gold):
        raise Invalid("Copies are settled on the page of their group, by one reviewer, without gold images.")


def _choose_gold(
    session: Session, dataset: Dataset, candidates: Candidates, *, percent: float
) -> tuple[GoldImage, ...]:
    """Gold images that the queue does not hold anyway; another choice for each set of candidates, the same again."""
    wanted = round(len(candidates.image_ids) * percent / 100) if percent else 0
    if not wanted:
        return ()
    known = queries.list_gold(session, dataset.id, but=set(candidates.image_ids.tolist()))
    if not known:
        raise Invalid(
            f"{dataset.name} has no gold images that this queue does not hold: mark images as gold on their pages or "
            "on the images page first."
        )
    order = np.random.default_rng(int(candidates.image_ids[0])).permutation(len(known))[:wanted]
    return tuple(GoldImage(*known[index]) for index in order)


def read_params(recipe: str, params: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """The split, and the recipe's own params as it reads them; raises Invalid for those that it does not know."""
    known = RECIPES[recipe].params
    split = (params.get("split") or None) if "split" not in known else None
    if split is not None and split not in SPLITS:
        raise Invalid(f"“{split}” is not a split; use {', '.join(SPLITS)}.")
    own = {}
    for key, value in params.items():
        if (key == "split" and key not in known) or value is None:
            continue
        if key not in known:
            takes = ", ".join({**known, "split": str})
            raise Invalid(f"{recipe.replace('_', '-')} knows no “{key}”; it takes {takes}.")
        try:
            own[key] = known[key](value)
        except ValueError:
            raise Invalid(f"“{value}” cannot be used for {key}: give a whole number.") from None
    return split, own


def _load_pool(
    session: Session,
    home: Home,
    dataset: Dataset,
    recipe: Recipe,
    *,
    run: Run | None,
    split: str | None,
    against_id: int | None,
    without: str | None,
) -> Pool:
    rows = queries.list_pool(session, dataset.id, split=split, with_reviewed=recipe.keeps_reviewed, without=without)
    table = np.array([(row[0], row[1] or 0) for row in rows], np.int64).reshape(-1, 2)
    classes = datasets.list_classes(session, dataset.id)
    pool = Pool(
        image_ids=table[:, 0],
        label_ids=table[:, 1],
        class_names={cls.id: cls.name for cls in classes},
        groups=_load_groups(session, dataset, set(table[:, 0].tolist())) if recipe.needs_groups else (),
    )
    if not recipe.needs_run:
        return pool
    run = run or queries.get_run(session, dataset, None)
    pool = replace(pool, run_id=run.id)
    pool, said = _align(pool, _shown_as_merged(load_predictions(home, run.id), classes))
    pool = replace(pool, predictions=said)
    if against_id is None:
        return pool
    other = queries.get_run(session, dataset, against_id)
    return _compare(pool, _shown_as_merged(load_predictions(home, other.id), classes), against_id=other.id)


def _load_matches(
    session: Session, dataset: Dataset, params: Mapping[str, Any], *, without: str | None, limit: int | None
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
    return Pool(
        image_ids=table[:, 0],
        label_ids=table[:, 1],
        class_names=names,
        predicted_ids=table[:, 2],
        p_wrong=np.array([np.nan if row[3] is None else row[3] for row in rows], np.float32),
    )


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
    kept = replace(pool, image_ids=pool.image_ids[known], label_ids=pool.label_ids[known])
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


def _cut(found: Candidates, limit: int | None) -> Candidates:
    if limit is None:
        return found
    return replace(
        found,
        image_ids=found.image_ids[:limit],
        scores=found.scores[:limit],
        p_wrong=None if found.p_wrong is None else found.p_wrong[:limit],
        suggested_ids=None if found.suggested_ids is None else found.suggested_ids[:limit],
        group_ids=None if found.group_ids is None else found.group_ids[:limit],
    )


def open_queue(session: Session, plan: QueuePlan) -> Queue:
    """Write a planned queue with its items."""
    queue = Queue(
        dataset_id=plan.dataset_id,
        recipe=plan.recipe,
        title=plan.title,
        params=plan.params,
        run_id=plan.run_id,
        automatic=plan.automatic,
        size=plan.size,
        expected_hits=plan.expected_hits,
        opinions=plan.opinions,
        blind=plan.blind,
        after_line=log.get_last_id(session, dataset_id=plan.dataset_id),
    )
    session.add(queue)
    session.flush()
    session.execute(insert(QueueItem).values(queue_id=queue.id), plan.rows)
    return queue


def _mix(rows: list[dict[str, Any]], gold: Sequence[GoldImage]) -> list[dict[str, Any]]:
    """Gold images at random places, each looking like the item before it."""
    if not gold:
        return rows
    after = np.sort(np.random.default_rng(len(rows)).choice(len(rows), len(gold), replace=len(gold) > len(rows)))
    mixed = list(rows)
    for place, each in reversed(list(zip(after.tolist(), gold, strict=True))):
        like = rows[place]
        found = {"image_id": each.image_id, "given_id": each.given_id, "suggested_id": each.suggested_id, "wants": 0}
        mixed.insert(place + 1, {**like, **found})
    for position, row in enumerate(mixed):
        row["position"] = position
    return mixed


def _expect_hits(p_wrong: NDArray[np.float32] | None) -> float | None:
    """Wrong labels expected among the candidates; none where P(wrong) is known for less than half of them.

    Images that the run was trained on have no P(wrong). Counting them as right would promise too little.
    """
    if p_wrong is None or np.isnan(p_wrong).mean() > 0.5:
        return None
    return float(np.nanmean(p_wrong)) * len(p_wrong)


def _item_rows(pool: Pool, found: Candidates, *, wants: int = 1) -> list[dict[str, Any]]:
    size = len(found.image_ids)
    given = dict(zip(pool.image_ids.tolist(), pool.label_ids.tolist(), strict=True))  # 0 for none
    ids = found.image_ids.tolist()
    p_wrong = [None] * size if found.p_wrong is None else [None if np.isnan(p) else p for p in found.p_wrong.tolist()]
    suggested = [None] * size if found.suggested_ids is None else found.suggested_ids.tolist()
    groups = [None] * size if found.group_ids is None else found.group_ids.tolist()
    scores = found.scores.tolist()
    return [
        {
            "image_id": ids[item],
            "group_id": groups[item],
            "position": item,
            "wants": wants,
            "score": scores[item],
            "p_wrong": p_wrong[item],
            "given_id": given.get(ids[item]) or None,
            "suggested_id": suggested[item] or None,
            "reason": found.reason(item),
        }
        for item in range(size)
    ]


def rebuild_automatic(session: Session, home: Home, *, dataset: Dataset, run: Run) -> list[Queue]:
    """Close the queues that earlier runs opened by themselves and open those of this run."""
    return replace_automatic(session, dataset=dataset, plans=plan_automatic(session, home, dataset=dataset, run=run))


def plan_automatic(session: Session, home: Home, *, dataset: Dataset, run: Run) -> list[QueuePlan]:
    """Label issues, the worst confusion cells and the uncertain images of a run; those without images are left out."""
    frozen = dataset.frozen_split
    pool = _load_pool(
        session, home, dataset, RECIPES["confusion"], run=run, split=None, against_id=None, without=frozen
    )
    wanted: list[tuple[str, dict[str, Any]]] = [("uncertain", {})]
    if pool.predictions is not None and (pool.predictions.out_of_sample & (pool.label_ids != 0)).any():
        cells = confusion.worst_cells(pool, count=AUTOMATIC_CELLS)
        wanted = [("label_issues", {}), *(("confusion", {"cell": cell}) for cell in cells), *wanted]
    plans = []
    for recipe, params in wanted:
        made = RECIPES[recipe]
        found = _cut(made.find(pool, **params), AUTOMATIC_LIMITS[recipe])
        if len(found.image_ids):
            plans.append(replace(_plan_of(pool, dataset, recipe, params, found), automatic=True))
    return plans


def _plan_of(
    pool: Pool, dataset: Dataset, recipe: str, params: dict[str, Any], found: Candidates, *, wants: int = 1
) -> QueuePlan:
    return QueuePlan(
        dataset_id=dataset.id,
        recipe=recipe,
        title=RECIPES[recipe].title(pool, **params),
        params=params,
        run_id=pool.run_id,
        automatic=False,
        size=len(found.image_ids),
        expected_hits=_expect_hits(found.p_wrong),
        rows=_item_rows(pool, found, wants=wants),
    )


def replace_automatic(session: Session, *, dataset: Dataset, plans: Sequence[QueuePlan]) -> list[Queue]:
    for queue in queries.list_automatic(session, dataset.id):
        close_queue(session, queue)
    return [open_queue(session, plan) for plan in plans]


def close_queue(session: Session, queue: Queue) -> None:
    """Take a queue off the list; what was decided in it stays. Closing twice does nothing."""
    if queue.closed_at is None:
        queue.closed_at = utc_now()
    session.flush()
