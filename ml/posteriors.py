"""What an image shows, as a belief over its classes: the label if it is right, and where a wrong one belongs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

Floats = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]

FLOOR = 1e-3  # least probability before its logarithm is taken
SCALE_PENALTY = 10.0  # on how far the model's own probabilities are sharpened or flattened
PENALTIES = (1e6, 30.0, 10.0, 3.0, 1.0, 0.3)  # on what is particular to classes; the first forbids it
MOST_PAIRS = 10_000  # pairs of a given and a true class that are told apart; with more classes only the true one is
FOLDS = 5
FEWEST = 2 * FOLDS  # wrong verdicts, fewer teach nothing


def learn_posterior(
    probs: NDArray[np.floating[Any]],
    given: Integers,
    *,
    p_wrong: NDArray[np.floating[Any]],
    verdict_rows: Integers,
    verdict_classes: Integers,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Learn a posterior over the classes of every image.

    probs: float (N, K), rows sum to 1, **out-of-sample**. given: int (N,), the labels as they came, -1 for none.
    p_wrong: float (N,), P(given label is wrong), nan where nobody knows (ml.verdicts). verdict_rows: int (M,), images
    that reviewers settled. verdict_classes: int (M,), the class that they said, negative for none in particular.
    Returns float32 (N, K), rows sum to 1: 1 - p_wrong on the given class, and p_wrong spread over the others as the
    model's probabilities say, corrected by where the verdicts moved wrong labels. Rows without `p_wrong` are `probs`.

    The correction is a scale of the log-probabilities, a shift for each true class and for each pair of given and true
    class, by maximum likelihood on the wrong verdicts, shrunk towards the model's own probabilities by a penalty that
    cross-validation chooses. Deterministic for a seed. Time O(N K + M K^2). Raises ValueError for shapes that differ.
    """
    count, class_count = probs.shape
    if given.shape != (count,) or p_wrong.shape != (count,) or verdict_rows.shape != verdict_classes.shape:
        raise ValueError("probs, given and p_wrong must have one row for each image, the verdicts a class for each row")
    posterior = np.asarray(probs, np.float64) / np.asarray(probs, np.float64).sum(1, keepdims=True)
    known = np.flatnonzero((given >= 0) & np.isfinite(p_wrong))
    if class_count < 2 or len(known) == 0:
        return np.asarray(posterior, np.float32)
    taught = (verdict_classes >= 0) & (given[verdict_rows] >= 0) & (verdict_classes != given[verdict_rows])
    rows, classes = verdict_rows[taught].astype(np.int64), verdict_classes[taught].astype(np.int64)
    moves = learn_moves(posterior[rows], given[rows], classes, seed=seed)
    own, wrong = given[known].astype(np.int64), np.clip(p_wrong[known].astype(np.float64), 0, 1)
    spread = softmax(moves.score(posterior[known], own), axis=1)  # (M, K), 0 on the given class
    posterior[known] = wrong[:, None] * spread
    posterior[known, own] = 1 - wrong
    return np.asarray(posterior, np.float32)


@dataclass(frozen=True)
class Moves:
    """Where wrong labels belong: what is added to the logarithms of the model's probabilities of the other classes."""

    scale: float  # of the logarithms; 1 as they are
    shifts: Floats  # (K,) of each true class
    pairs: Floats  # (K, K) given, true; zero where there are too many classes
    penalty: float  # that was chosen

    def score(self, probs: Floats, given: NDArray[np.int64]) -> Floats:
        """Logits (M, K), -inf on the given class."""
        logits: Floats = self.scale * _log(probs) + self.shifts + self.pairs[given]
        logits[np.arange(len(given)), given] = -np.inf
        return logits


def _log(probs: Floats) -> Floats:
    logs: Floats = np.log(np.maximum(probs, FLOOR))
    return logs


def learn_moves(probs: Floats, given: NDArray[np.int64], classes: NDArray[np.int64], *, seed: int) -> Moves:
    """The moves of M wrong labels. probs: (M, K); given, classes: (M,), nowhere equal. Cost: six fits of each fold."""
    if len(classes) < FEWEST:
        return _fit(probs[:0], given[:0], classes[:0], penalty=PENALTIES[0])
    fold = np.random.default_rng(seed).permutation(len(classes)) % FOLDS
    losses = [_cross_validate(probs, given, classes, fold, penalty) for penalty in PENALTIES]
    return _fit(probs, given, classes, penalty=PENALTIES[int(np.argmin(losses))])


def _cross_validate(
    probs: Floats, given: NDArray[np.int64], classes: NDArray[np.int64], fold: NDArray[np.int64], penalty: float
) -> float:
    loss = 0.0
    for held in range(FOLDS):
        kept, tested = fold != held, fold == held
        moves = _fit(probs[kept], given[kept], classes[kept], penalty=penalty)
        logits = log_softmax(moves.score(probs[tested], given[tested]), axis=1)
        loss -= float(logits[np.arange(int(tested.sum())), classes[tested]].sum())
    return loss


def _fit(probs: Floats, given: NDArray[np.int64], classes: NDArray[np.int64], *, penalty: float) -> Moves:
    """By maximum penalised likelihood; the penalty of a pair is twice that of a class, which pools what pairs share."""
    class_count = probs.shape[1]
    shape = (class_count, class_count) if class_count**2 <= MOST_PAIRS else (0, 0)
    ridge = np.concatenate([[SCALE_PENALTY], np.full(class_count, penalty), np.full(shape[0] ** 2, 2 * penalty)])
    start = np.zeros(len(ridge))
    start[0] = 1.0
    truth = np.zeros((len(classes), class_count))
    truth[np.arange(len(classes)), classes] = 1
    logs = _log(probs)

    def read(weights: Floats) -> Moves:
        pairs = weights[1 + class_count :].reshape(shape) if shape[0] else np.zeros((class_count, class_count))
        return Moves(float(weights[0]), weights[1 : 1 + class_count], pairs, penalty)

    def measure(weights: Floats) -> tuple[float, Floats]:
        logits = log_softmax(read(weights).score(probs, given), axis=1)
        excess = np.exp(logits) - truth  # (M, K)
        away = weights - start
        by_pair = np.zeros(shape)
        if shape[0]:
            np.add.at(by_pair, given, excess)
        gradient = np.concatenate([[float((excess * logs).sum())], excess.sum(0), by_pair.ravel()]) + ridge * away
        loss = -float(logits[np.arange(len(classes)), classes].sum()) + 0.5 * float((ridge * away**2).sum())
        return loss, gradient

    return read(minimize(measure, start, jac=True, method="L-BFGS-B").x)
