"""What an image shows, as a belief over its classes, learned from what reviewers said about some of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]

FLOOR = 1e-3  # least probability before its logarithm is taken
STRENGTHS = (1e4, 30.0, 10.0, 3.0, 1.0, 0.3)  # of the penalties, the first forbids all that is particular to classes
MIXED, PAIRED, SHIFTED = 10.0, 1.0, 0.5  # penalties on mixing the logarithms, on pairs of classes, on single classes
SCALED, TRUSTED = 1.0, 0.1  # on the scale of all logarithms, on the weight of the given label: never strengthened
MOST_PAIRS = 10_000  # pairs of classes that are told apart; with more classes only single ones are
CLEARLY = 2.0  # nats over all verdicts by which a weaker penalty has to be better
FOLDS = 5
FEWEST = 2 * FOLDS  # verdicts, fewer teach nothing


@dataclass(frozen=True)
class Beliefs:
    """What N images show, for all that the model, the given labels and the verdicts say."""

    probs: Floats  # (N, K), rows sum to 1; of images without a label the model's own
    crossed: Floats  # (M, K) of the images of the verdicts, each by a fit on the others; nan where not usable
    strength: float  # of the penalties, as cross-validation chose: high where nothing is particular to classes


def learn_beliefs(
    probs: NDArray[np.floating[Any]],
    given: Integers,
    *,
    verdict_rows: Integers,
    verdict_classes: Integers,
    seed: int = 0,
) -> Beliefs:
    """Learn P(class | model's probabilities, given label) from verdicts.

    probs: float (N, K), rows sum to 1, **out-of-sample**. given: int (N,), the labels as they came, -1 for none.
    verdict_rows: int (M,), images that reviewers settled. verdict_classes: int (M,), the class that they said, negative
    for none in particular: these teach nothing here.

    A multinomial logistic regression on the log-probabilities and the given label: one scale, the weight of the given
    label, shifts of single classes, and for each pair of classes how a given (or predicted) one speaks for a true one.
    What is particular to classes is penalised with a strength that cross-validation chooses. Ranks wrong labels better
    than a regression of "wrong" alone, because where a label belongs is learned with it (docs/experiments.md).
    Deterministic for a seed. Time O(N K^2 + M K^2): 2 s for 30,000 images, 7 classes and 1,000 verdicts.
    Raises ValueError for shapes that differ.
    """
    if given.shape != (len(probs),) or verdict_rows.shape != verdict_classes.shape:
        raise ValueError("probs and given must have one row for each image, the verdicts a class for each row")
    beliefs = np.asarray(probs, np.float64) / np.asarray(probs, np.float64).sum(1, keepdims=True)
    crossed = np.full((len(verdict_rows), probs.shape[1]), np.nan)
    taught = np.flatnonzero((verdict_classes >= 0) & (given[verdict_rows] >= 0))
    if probs.shape[1] < 2 or len(taught) < FEWEST:
        return Beliefs(beliefs, crossed, STRENGTHS[0])
    rows, classes = verdict_rows[taught].astype(np.int64), verdict_classes[taught].astype(np.int64)
    fold = np.random.default_rng(seed).permutation(len(rows)) % FOLDS
    with threadpool_limits(1):  # many small products, on which threads only wait for one another
        tried = {strength: _cross(beliefs[rows], given[rows], classes, fold, strength) for strength in STRENGTHS}
        picks = np.arange(len(rows)), classes
        fits = {each: float(np.log(found[picks] + 1e-12).sum()) for each, found in tried.items()}
        strength = max(each for each in fits if fits[each] >= max(fits.values()) - CLEARLY)
        crossed[taught] = tried[strength]
        labelled = np.flatnonzero(given >= 0)
        fit = _fit(beliefs[rows], given[rows], classes, strength)
        beliefs[labelled] = fit.believe(beliefs[labelled], given[labelled])
    return Beliefs(beliefs, crossed, strength)


def learn_posterior(
    probs: NDArray[np.floating[Any]],
    given: Integers,
    *,
    p_wrong: NDArray[np.floating[Any]],
    verdict_rows: Integers,
    verdict_classes: Integers,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Learn a posterior over the classes of every image that says of the given label what `p_wrong` says.

    As for `learn_beliefs`, with p_wrong: float (N,), P(given label is wrong), nan where nobody knows (ml.verdicts).
    Returns float32 (N, K), rows sum to 1: 1 - p_wrong on the given class, and p_wrong spread over the other classes as
    the beliefs are. Rows without `p_wrong` are `probs`.
    """
    if p_wrong.shape != given.shape:
        raise ValueError("p_wrong must have one value for each image")
    found = learn_beliefs(probs, given, verdict_rows=verdict_rows, verdict_classes=verdict_classes, seed=seed)
    known = np.flatnonzero((given >= 0) & np.isfinite(p_wrong))
    posterior = np.asarray(probs, np.float64) / np.asarray(probs, np.float64).sum(1, keepdims=True)
    if probs.shape[1] > 1:
        posterior[known] = share_out(found.probs[known], given[known], p_wrong=p_wrong[known])
    return np.asarray(posterior, np.float32)


def share_out(beliefs: Floats, given: Integers, *, p_wrong: NDArray[np.floating[Any]]) -> Floats:
    """The beliefs (N, K) with 1 - p_wrong on the given class and the others scaled to fill p_wrong."""
    rows, wrong = np.arange(len(given)), np.clip(p_wrong.astype(np.float64), 0, 1)
    others = np.maximum(beliefs, 1e-12)
    others[rows, given] = 0
    shared: Floats = others / others.sum(1, keepdims=True) * wrong[:, None]
    shared[rows, given] = 1 - wrong
    return shared


# --- the regression ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fit:
    """logits = scale log p + log p mixed + shifts + pairs[given] + trust on the given class."""

    scale: float
    trust: float
    shifts: Floats  # (K,)
    mixed: Floats  # (K, K)
    pairs: Floats  # (K, K) given, true

    def log_believe(self, probs: Floats, given: Integers) -> Floats:
        logs = np.log(np.maximum(probs, FLOOR))
        logits = self.scale * logs + logs @ self.mixed + self.shifts + self.pairs[given]
        logits[np.arange(len(given)), given] += self.trust
        believed: Floats = log_softmax(logits, axis=1)
        return believed

    def believe(self, probs: Floats, given: Integers) -> Floats:
        found: Floats = np.exp(self.log_believe(probs, given))
        return found


def _cross(probs: Floats, given: Integers, classes: Integers, fold: Integers, strength: float) -> Floats:
    """Beliefs (M, K) about each image by a fit on the other folds."""
    found = np.empty(probs.shape)
    for held in range(FOLDS):
        kept, tested = fold != held, fold == held
        fit = _fit(probs[kept], given[kept], classes[kept], strength)
        found[tested] = fit.believe(probs[tested], given[tested])
    return found


def _fit(probs: Floats, given: Integers, classes: Integers, strength: float) -> _Fit:
    """By maximum penalised likelihood, from the model's own probabilities."""
    class_count = probs.shape[1]
    are_paired = class_count**2 <= MOST_PAIRS
    logs, rows = np.log(np.maximum(probs, FLOOR)), np.arange(len(classes))
    truth, labels = np.eye(class_count)[classes], np.eye(class_count)[given]
    penalties = _list_penalties(class_count, strength, are_paired=are_paired)
    start = np.zeros(len(penalties))
    start[0] = 1.0

    def measure(weights: Floats) -> tuple[float, Floats]:
        logits = _read(weights, class_count).log_believe(probs, given)
        excess = np.exp(logits) - truth  # (M, K)
        parts = [[(excess * logs).sum(), excess[rows, given].sum()], excess.sum(0)]
        parts += [(logs.T @ excess).ravel(), (labels.T @ excess).ravel()] if are_paired else []
        away = weights - start
        loss = -float(logits[rows, classes].sum()) + 0.5 * float((penalties * away**2).sum())
        return loss, np.concatenate(parts) + penalties * away

    return _read(minimize(measure, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x, class_count)


def _list_penalties(class_count: int, strength: float, *, are_paired: bool) -> Floats:
    own = np.full(class_count, SHIFTED * strength)
    if not are_paired:
        return np.concatenate([[SCALED, TRUSTED], own])
    each = np.full(class_count**2, strength)
    return np.concatenate([[SCALED, TRUSTED], own, MIXED * each, PAIRED * each])


def _read(weights: Floats, class_count: int) -> _Fit:
    rest = weights[2 + class_count :]
    of_pairs = rest if len(rest) else np.zeros(2 * class_count**2)
    mixed, pairs = of_pairs.reshape(2, class_count, class_count)
    return _Fit(float(weights[0]), float(weights[1]), weights[2 : 2 + class_count], mixed, pairs)


def keep_shares(
    posterior: NDArray[np.floating[Any]], labels: NDArray[np.floating[Any]], *, strength: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Targets and weights of a training in which classes keep the weight that they have among the labels.

    posterior, labels: float (N, K), rows sum to 1. strength: 0 the posterior as it is, 1 each class weighs in the loss
    what it weighs among the labels, between: the geometric mean. Returns float32 (N, K), rows sum to 1, and (N,), whose
    mean is 1. Classes that are rarer in truth than among the labels would else be learned as rarely as they are, and
    their recall would pay for the accuracy of the others (docs/posterior.md).
    """
    masses = posterior.sum(0, dtype=np.float64), labels.sum(0, dtype=np.float64)
    ratios = np.where(masses[0] > 0, masses[1] / np.maximum(masses[0], 1e-12), 1.0) ** strength
    scaled = posterior * ratios  # (N, K)
    weights = scaled.sum(1)
    safe = np.where(weights > 0, weights, 1.0)
    mean = weights.mean() if len(weights) and weights.any() else 1.0
    return (scaled / safe[:, None]).astype(np.float32), (weights / mean).astype(np.float32)
