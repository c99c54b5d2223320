"""What predictions are worth, on arrays: each number with its n, an interval and the baseline. No torch, no sklearn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Z95 = float(ndtri(0.975))
BINS = 15
MOST_CONFUSED = 10
TINY = float(np.finfo(np.float16).smallest_subnormal)  # predictions are kept in half precision
DRAWS, SEED = 2000, 20_170  # of the bootstrap of the calibration error: the same predictions, the same interval


def wilson(right: float, count: float, *, z: float = Z95) -> tuple[float, float]:
    """The Wilson interval of a rate: 95 % by default; (0, 1) when nothing was counted. Counts need not be whole."""
    if count == 0:
        return 0.0, 1.0
    rate = right / count
    centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return (0.0 if right == 0 else centre - half), (1.0 if right == count else centre + half)


def score_interval(value: float, variance: float, count: int) -> tuple[float, float]:
    """The Wilson interval of a measure within 0 and 1 that is no rate: of as many draws as would vary that much.

    variance: of the estimate. Where it is 0 (all right, or all wrong) `count` draws are taken for granted.
    """
    draws = value * (1 - value) / variance if variance > 0 else count
    return wilson(value * draws, draws)


def mean_interval(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """The 95 % interval of a mean by the normal law; none for fewer than two values."""
    if len(values) < 2:
        return None, None
    half = Z95 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half


def evaluate(
    probs: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], *, class_names: Sequence[str]
) -> dict[str, Any]:
    """Everything a run page says about predictions of N images, JSON-able; what cannot be said is None.

    probs: float (N, K), labels: int (N,) in 0..K-1. Rows are normalised first: half precision does not sum to 1.
    Ties between classes go to the first. Macro F1 is the mean over the classes that occur among labels or predictions,
    the AUC over those that some images have and some have not. Deterministic; half a second for 100,000 images.
    """
    count, class_count = len(labels), len(class_names)
    values = _normalise(probs, class_count)
    truth = np.asarray(labels, np.int64)
    predicted = values.argmax(1) if count else np.empty(0, np.int64)
    confusion = np.bincount(truth * class_count + predicted, minlength=class_count**2).reshape(class_count, class_count)
    ranked = [measure_auc(values[:, column], truth == column) for column in range(class_count)]
    right = int(np.trace(confusion))
    low, high = wilson(right, count)
    return {
        "n": count,
        "right": right,
        "accuracy": _ratio(right, count),
        "low": low,
        "high": high,
        "baseline": _measure_baseline(confusion, class_names),
        **_measure_f1(confusion),
        **measure_log_loss(values, truth),
        **measure_calibration(values, truth),
        **_measure_top2(values, truth),
        **_join_aucs(ranked, confusion.sum(1)),
        "classes": list(class_names),
        "confusion": confusion.tolist(),
        "per_class": _measure_classes(confusion, ranked, class_names),
        "most_confused": list_most_confused(confusion, class_names),
    }


def _normalise(probs: NDArray[np.floating[Any]], class_count: int) -> NDArray[np.float64]:
    values = np.asarray(probs, np.float64).reshape(-1, class_count)
    return values / values.sum(1, keepdims=True) if len(values) else values


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


# --- by class and over classes ----------------------------------------------------------------------------------


def _measure_classes(
    confusion: NDArray[np.int64], ranked: Sequence["Auc | None"], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    count = int(confusion.sum())
    rows = []
    for index, name in enumerate(class_names):
        right, support, predicted = (
            int(n) for n in (confusion[index, index], confusion[index].sum(), confusion[:, index].sum())
        )
        auc = ranked[index]
        rows.append(
            {
                "name": name,
                "support": support,
                "predicted": predicted,
                "right": right,
                **_rate("precision", right, predicted),
                **_rate("recall", right, support),
                **_rate("specificity", count - support - predicted + right, count - support),
                **_measure_class_f1(right, support, predicted),
                "auc": auc.value if auc else None,
                "auc_low": auc.low if auc else None,
                "auc_high": auc.high if auc else None,
            }
        )
    return rows


def _rate(name: str, right: int, count: int) -> dict[str, float | None]:
    low, high = wilson(right, count)
    return {name: _ratio(right, count), f"{name}_low": low, f"{name}_high": high}


def _measure_class_f1(right: int, support: int, predicted: int) -> dict[str, float | None]:
    """The interval comes from the delta method, on the counts of the class as they would vary with the images."""
    both = support + predicted
    if not both:
        return {"f1": None, "f1_low": None, "f1_high": None}
    value = 2 * right / both
    variance = (right * (2 - 2 * value) ** 2 + (both - 2 * right) * value**2) / both**2
    low, high = score_interval(value, variance, both)
    return {"f1": value, "f1_low": low, "f1_high": high}


def _measure_f1(confusion: NDArray[np.int64]) -> dict[str, float | None]:
    """Macro and weighted F1. Intervals by the delta method (Takahashi et al. 2022, Applied Intelligence 52)."""
    count = int(confusion.sum())
    if not count:
        return dict.fromkeys(f"{name}_f1{end}" for name in ("macro", "weighted") for end in ("", "_low", "_high"))
    cells, rows, both = confusion / count, confusion.sum(1) / count, (confusion.sum(1) + confusion.sum(0)) / count
    seen = both > 0
    size = np.where(seen, both, 1.0)
    f1 = 2 * np.diag(cells) / size
    found: dict[str, float | None] = {}
    for name, weights in (("macro", seen / seen.sum()), ("weighted", rows)):
        value = float(weights @ f1)
        pull = weights * f1 / size
        slope = np.diag(2 * weights / size) - pull[:, None] - pull[None, :]
        if name == "weighted":  # the weights vary with the images too
            slope += f1[:, None] - value
        low, high = score_interval(value, float((cells * slope**2).sum()) / count, count)
        found |= {f"{name}_f1": value, f"{name}_f1_low": low, f"{name}_f1_high": high}
    return found


def _measure_baseline(confusion: NDArray[np.int64], class_names: Sequence[str]) -> dict[str, Any]:
    """What needs no look at an image: saying the most frequent class, or the shares of the classes as probabilities."""
    supports = confusion.sum(1)
    if supports.sum() == 0:
        return dict.fromkeys(("class", "accuracy", "macro_f1", "weighted_f1", "log_loss", "top2", "auc"))
    shares = supports / supports.sum()
    best = int(supports.argmax())
    alone = float(2 * shares[best] / (1 + shares[best]))  # the F1 of the class that is always said
    return {
        "class": class_names[best],
        "accuracy": float(shares[best]),
        "macro_f1": alone / int((supports > 0).sum()),
        "weighted_f1": alone * float(shares[best]),
        "log_loss": _entropy(shares),
        "top2": float(np.sort(shares)[-2:].sum()),
        "auc": 0.5,
    }


def _entropy(shares: NDArray[np.float64]) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())


# --- by image ---------------------------------------------------------------------------------------------------


def list_log_losses(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cross-entropy per image in nats; a probability of 0 counts as the smallest half-precision number, about 6e-8."""
    given = np.maximum(probs[np.arange(len(labels)), labels], TINY)
    losses: NDArray[np.float64] = -np.log(given)
    return losses


def measure_log_loss(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float | None]:
    """The mean over images, with its interval."""
    losses = list_log_losses(probs, labels)
    low, high = mean_interval(losses)
    return {"log_loss": float(losses.mean()) if len(losses) else None, "log_loss_low": low, "log_loss_high": high}


def _measure_top2(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float | None]:
    """How often the label is among the two most probable classes; ties go to the first."""
    best = np.argsort(-probs, axis=1, kind="stable")[:, :2]
    return _rate("top2", int((best == labels[:, None]).any(1).sum()), len(labels))


# --- calibration ------------------------------------------------------------------------------------------------


def measure_calibration(probs: NDArray[np.float64], labels: NDArray[np.int64], *, bins: int = BINS) -> dict[str, Any]:
    """Expected calibration error: |accuracy - confidence| over equal bins of confidence, weighted by their images.

    `ece_calibrated` is what it would be on average for these confidences if they were true: never 0 for finitely many
    images, which push the error up. The interval therefore reaches down by as much as the bootstrap of the bins' sums
    shows them to, and to 0 where nothing but chance is needed; it has a fixed seed. `calibration` holds the bins.
    """
    count = len(labels)
    if count == 0:
        return {"ece": None, "ece_low": None, "ece_high": None, "ece_calibrated": None, "calibration": []}
    confidence, right = probs.max(1), (probs.argmax(1) == labels).astype(np.float64)
    chosen = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)  # bins are open below, closed above
    gaps = np.bincount(chosen, right - confidence, minlength=bins) / count
    squares = np.bincount(chosen, (right - confidence) ** 2, minlength=bins) / count
    noise = np.sqrt(np.bincount(chosen, confidence * (1 - confidence), minlength=bins)) / count
    found = float(np.abs(gaps).sum())
    low, high = _bound_calibration(gaps, (np.diag(squares) - np.outer(gaps, gaps)) / count, noise)
    return {
        "ece": found,
        "ece_low": low,
        "ece_high": high,
        "ece_calibrated": float(np.sqrt(2 / np.pi) * noise.sum()),
        "calibration": _list_bins(confidence, right, chosen, bins=bins),
    }


def _bound_calibration(
    gaps: NDArray[np.float64], covariance: NDArray[np.float64], noise: NDArray[np.float64]
) -> tuple[float, float]:
    """The basic bootstrap interval of the sum of absolute gaps. noise: their deviations if confidences were true."""
    rng = np.random.default_rng(SEED)
    found = float(np.abs(gaps).sum())
    drawn = np.abs(rng.multivariate_normal(gaps, covariance, DRAWS, method="eigh")).sum(1)
    by_chance = np.quantile(np.abs(rng.normal(0.0, 1.0, (DRAWS, len(noise))) * noise).sum(1), 0.95)
    low, high = 2 * found - np.quantile(drawn, [0.975, 0.025])
    return float(max(low, 0.0)) if found > by_chance else 0.0, float(min(max(high, found), 1.0))


def _list_bins(
    confidence: NDArray[np.float64], right: NDArray[np.float64], chosen: NDArray[np.int64], *, bins: int
) -> list[dict[str, Any]]:
    counts = np.bincount(chosen, minlength=bins)
    confident, correct = np.bincount(chosen, confidence, minlength=bins), np.bincount(chosen, right, minlength=bins)
    return [
        {
            "from": number / bins,
            "to": (number + 1) / bins,
            "n": int(counts[number]),
            "confidence": float(confident[number] / counts[number]),
            **_rate("accuracy", round(correct[number]), int(counts[number])),
        }
        for number in np.flatnonzero(counts).tolist()
    ]


# --- ranking ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Auc:
    """The area under a ROC curve with its interval; influence: how much each image moves it, (N,), mean 0."""

    value: float
    low: float
    high: float
    influence: NDArray[np.float64]


def measure_auc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> Auc | None:
    """The chance that a positive image has a higher score than a negative one, ties counting half.

    The interval is Wilson's for DeLong's variance (1988, Biometrics 44). None where one of the two kinds is missing.
    """
    yes, no = int(positive.sum()), int((~positive).sum())
    if not yes or not no:
        return None
    placed_yes = _place(scores[positive], among=scores[~positive])
    placed_no = 1 - _place(scores[~positive], among=scores[positive])
    value = float(placed_yes.mean())
    variance = sum(float(each.var(ddof=1)) / len(each) for each in (placed_yes, placed_no) if len(each) > 1)
    influence = np.empty(len(scores))
    influence[positive] = (placed_yes - value) * len(scores) / yes
    influence[~positive] = (placed_no - value) * len(scores) / no
    low, high = score_interval(value, variance, min(yes, no))
    return Auc(value, low, high, influence)


def _place(scores: NDArray[np.float64], *, among: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of `among` that each score is above, ties counting half."""
    ordered = np.sort(among)
    placed = np.searchsorted(ordered, scores) + np.searchsorted(ordered, scores, "right")
    shares: NDArray[np.float64] = placed / (2 * len(among))
    return shares


def _join_aucs(ranked: Sequence[Auc | None], supports: NDArray[np.int64]) -> dict[str, float | None]:
    """Each class against the rest: the mean over classes, and weighted by their images."""
    known = [(auc, int(support)) for auc, support in zip(ranked, supports, strict=True) if auc]
    if not known:
        return dict.fromkeys(("auc", "auc_low", "auc_high", "weighted_auc"))
    aucs = [auc for auc, _ in known]
    value = float(np.mean([auc.value for auc in aucs]))
    count = len(aucs[0].influence)
    joined = sum((auc.influence for auc in aucs), np.zeros(count)) / len(aucs)
    low, high = score_interval(value, float((joined**2).mean()) / count, count)
    weighted = sum(auc.value * support for auc, support in known) / sum(support for _, support in known)
    return {"auc": value, "auc_low": low, "auc_high": high, "weighted_auc": weighted}


# --- confusions -------------------------------------------------------------------------------------------------


def list_most_confused(confusion: NDArray[np.int64], class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The cells off the diagonal that hold most images, with their share of the true class."""
    cells = [
        (int(confusion[true, predicted]), true, predicted)
        for true in range(len(class_names))
        for predicted in range(len(class_names))
        if true != predicted and confusion[true, predicted]
    ]
    cells.sort(key=lambda cell: (-cell[0], cell[1], cell[2]))
    return [
        {
            "true": class_names[true],
            "predicted": class_names[predicted],
            "n": n,
            "share": n / int(confusion[true].sum()),
        }
        for n, true, predicted in cells[:MOST_CONFUSED]
    ]
