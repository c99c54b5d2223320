"""P(wrong) of every label, learned from out-of-sample probabilities and the verdicts of reviewers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, expit, logit
from threadpoolctl import threadpool_limits

from ml.labels import label_issues
from ml.posteriors import FEWEST, FOLDS, learn_beliefs, share_out

Floats = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]

AMBIGUOUS, UNUSABLE = -1, -2  # verdicts that name no class: the label may be right; the label is not right
CROWD = 0.7  # share of all reviewers that decides what an image shows; where no class has it, it is ambiguous
PLAINEST = 0.3  # share of the labels that least speaks against: who contradicts these is mistaken
SPREAD_PER_ROOT = 6.6  # of that rate of contradiction, fitted on two data sets with exact and mistaken verdicts
MOST_SPREAD = 3.0
UNUSABLE_SHARE = 0.02  # of the images, before any verdict
EDGE = 1e-3  # probabilities stay so far from 0 and 1 before their logit is taken
ROUNDS = 50  # of Newton's method, which needs five


@dataclass(frozen=True)
class Learned:
    """What verdicts teach about the labels of N images."""

    p_wrong: NDArray[np.float32]  # (N,) in 0..1; nan where there is no label
    score: NDArray[np.float32]  # (N,) the order to review in, the most suspicious highest; nan where there is no label
    p_ambiguous: NDArray[np.float32]  # (N,) in 0..1, that reviewers would split on the image
    shrinkage: float  # 0: what verdicts say of the classes is believed, 1: only how far the score without them is right
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
    the class that a reviewer said, AMBIGUOUS (which teaches nothing here) or UNUSABLE.

    Two regressions on the verdicts: `ml.posteriors.learn_beliefs` for all that is particular to classes, and a line
    through the plain score for what is not. Each counts by how well it foretold the verdicts that it did not see
    (pseudo Bayesian model averaging); the weight of the second is the `shrinkage`.
    A verdict is what one reviewer says, P(wrong) what most would: the shares of its classes among all reviewers of an
    image are taken as drawn from a Dirichlet distribution whose mean is what a single one is expected to say. Its
    concentration, how much reviewers of one image differ, shows in how often verdicts contradict the labels that least
    speaks against. P(wrong) is the chance that another class than the given one has CROWD of the reviewers, where any
    class has; P(ambiguous) that none has. Needs FEWEST verdicts; with fewer it is `plain`. docs/label-issues.md.
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
        return Learned(plain, order, _decide(said, given, spread=1.0)[1], 1.0, 0)
    with threadpool_limits(1):  # many small products, on which threads only wait for one another
        beliefs, shrinkage = _learn_beliefs(said, given, plain, rows, classes, seed=seed)
    p_wrong, p_ambiguous = _decide(beliefs, given, spread=_estimate_spread(beliefs, given))
    return Learned(p_wrong, p_wrong, p_ambiguous, shrinkage, len(rows))


def _widen(probs: NDArray[np.floating[Any]]) -> Floats:
    """Probabilities (N, K + 1) with a last column for images that are unusable."""
    rows: Floats = probs.astype(np.float64)
    rows = rows / rows.sum(1, keepdims=True) * (1 - UNUSABLE_SHARE)
    return np.concatenate([rows, np.full((len(rows), 1), UNUSABLE_SHARE)], axis=1)


def _learn_beliefs(
    said: Floats, given: Integers, plain: NDArray[np.float32], rows: Integers, classes: Integers, *, seed: int
) -> tuple[Floats, float]:
    """What a single reviewer would say, (N, K + 1), and how far that is the plain score alone."""
    classes = np.where(classes == UNUSABLE, said.shape[1] - 1, classes)
    wrong = (classes != given[rows]).astype(np.float64)
    full = learn_beliefs(said, given, verdict_rows=rows, verdict_classes=classes, seed=seed)
    evidence = logit(np.clip(plain.astype(np.float64), EDGE, 1 - EDGE))
    crossed = 1 - full.crossed[np.arange(len(rows)), given[rows]]
    loss, loss_plain = _log_loss(wrong, crossed), _log_loss(wrong, _cross_line(evidence[rows], wrong, seed=seed))
    shrinkage = float(expit(loss - loss_plain))
    judged = np.flatnonzero(given >= 0)
    beliefs = full.probs
    p_plain = _follow_line(_fit_line(evidence[rows], wrong), evidence[judged])
    spread = share_out(said[judged], given[judged], p_wrong=p_plain)
    beliefs[judged] = (1 - shrinkage) * beliefs[judged] + shrinkage * spread
    return beliefs, shrinkage


def _log_loss(wrong: Floats, p: Floats) -> float:
    p = np.clip(p, EDGE, 1 - EDGE)
    return float(-(wrong * np.log(p) + (1 - wrong) * np.log1p(-p)).sum())


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


# --- a line through the plain score -------------------------------------------------------------------------------


def _cross_line(evidence: Floats, wrong: Floats, *, seed: int) -> Floats:
    """P of each verdict by a line through the others."""
    fold = np.random.default_rng(seed).permutation(len(wrong)) % FOLDS
    found = np.empty(len(wrong))
    for held in range(FOLDS):
        found[fold == held] = _follow_line(
            _fit_line(evidence[fold != held], wrong[fold != held]), evidence[fold == held]
        )
    return found


def _follow_line(line: Floats, evidence: Floats) -> Floats:
    p: Floats = expit(line[0] + line[1] * evidence)
    return p


def _fit_line(evidence: Floats, wrong: Floats) -> Floats:
    """Shift and slope (Platt 1999) by Newton's method, drawn a little to 0 and 1: to believing the plain score."""
    line, start, pull = np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.array([0.1, 1.0])
    columns = np.stack([np.ones(len(evidence)), evidence], axis=1)
    for _ in range(ROUNDS):
        p = _follow_line(line, evidence)
        slope = columns.T @ (p - wrong) + pull * (line - start)
        curvature = (columns * (p * (1 - p))[:, None]).T @ columns + np.diag(pull)
        step = np.linalg.solve(curvature, slope)
        line = line - step / max(1.0, float(np.abs(step).max()))
    return line
