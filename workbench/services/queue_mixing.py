"""The items of a queue: what a recipe chose, and among it, at places that chance gives, what chance chose and gold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.services.recipes.pool import Candidates, Pool

Row = dict[str, Any]


@dataclass(frozen=True)
class GoldImage:
    """An image whose class a lead knows, to be mixed in with what it said at import."""

    image_id: int
    given_id: int | None
    suggested_id: int | None


@dataclass(frozen=True)
class Share:
    """What a recipe chose, cut to its limit, and what chance drew from all images that it could have chosen from."""

    chosen: Candidates
    drawn: Candidates
    expected_hits: float | None  # verdicts that change an image; none where too little is known of the chosen


def share(pool: Pool, found: Candidates, *, limit: int | None, percent: float) -> Share:
    """Draw at random, then cut what the recipe found. percent: images drawn for every hundred chosen.

    An image that is drawn counts as drawn even where the recipe found it too: the drawn ones are a plain random sample
    of the pool, whatever a model thinks. The same pool and candidates draw the same images.
    """
    size = len(found.image_ids) if limit is None else min(limit, len(found.image_ids))
    drawn = _draw(pool, found, count=round(size * percent / 100))
    kept = np.flatnonzero(~np.isin(found.image_ids, drawn.image_ids))[:limit]
    chosen = _take(found, kept)
    expected = expect_hits(_foresee(pool, chosen))
    return Share(chosen, drawn, None if expected is None else expected + (expect_hits(_foresee(pool, drawn)) or 0.0))


def _foresee(pool: Pool, found: Candidates) -> NDArray[np.float32] | None:
    p_wrong = found.believed if found.p_wrong is None else found.p_wrong
    if p_wrong is None or not len(pool.p_hit):
        return p_wrong
    order = np.argsort(pool.image_ids)  # those that a filter shows come in its own order
    rows = order[np.searchsorted(pool.image_ids, found.image_ids, sorter=order)]
    return foresee(p_wrong, pool.p_hit[rows])


def foresee(p_wrong: NDArray[np.float32], p_hit: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each image counts in a promise: P(hit) where verdicts taught it, else P(wrong); NaN for no judged label."""
    return np.where(np.isnan(p_wrong) | np.isnan(p_hit), p_wrong, p_hit)


def _draw(pool: Pool, found: Candidates, *, count: int) -> Candidates:
    """Among images with a label, unless the recipe chooses such as have none."""
    labelled = pool.label_ids != 0
    is_asked_unlabelled = bool(np.isin(found.image_ids, pool.image_ids[~labelled]).any())
    rows = np.arange(len(labelled)) if is_asked_unlabelled else np.flatnonzero(labelled)
    seed = [len(rows), len(found.image_ids), *found.image_ids[:1].tolist()]
    rows = np.random.default_rng(seed).permutation(rows)[:count]
    said = pool.predictions
    return Candidates(
        image_ids=pool.image_ids[rows],
        scores=np.zeros(len(rows), np.float32),
        p_wrong=None if said is None else said.p_wrong[rows],
        suggested_ids=None if said is None else said.suggested_ids[rows],
        reason=lambda item: f"Drawn at random, so that the rates stay honest; {pool.labelled(int(rows[item]))}.",
    )


def _take(found: Candidates, rows: NDArray[np.int64]) -> Candidates:
    """The candidates at these places."""
    return replace(
        found,
        image_ids=found.image_ids[rows],
        scores=found.scores[rows],
        p_wrong=None if found.p_wrong is None else found.p_wrong[rows],
        believed=None if found.believed is None else found.believed[rows],
        suggested_ids=None if found.suggested_ids is None else found.suggested_ids[rows],
        group_ids=None if found.group_ids is None else found.group_ids[rows],
        reason=lambda item: found.reason(int(rows[item])),
    )


def expect_hits(p_hit: NDArray[np.float32] | None) -> float | None:
    """Hits expected among the candidates; none where it is known for less than half of them how probable they are.

    Images that the run was trained on may have no P(wrong). Counting them as right would promise too little.
    """
    if p_hit is None or not len(p_hit) or np.isnan(p_hit).mean() > 0.5:
        return None
    return float(np.nanmean(p_hit)) * len(p_hit)


def make_rows(pool: Pool, found: Share, *, gold: Sequence[GoldImage] = (), wants: int = 1) -> list[Row]:
    """As they are written, but for the queue's id. Chosen ones keep their order among themselves."""
    rows = _list_rows(pool, found.chosen, wants=wants)
    drawn = [{**row, "is_random": True} for row in _list_rows(pool, found.drawn, wants=wants)]
    return place(_mix_gold(_insert(rows, drawn), gold))


def place(rows: list[Row], *, start: int = 0) -> list[Row]:
    """Number them from a position on."""
    for position, row in enumerate(rows, start):
        row["position"] = position
    return rows


def _insert(rows: list[Row], drawn: Sequence[Row]) -> list[Row]:
    places = np.sort(np.random.default_rng(len(rows)).integers(0, len(rows) + 1, len(drawn)))
    return mix(rows, drawn, places=places.tolist())


def mix(rows: list[Row], others: Sequence[Row], *, places: Sequence[int]) -> list[Row]:
    """Put each of the others before the row at its place. places: ascending."""
    mixed = list(rows)
    for at, each in reversed(list(zip(places, others, strict=True))):
        mixed.insert(at, each)
    return mixed


def _mix_gold(rows: list[Row], gold: Sequence[GoldImage]) -> list[Row]:
    """Gold images at random places, each looking like the item before it."""
    if not gold:
        return rows
    after = np.sort(np.random.default_rng(len(rows)).choice(len(rows), len(gold), replace=len(gold) > len(rows)))
    looks = [
        {
            **rows[at],
            "image_id": each.image_id,
            "given_id": each.given_id,
            "suggested_id": each.suggested_id,
            "wants": 0,
            "is_random": False,
        }
        for at, each in zip(after.tolist(), gold, strict=True)
    ]
    return mix(rows, looks, places=(after + 1).tolist())


def _list_rows(pool: Pool, found: Candidates, *, wants: int) -> list[Row]:
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
            "wants": wants,
            "is_random": False,
            "score": scores[item],
            "p_wrong": p_wrong[item],
            "given_id": given.get(ids[item]) or None,
            "suggested_id": suggested[item] or None,
            "reason": found.reason(item),
        }
        for item in range(size)
    ]
