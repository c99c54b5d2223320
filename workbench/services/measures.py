"""What predictions are worth, on arrays: each number with its n, an interval and the baseline. No torch, no sklearn."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Z95 = float(ndtri(0.975))
BINS = 15
MOST_CONFUSED = 10


def wilson(right: int, count: int, *, z: float = Z95) -> tuple[float, float]:
    """The Wilson interval of a rate: 95 % by default; (0, 1) when nothing was counted."""
    if count == 0:
        return 0.0, 1.0
    rate = right / count
    centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return (0.0 if right == 0 else centre - half), (1.0 if right == count else centre + half)


def evaluate(
    probs: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], *, class_names: Sequence[str]
) -> dict[str, Any]:
    """Everything a run page says about predictions of N images, JSON-able; what cannot be said is None.

    probs: float (N, K), labels: int (N,) in 0..K-1. Rows are normalised first: half precision does not sum to 1.
    Ties between classes go to the first. Macro F1 is the mean over the classes that occur among labels or predictions.
    """
    count, class_count = len(labels), len(class_names)
    values = _normalise(probs, class_count)
    truth = np.asarray(labels, np.int64)
    predicted = values.argmax(1) if count else np.empty(0, np.int64)
    confusion = np.bincount(truth * class_count + predicted, minlength=class_count**2).reshape(class_count, class_count)
    per_class = _measure_classes(confusion, class_names)
    right = int(np.trace(confusion))
    low, high = wilson(right, count)
    seen = [row for row in per_class if row["support"] + row["predicted"]]
    return {
        "n": count,
        "right": right,
        "accuracy": _ratio(right, count),
        "low": low,
        "high": high,
        "baseline": _measure_baseline(confusion, class_names),
        "macro_f1": _mean([row["f1"] or 0.0 for row in seen]),
        "weighted_f1": _ratio(sum((row["f1"] or 0.0) * row["support"] for row in seen), count),
        "log_loss": measure_log_loss(values, truth),
        "ece": measure_calibration(values, truth),
        "top2": _measure_top2(values, truth),
        "classes": list(class_names),
        "confusion": confusion.tolist(),
        "per_class": per_class,
        "most_confused": list_most_confused(confusion, class_names),
    }


def _normalise(probs: NDArray[np.floating[Any]], class_count: int) -> NDArray[np.float64]:
    values = np.asarray(probs, np.float64).reshape(-1, class_count)
    return values / values.sum(1, keepdims=True) if len(values) else values


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _measure_classes(confusion: NDArray[np.int64], class_names: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for index, name in enumerate(class_names):
        right, support, predicted = (
            int(n) for n in (confusion[index, index], confusion[index].sum(), confusion[:, index].sum())
        )
        low, high = wilson(right, support)
        rows.append(
            {
                "name": name,
                "support": support,
                "predicted": predicted,
                "right": right,
                "precision": _ratio(right, predicted),
                "recall": _ratio(right, support),
                "recall_low": low,
                "recall_high": high,
                "f1": _ratio(2 * right, support + predicted),
            }
        )
    return rows


def _measure_baseline(confusion: NDArray[np.int64], class_names: Sequence[str]) -> dict[str, Any]:
    """How often the most frequent class is the answer: what a model must beat to have learnt anything."""
    supports = confusion.sum(1)
    if supports.sum() == 0:
        return {"class": None, "accuracy": None}
    best = int(supports.argmax())
    return {"class": class_names[best], "accuracy": float(supports[best] / supports.sum())}


def measure_log_loss(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> float | None:
    """Mean cross-entropy in nats; a probability of 0 counts as the smallest half-precision number, about 6e-8."""
    if len(labels) == 0:
        return None
    given = np.maximum(probs[np.arange(len(labels)), labels], float(np.finfo(np.float16).smallest_subnormal))
    return float(-np.log(given).mean())


def measure_calibration(probs: NDArray[np.float64], labels: NDArray[np.int64], *, bins: int = BINS) -> float | None:
    """Expected calibration error: |accuracy - confidence| over equal bins of confidence, weighted by their images."""
    if len(labels) == 0:
        return None
    confidence, right = probs.max(1), (probs.argmax(1) == labels).astype(np.float64)
    chosen = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)  # bins are open below, closed above
    gaps = np.bincount(chosen, right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def _measure_top2(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> float | None:
    """How often the label is among the two most probable classes; ties go to the first."""
    if len(labels) == 0:
        return None
    best = np.argsort(-probs, axis=1, kind="stable")[:, :2]
    return float((best == labels[:, None]).any(1).mean())


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
