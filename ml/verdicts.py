"""P(wrong) of every label, learned from out-of-sample probabilities and the verdicts of reviewers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from ml.labels import label_issues
from ml.posteriors import FEWEST, learn_beliefs

Floats = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]

AMBIGUOUS, UNUSABLE = -1, -2  # verdicts that name no class: the label may be right; the label is not right
CROWD = 0.7  # share of all reviewers that decides what an image shows; where no class has it, it is ambiguous
PLAINEST = 0.3  # share of the labels that least speaks against: who contradicts these is mistaken
SPREAD_PER_ROOT = 6.6  # of that rate of contradiction, fitted on two data sets with exact and mistaken verdicts
MOST_SPREAD = 3.0
UNUSABLE_SHARE = 0.02  # of the images, before any verdict


@dataclass(frozen=True)
class Learned:
    """What verdicts teach about the labels of N images."""

    p_wrong: NDArray[np.float32]  # (N,) in 0..1; nan where there is no label
    score: NDArray[np.float32]  # (N,) the order to review in, the most suspicious highest; nan where there is no label
    p_ambiguous: NDArray[np.float32]  # (N,) in 0..1, that reviewers would split on the image
    p_hit: NDArray[np.float32]  # (N,) in 0..1, that one reviewer would not leave the label; nan where there is none
    shrinkage: float  # towards 0: what verdicts say of the classes is believed; 1: nothing particular to classes is
    verdicts: int  # that it was learned from


def learn_p_wrong(
    probs: NDArray[np.floating[Any]],
    given: Integers,
    *,
    plain: NDArray[np.floating[Any]] | None = None,
    verdict_rows: Integers,
    verdict_classes: Integers,
    seed: int = 0,
) -> Learned:
    """Learn how probably each label is wrong, and how probably people would split on the image.

    probs: float (N, K), rows sum to 1, **out-of-sample**. given: int (N,), the labels as they came, -1 for none.
    plain: float (N,), P(wrong) before any verdict, nan for images not to judge; by default as `label_issues` says.
    verdict_rows: int (M,), images that reviewers settled, chosen at random or by any score. verdict_classes: int (M,),
    the class that a reviewer said, AMBIGUOUS (which teaches nothing about classes) or UNUSABLE.

    `ml.posteriors.learn_beliefs` says what a reviewer would call each image; where nothing is particular to classes, or
    too few verdicts show it, its cross-validated penalties leave three numbers to learn, and the order is that of the
    model alone.
    A verdict is what one reviewer says, P(wrong) what most would: the shares of its classes among all reviewers of an
    image are taken as drawn from a Dirichlet distribution whose mean is what a single one is expected to say. Its
    concentration, how much reviewers of one image differ, shows in how often verdicts contradict the labels that least
    speaks against. P(wrong) is the chance that another class than the given one has CROWD of the reviewers, where any
    class has; P(ambiguous) that none has. P(hit) is the regression's own word on a single reviewer, who says AMBIGUOUS
    in proportion to P(ambiguous), as often as verdicts did. Needs FEWEST verdicts; with fewer both are `plain`.
    docs/label-issues.md.
    Deterministic for a seed. Time O(N K^2 + M K^2): 1 s for 30,000 images, 7 classes and 1,000 verdicts.
    Raises ValueError for shapes that differ or probabilities that are none.
    """
    if verdict_rows.shape != verdict_classes.shape:
        raise ValueError("verdicts must be one class for each row")
    before = label_issues(probs, given)
    plain = before.p_wrong if plain is None else plain.astype(np.float32)
    order = before.score if plain is before.p_wrong else plain
    said, given = _widen(probs), np.where(np.isfinite(plain), given, -1)
    taught = (given[verdict_rows] >= 0) & (verdict_classes != AMBIGUOUS)
    rows, classes = verdict_rows[taught].astype(np.int64), verdict_classes[taught].astype(np.int64)
    if len(rows) < FEWEST or probs.shape[1] < 2:
        return Learned(plain, order, _decide(said, given, spread=1.0)[1], plain, 1.0, 0)
    classes = np.where(classes == UNUSABLE, said.shape[1] - 1, classes)
    found = learn_beliefs(said, given, verdict_rows=rows, verdict_classes=classes, seed=seed)
    p_wrong, p_ambiguous = _decide(found.probs, given, spread=_estimate_spread(found.probs, given))
    doubted = verdict_rows[(given[verdict_rows] >= 0) & (verdict_classes == AMBIGUOUS)]
    p_hit = _expect_hit(found.probs, given, p_ambiguous, taught=rows, doubted=doubted)
    return Learned(p_wrong, p_wrong, p_ambiguous, p_hit, found.strength / (1 + found.strength), len(rows))


def _widen(probs: NDArray[np.floating[Any]]) -> Floats:
    """Probabilities (N, K + 1) with a last column for images that are unusable."""
    rows: Floats = probs.astype(np.float64)
    rows = rows / rows.sum(1, keepdims=True) * (1 - UNUSABLE_SHARE)
    return np.concatenate([rows, np.full((len(rows), 1), UNUSABLE_SHARE)], axis=1)


def _expect_hit(
    beliefs: Floats, given: Integers, p_ambiguous: NDArray[np.float32], *, taught: Integers, doubted: Integers
) -> NDArray[np.float32]:
    """P(a single reviewer says another class, unusable or ambiguous), (N,); nan without a label."""
    likely = p_ambiguous[taught].sum() + p_ambiguous[doubted].sum()
    p_doubted = np.clip(p_ambiguous * len(doubted) / max(likely, 1e-9), 0, 1)
    kept = np.where(given >= 0, beliefs[np.arange(len(given)), given], np.nan)
    return np.asarray(1 - kept * (1 - p_doubted), np.float32)


def _estimate_spread(beliefs: Floats, given: Integers) -> float:
    judged = np.flatnonzero(given >= 0)
    contradicted = np.sort(1 - beliefs[judged, given[judged]])
    floor = contradicted[: max(1, round(PLAINEST * len(judged)))].mean()
    return float(min(MOST_SPREAD, SPREAD_PER_ROOT * np.sqrt(max(floor, 0.0))))


def _decide(beliefs: Floats, given: Integers, *, spread: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """P(wrong), nan without a label, and P(ambiguous): what most reviewers say where a single one says `beliefs`."""
    shares, spread = np.clip(beliefs, 1e-6, 1 - 1e-6), max(spread, 1e-3)
    won = 1 - betainc(spread * shares, spread * (1 - shares), CROWD)  # (N, K + 1)
    decided = np.maximum(won.sum(1), 1e-9)
    kept = np.where(given >= 0, won[np.arange(len(given)), given], np.nan)
    return np.asarray(1 - kept / decided, np.float32), np.asarray(1 - decided, np.float32).clip(0, 1)
