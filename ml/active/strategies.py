"""The ways to choose whose label to ask for next: one function each, in one dict literal."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ml.active import diversity, uncertainty

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]

CANDIDATES_PER_PICK = 10  # of the most doubtful images, among which clusters are sought
MOST_COMPARED = 50_000  # images among which those far apart are sought; of more, so many drawn at random
RAREST, MOST_COMMON = 2.0, 0.5  # what the doubt about classes with few and with many labels counts


@dataclass(frozen=True)
class Pool:
    """N images: what a model says of them, and which have labels. Without a model `probs` is (N, 0).

    probs: float32 (N, K). embeddings: float32 (N, D). labels: int64 (N,), -1 for none: those are to choose from.
    """

    probs: Scores
    embeddings: Scores
    labels: Rows

    @property
    def open_rows(self) -> Rows:
        return np.flatnonzero(self.labels < 0)


@dataclass(frozen=True)
class Picks:
    """k rows, the most wanted first, and by what: float32 (k,), never rising."""

    rows: Rows
    scores: Scores


Strategy = Callable[[Pool, int, np.random.Generator], Picks]


def pick(pool: Pool, *, strategy: str, k: int, seed: int) -> Picks:
    """Choose k of the images without a label, or all if there are fewer.

    Deterministic for a seed on one machine. CPU time for a thousand of 27,000 (docs/active.md): under 1 s for doubt
    alone, 2 to 5 s where images are compared; it hardly grows with N beyond 50,000 images.
    Raises KeyError for an unknown strategy; ValueError for values that are not finite, or no probabilities where the
    strategy needs a model.
    """
    if strategy not in NEEDS_NO_MODEL and not pool.probs.shape[1]:
        raise ValueError(f"{strategy} needs a model")
    count = min(k, len(pool.open_rows))
    if count == 0:
        return Picks(np.empty(0, np.int64), np.empty(0, np.float32))
    with threadpool_limits(1):  # of thousands of small products: threads would only wait for each other
        return STRATEGIES[strategy](pool, count, np.random.default_rng(seed))


def pick_within(pool: Pool, *, strategy: str, budgets: dict[int, int], seed: int) -> Picks:
    """Choose for each class so many of the images without a label that the model holds for that class.

    budgets: column of the class -> images. The same rules as `pick`, class by class, then the most wanted first.
    """
    predicted = pool.probs.argmax(1)
    parts = []
    for column, k in budgets.items():
        rows = np.flatnonzero((predicted == column) | (pool.labels >= 0))
        part = Pool(pool.probs[rows], pool.embeddings[rows], pool.labels[rows])
        found = pick(part, strategy=strategy, k=k, seed=seed + column)
        parts.append(replace(found, rows=rows[found.rows]))
    rows = np.concatenate([part.rows for part in parts]) if parts else np.empty(0, np.int64)
    scores = np.concatenate([part.scores for part in parts]) if parts else np.empty(0, np.float32)
    return _best(rows, scores, len(rows))


def share_out(available: NDArray[np.integer[Any]], *, k: int) -> Rows:
    """Deal k evenly to classes that have so many images each, int64 (K,): what one cannot use goes to the others."""
    given = np.zeros(len(available), np.int64)
    while (left := k - int(given.sum())) > 0 and (wants := np.flatnonzero(given < available)).size:
        each, rest = divmod(left, len(wants))
        more = np.full(len(wants), each)
        more[:rest] += 1
        given[wants] = np.minimum(given[wants] + more, available[wants])
    return given


def _best(rows: Rows, scores: Scores, k: int) -> Picks:
    """The k highest, ties to the lowest row."""
    order = np.lexsort((rows, -scores))[:k]
    return Picks(rows[order], scores[order].astype(np.float32))


def _in_order(rows: Rows) -> Picks:
    """What a strategy without scores chose, in its order: scores that fall from 1 to 0."""
    return Picks(rows, np.linspace(1, 0, len(rows), endpoint=False, dtype=np.float32))


def _compared(rows: Rows, k: int, rng: np.random.Generator) -> Rows:
    """As many rows as can be compared with each other in seconds."""
    most = max(MOST_COMPARED, 2 * k)
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


# --- the strategies ---------------------------------------------------------------------------------------------


def _random(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    return _in_order(rng.permutation(pool.open_rows)[:k])


def _doubt(measure: Callable[[Scores], Scores]) -> Strategy:
    def choose(pool: Pool, k: int, _rng: np.random.Generator) -> Picks:
        rows = pool.open_rows
        return _best(rows, measure(pool.probs[rows]), k)

    return choose


def _bald(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    rows = pool.open_rows
    scores = uncertainty.bald(pool.probs, pool.embeddings, labelled=np.flatnonzero(pool.labels >= 0), rng=rng)
    return _best(rows, scores[rows], k)


def _core_set(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    rows = _compared(pool.open_rows, k, rng)
    known = _compared(np.flatnonzero(pool.labels >= 0), k, rng)
    points = pool.embeddings[np.r_[rows, known]]
    chosen = diversity.k_center_greedy(points, labelled=np.arange(len(rows), len(points)), k=k, rng=rng)
    return _in_order(rows[chosen])


def _badge(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    rows = _compared(pool.open_rows, k, rng)
    return _in_order(rows[diversity.badge(pool.probs[rows], pool.embeddings[rows], k=k, rng=rng)])


def _margin_clusters(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    rows = pool.open_rows
    return _cluster(pool, rows, uncertainty.margin(pool.probs[rows]), k, rng)


def _balanced(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    """Margin with clusters, where doubt about a class with few labels counts more."""
    rows = pool.open_rows
    doubt = uncertainty.margin(pool.probs[rows]) * (pool.probs[rows] @ weigh_classes(pool))
    return _cluster(pool, rows, doubt, k, rng)


def weigh_classes(pool: Pool) -> Scores:
    """How much doubt about each class counts, float32 (K,): the root of how much rarer it is than others so far."""
    counts = np.bincount(pool.labels[pool.labels >= 0], minlength=pool.probs.shape[1])
    rarity = np.sqrt((counts.sum() + 1) / len(counts) / (counts + 1))
    weights: Scores = np.clip(rarity, MOST_COMMON, RAREST).astype(np.float32)
    return weights


def _cluster(pool: Pool, rows: Rows, doubt: Scores, k: int, rng: np.random.Generator) -> Picks:
    """One of each of k clusters among the most doubtful images."""
    likely = _best(rows, doubt, min(len(rows), CANDIDATES_PER_PICK * k))
    chosen = diversity.cover(pool.embeddings[likely.rows], weights=likely.scores, k=k, rng=rng)
    return _best(likely.rows[chosen], likely.scores[chosen], k)


def _typical(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    """One of each kind, with no model asked: for the first labels of all."""
    rows = _compared(pool.open_rows, k, rng)
    weights = np.ones(len(rows), np.float32)
    chosen = rows[diversity.cover(pool.embeddings[rows], weights=weights, k=k, rng=rng)]
    return _in_order(rng.permutation(chosen))


STRATEGIES: dict[str, Strategy] = {
    "balanced": _balanced,
    "margin_clusters": _margin_clusters,
    "margin": _doubt(uncertainty.margin),
    "entropy": _doubt(uncertainty.entropy),
    "bald": _bald,
    "badge": _badge,
    "core_set": _core_set,
    "typical": _typical,
    "random": _random,
}
NEEDS_NO_MODEL = ("typical", "core_set", "random")
