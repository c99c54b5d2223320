"""P(wrong) of every label, learned from out-of-sample probabilities and the verdicts of reviewers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from ml.labels import label_issues

Floats = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]

AMBIGUOUS, UNUSABLE = -1, -2  # verdicts that name no class: the label may be right; the label is not right
PENALTIES = (1e6, 30.0, 10.0, 3.0, 1.0, 0.3)  # on what is particular to a class; the first forbids it
FOLDS = 5
EDGE = 1e-4  # probabilities stay so far from 0 and 1 before their logit is taken


@dataclass(frozen=True)
class Learned:
    """What verdicts teach about the labels of N images."""

    p_wrong: NDArray[np.float32]  # (N,) in 0..1; nan where there is no label
    score: NDArray[np.float32]  # (N,) the order to review in, the most suspicious highest; nan where there is no label
    p_ambiguous: NDArray[np.float32]  # (N,) that people would split on the image
    shrinkage: float  # 1: nothing particular to the classes was learned, towards 0: all that the verdicts say
    verdicts: int  # that it was learned from


def learn_p_wrong(
    probs: NDArray[np.floating[Any]],
    given: Integers,
    *,
    signals: NDArray[np.floating[Any]] | None = None,  # noqa: ARG001
    verdict_rows: Integers,
    verdict_classes: Integers,
    is_random: NDArray[np.bool_],  # noqa: ARG001
    seed: int = 0,
) -> Learned:
    """Learn how probably each label is wrong.

    probs: float (N, K), rows sum to 1, **out-of-sample**. given: int (N,), the labels as they came, -1 for none.
    signals: float (N, S), more of what is suspicious about the label, each in 0..1 (ml.signals), none by default.
    verdict_rows: int (M,), images that reviewers settled. verdict_classes: int (M,), the class that they said,
    AMBIGUOUS or UNUSABLE. is_random: bool (M,), whether chance alone chose the image, whatever its score.

    A logistic regression of "the verdict is another class" on the score without verdicts, and on what is particular
    to the given class, shrunk towards none of it by cross-validation. Deterministic for a seed.
    """
    plain = label_issues(probs, given)
    known = np.isfinite(plain.p_wrong)
    evidence = np.zeros(len(given))
    evidence[known] = logit(np.clip(plain.p_wrong[known].astype(np.float64), EDGE, 1 - EDGE))
    rows, said = _usable(known, verdict_rows, verdict_classes)
    doubt = _doubt(probs)
    if len(rows) < FOLDS * 2:
        return Learned(plain.p_wrong, plain.score, doubt, 1.0, 0)
    wrong = (said != given[rows]).astype(np.float64)
    columns = _describe(evidence, given, probs.shape[1])
    penalty = _choose_penalty(columns[rows], wrong, evidence[rows], seed=seed)
    weights = _fit(columns[rows], wrong, evidence[rows], penalty=penalty)
    learned = expit(evidence + columns @ weights)
    p_wrong = np.where(known, learned, np.nan).astype(np.float32)
    return Learned(p_wrong, p_wrong, doubt, float(penalty / (1 + penalty)), len(rows))


def _usable(known: NDArray[np.bool_], rows: Integers, classes: Integers) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    kept = known[rows] & (classes != AMBIGUOUS)
    return rows[kept].astype(np.int64), classes[kept].astype(np.int64)


def _doubt(probs: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """1 less the lead of the best class over the second."""
    if probs.shape[1] < 2:
        return np.zeros(len(probs), np.float32)
    best = np.sort(probs, axis=1)[:, -2:]
    return (1 - (best[:, 1] - best[:, 0])).astype(np.float32)


def _describe(evidence: Floats, given: Integers, class_count: int) -> Floats:
    """(N, 2 + 2K): a shift and a slope for all, and for each given class its own."""
    own = (given[:, None] == np.arange(class_count)).astype(np.float64)
    return np.concatenate([np.ones((len(given), 1)), evidence[:, None], own, own * evidence[:, None]], axis=1)


def _choose_penalty(columns: Floats, wrong: Floats, offset: Floats, *, seed: int) -> float:
    """The one with the least cross-validated log loss; ties to the strongest."""
    fold = np.random.default_rng(seed).permutation(len(wrong)) % FOLDS
    losses = []
    for penalty in PENALTIES:
        loss = 0.0
        for held in range(FOLDS):
            taught = fold != held
            weights = _fit(columns[taught], wrong[taught], offset[taught], penalty=penalty)
            loss += _log_loss(wrong[~taught], offset[~taught] + columns[~taught] @ weights)
        losses.append(loss)
    return PENALTIES[int(np.argmin(losses))]


def _log_loss(wrong: Floats, logits: Floats) -> float:
    return float((np.logaddexp(0, logits) - wrong * logits).sum())


def _fit(columns: Floats, wrong: Floats, offset: Floats, *, penalty: float) -> Floats:
    """Weights (D,) of a ridge logistic regression on top of an offset, by Newton's method."""
    ridge = np.full(columns.shape[1], penalty)
    ridge[:2] = 0.1
    weights = np.zeros(columns.shape[1])
    for _ in range(25):
        p = expit(offset + columns @ weights)
        gradient = columns.T @ (p - wrong) + ridge * weights
        curvature = (columns * (p * (1 - p))[:, None]).T @ columns + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        weights -= step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-6:
            break
    return weights
