"""What a queue will hold, chosen by a recipe; writes nothing, so that no transaction is open while it computes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Invalid, NothingToReview
from workbench.models import SPLITS, Dataset, Run
from workbench.queries import datasets
from workbench.queries import decisions as log
from workbench.queries import queues as queries
from workbench.services.queue_mixing import GoldImage, Share, make_rows, share
from workbench.services.queue_pools import load_matches, load_pool
from workbench.services.recipes import RECIPES, active, read_recipe
from workbench.services.recipes.pool import Candidates, Picked, Pool, Recipe

MOST_OPINIONS = 20
MOST_GOLD = 50  # for every hundred items
RANDOM_SHARE = 5.0  # images that chance adds for every hundred that a model chose
MOST_RANDOM = 100


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
    drawn: int  # of these, those that chance chose
    expected_hits: float | None
    rows: list[dict[str, Any]]
    read_to: int  # the newest line of the log when it was made
    keeps_reviewed: bool = False  # also images that reviewers have decided on
    without: str | None = None  # the frozen split, whose images a model's flags may not choose
    opinions: int = 1
    blind: bool = False

    @property
    def image_ids(self) -> list[int]:
        return [row["image_id"] for row in self.rows]


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
    random: float = RANDOM_SHARE,
    picked: Picked | None = None,
    **params: Any,
) -> QueuePlan:
    """What a recipe chooses now. run: none for the promoted one. params: the recipe's own, and `split` for any.

    opinions: how many reviewers each image is asked of; more than one are always blind. blind: what is known about the
    image stays hidden until it is decided. gold: hidden gold images for every hundred items, as far as there are any.
    random: images drawn at random for every hundred that a run's predictions chose, besides those that `limit` counts.
    picked: what a worker chose, for recipes that need one.

    Images of a frozen split are left out where a run's predictions choose, unless that is forced; deciding on them is
    refused even then, until somebody gives a reason.

    Excluded images and images that a reviewer has decided on are left out, unless the recipe says otherwise.
    Raises Invalid if nothing is left to look at.
    """
    name = read_recipe(recipe)
    made = RECIPES[name]
    _check_wishes(made, limit=limit, opinions=opinions, gold=gold, random=random)
    split, own = read_params(name, params)
    without = dataset.frozen_split if made.follows_flags(own) and not force else None
    _check_frozen(without, asked={split, own.get("split")})
    most = limit or made.default_limit
    if made.needs_matches:
        pool = load_matches(session, home, dataset, own, without=without, limit=most)
    else:
        own, against_id = _name_other_run(session, dataset, made, own, run=run)
        pool = load_pool(session, home, dataset, made, run=run, split=split, against_id=against_id, without=without)
    found = choose(made, replace(pool, picked=picked), own, limit=most, percent=random)
    if not len(found.chosen.image_ids):
        raise NothingToReview("There is nothing to review: every image that fits is decided already, or none does.")
    is_blind = blind or opinions > 1
    heading = title or ("Blind review" if is_blind else made.title(pool, **own))  # which may name what is hidden
    plan = plan_of(
        pool,
        dataset,
        name,
        found,
        params=own if split is None else {**own, "split": split},
        title=heading if title or split is None else f"{heading} ({split})",
        read_to=log.get_last_id(session, dataset_id=dataset.id),
        wants=opinions,
        gold=_choose_gold(session, dataset, found.chosen, percent=gold),
    )
    return replace(plan, automatic=automatic, without=without, opinions=opinions, blind=is_blind)


def _name_other_run(
    session: Session, dataset: Dataset, made: Recipe, own: dict[str, Any], *, run: Run | None
) -> tuple[dict[str, Any], int | None]:
    """The params with the run to compare with, and that run: where none was named the newest other one, if any."""
    if "against" not in made.params or own.get("against"):
        return own, own.get("against")
    other = queries.find_other_run(session, run or queries.get_run(session, dataset, None))
    return (own if other is None else {**own, "against": other}), other


def read_asked(
    session: Session,
    *,
    dataset: Dataset,
    recipe: str,
    run: int | None,
    params: Mapping[str, Any],
    limit: int | None = None,
    opinions: int = 1,
    gold: float = 0,
    force: bool = False,
    **_looks: Any,
) -> tuple[str | None, dict[str, Any]]:
    """The split and the recipe's own params; refuses what `plan_queue` would, as far as nothing need be computed."""
    made = RECIPES[recipe]
    _check_wishes(made, limit=limit, opinions=opinions, gold=gold, random=RANDOM_SHARE)
    split, own = read_params(recipe, params)
    _check_frozen(dataset.frozen_split if made.follows_flags(own) and not force else None, asked={split})
    if made.needs_run:
        queries.get_run(session, dataset, run)
    if "per_class" in own:
        active.read_budget(own["per_class"], datasets.list_open_classes(session, dataset.id))
    return split, own


def choose(made: Recipe, pool: Pool, params: Mapping[str, Any], *, limit: int | None, percent: float) -> Share:
    """What a recipe finds in a pool, and the share that chance adds where a run's predictions are its ground."""
    has_share = made.needs_run and made.random_share
    return share(pool, made.find(pool, **params), limit=limit, percent=percent if has_share else 0)


def plan_of(
    pool: Pool,
    dataset: Dataset,
    recipe: str,
    found: Share,
    *,
    params: dict[str, Any],
    title: str,
    read_to: int,
    wants: int = 1,
    gold: tuple[GoldImage, ...] = (),
) -> QueuePlan:
    """The plan of what was chosen, opened by hand and asked of everybody."""
    drawn = len(found.drawn.image_ids)
    return QueuePlan(
        dataset_id=dataset.id,
        recipe=recipe,
        title=title,
        params=params,
        run_id=pool.run_id,
        automatic=False,
        size=len(found.chosen.image_ids) + drawn,
        drawn=drawn,
        expected_hits=found.expected_hits,
        rows=make_rows(pool, found, gold=gold, wants=wants),
        read_to=read_to,
        keeps_reviewed=RECIPES[recipe].keeps_reviewed or RECIPES[recipe].needs_matches,
    )


def _check_frozen(frozen: str | None, *, asked: set[str | None]) -> None:
    if frozen is not None and frozen in asked:
        raise Invalid(
            f"{frozen} is frozen, so no queue of a model's flags is built from it: draw a random sample instead, or "
            "force it (workbench queue build --force)."
        )


def _check_wishes(made: Recipe, *, limit: int | None, opinions: int, gold: float, random: float) -> None:
    if limit is not None and limit < 1:
        raise Invalid("A queue holds at least one image: give a limit of 1 or more.")
    if not 1 <= opinions <= MOST_OPINIONS:
        raise Invalid(f"Ask 1 to {MOST_OPINIONS} reviewers for each image.")
    if not 0 <= gold <= MOST_GOLD:
        raise Invalid(f"Hidden gold images are 0 to {MOST_GOLD} for every hundred.")
    if not 0 <= random <= MOST_RANDOM:
        raise Invalid(f"Images drawn at random are 0 to {MOST_RANDOM} for every hundred chosen.")
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
