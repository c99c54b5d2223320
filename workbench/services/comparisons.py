"""Two runs on the same images and the same labels: is the second better, by how much, on which images."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Invalid
from workbench.models import Dataset, Run
from workbench.services.evaluations import Judged, judge
from workbench.services.measures import evaluate, wilson
from workbench.services.protection import is_marked

DRAWS = 10_000
ALPHA = 0.05


def compare(
    session: Session, home: Home, *, run_a: Run, run_b: Run, split: str | None = None, seed: int = 0
) -> dict[str, Any]:
    """Compare on the images of a split that both runs predicted and neither had seen, by the newest labels.

    split: none for the one that run A was measured on. JSON-able; positive differences speak for run B.
    """
    if run_a.dataset_id != run_b.dataset_id:
        raise Invalid(f"Run {run_a.id} and run {run_b.id} belong to two data sets; compare runs of one.")
    first = judge(session, home, run_a, split=split)
    second = judge(session, home, run_b, split=first.split)
    both = np.intersect1d(first.image_ids, second.image_ids)
    if len(both) == 0:
        raise Invalid(
            f"Run {run_a.id} and run {run_b.id} have no image of the split “{first.split}” in common that neither saw."
        )
    first, second = (judged.take(np.isin(judged.image_ids, both)) for judged in (first, second))
    found = compare_answers(_answers(first), _answers(second), _truth(first), image_ids=both, seed=seed)
    return {
        "a": run_a.id,
        "b": run_b.id,
        "split": first.split,
        "cleaned_with_own_flags": is_marked(session.get_one(Dataset, run_a.dataset_id), first.split),
        **found,
        "per_class": _compare_classes(first, second),
        "sentence": make_sentence(found, a=run_a.id, b=run_b.id, split=first.split),
    }


def _answers(judged: Judged) -> NDArray[np.int64]:
    """Class ids, because two runs may have different columns."""
    chosen: NDArray[np.int64] = np.array(judged.class_ids, np.int64)[judged.probs.argmax(1)]
    return chosen


def _truth(judged: Judged) -> NDArray[np.int64]:
    given: NDArray[np.int64] = np.array(judged.class_ids, np.int64)[judged.labels]
    return given


def compare_answers(
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    labels: NDArray[np.int64],
    *,
    image_ids: NDArray[np.int64],
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracies, their difference with a paired bootstrap interval, McNemar's exact test, and what flipped.

    a, b, labels: int (N,) classes. Deterministic for a seed.
    """
    a_right, b_right = a == labels, b == labels
    count, gained, lost = len(labels), int((b_right & ~a_right).sum()), int((a_right & ~b_right).sum())
    low, high = bootstrap_difference(gained, lost, count, seed=seed)
    return {
        "n": count,
        "a_accuracy": _rate(a_right),
        "b_accuracy": _rate(b_right),
        "difference": (gained - lost) / count,
        "low": low,
        "high": high,
        "p": mcnemar_p(gained, lost),
        "flipped": {
            "a_right": image_ids[a_right & ~b_right].tolist(),
            "b_right": image_ids[b_right & ~a_right].tolist(),
            "both_wrong": image_ids[~a_right & ~b_right & (a != b)].tolist(),
        },
    }


def _rate(right: NDArray[np.bool_]) -> dict[str, float]:
    low, high = wilson(int(right.sum()), len(right))
    return {"accuracy": float(right.mean()), "low": low, "high": high}


def bootstrap_difference(
    gained: int, lost: int, count: int, *, seed: int = 0, draws: int = DRAWS
) -> tuple[float, float]:
    """The 95 % percentile interval of the difference in accuracy over resampled images.

    Each image adds +1, 0 or -1, so that drawing N images with replacement is one multinomial draw of three numbers.
    """
    shares = np.array([gained, lost, count - gained - lost]) / count
    drawn = np.random.default_rng(seed).multinomial(count, shares, size=draws)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / count, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def mcnemar_p(gained: int, lost: int) -> float:
    """How often chance alone makes a split at least as uneven as this among the images where only one run is right."""
    return float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def make_sentence(found: dict[str, Any], *, a: int, b: int, split: str) -> str:
    """Whether the difference is more than chance, for people."""
    points = 100 * found["difference"]
    rates = (
        f"On {found['n']:,} images ({split}) run {b} gets {found['b_accuracy']['accuracy']:.1%} right "
        f"and run {a} {found['a_accuracy']['accuracy']:.1%}"
    )
    interval = f"{points:+.1f} points, 95 % interval {100 * found['low']:+.1f} to {100 * found['high']:+.1f}"
    if found["p"] >= ALPHA:
        return f"{rates}: {interval}. That is no more than chance would make (p = {_show_p(found['p'])})."
    better = b if points > 0 else a
    return f"{rates}: {interval}. Run {better} is better by more than chance (p = {_show_p(found['p'])})."


def _show_p(p: float) -> str:
    return f"{p:.2f}" if p >= 0.1 else f"{p:.1g}" if p >= 1e-4 else f"1e{math.floor(math.log10(max(p, 1e-300)))}"


def _compare_classes(first: Judged, second: Judged) -> list[dict[str, Any]]:
    """Recall of each class in both runs, in the order of the first; classes that only one knows come after."""
    rows = [_class_rows(judged) for judged in (first, second)]
    return [
        {
            "class": name,
            "n": max(found[name]["support"] for found in rows if name in found),
            "a_recall": rows[0].get(name, {}).get("recall"),
            "b_recall": rows[1].get(name, {}).get("recall"),
            "difference": _difference(rows[0].get(name, {}).get("recall"), rows[1].get(name, {}).get("recall")),
        }
        for name in dict.fromkeys([*rows[0], *rows[1]])
    ]


def _class_rows(judged: Judged) -> dict[str, dict[str, Any]]:
    found: Sequence[dict[str, Any]] = evaluate(judged.probs, judged.labels, class_names=judged.class_names)["per_class"]
    return {row["name"]: row for row in found}


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else b - a
