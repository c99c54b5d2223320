"""How often the 95 % intervals of a run's measures hold the true value, on drawn predictions.

    python benchmarks/intervals.py [--draws 250]

Five classes of 40, 30, 15, 10 and 5 %; logits are normal with 1.5 more for the label, and their sharpness makes the
predictions true, too sure or not sure enough. The true value is that of 400,000 images.
"""

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.services.measures import evaluate

SHARES = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
NAMES = list("abcde")
MEASURES = ("accuracy", "top2", "macro_f1", "weighted_f1", "auc", "log_loss", "ece")


def draw(count: int, *, sharpness: float, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    labels = rng.choice(len(SHARES), count, p=SHARES)
    logits = rng.normal(size=(count, len(SHARES)))
    logits[np.arange(count), labels] += 1.5
    probs = SHARES * np.exp(logits * sharpness)
    return probs / probs.sum(1, keepdims=True), labels


def bounds(found: dict[str, Any], measure: str) -> tuple[float, float]:
    return (
        (found["low"], found["high"]) if measure == "accuracy" else (found[f"{measure}_low"], found[f"{measure}_high"])
    )


def count_hits(*, count: int, sharpness: float, draws: int, rng: np.random.Generator) -> dict[str, float]:
    """Measure -> the share of draws whose interval holds the true value."""
    true = evaluate(*draw(400_000, sharpness=sharpness, rng=rng), class_names=NAMES)
    hits = dict.fromkeys(MEASURES, 0)
    for _ in range(draws):
        found = evaluate(*draw(count, sharpness=sharpness, rng=rng), class_names=NAMES)
        for measure in MEASURES:
            low, high = bounds(found, measure)
            hits[measure] += low <= true[measure] <= high
    return {measure: number / draws for measure, number in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=250)
    draws = parser.parse_args().draws
    rng = np.random.default_rng(1)
    print(f"{'images':>6} {'sharpness':>9}  " + "  ".join(f"{measure:>11}" for measure in MEASURES))
    for sharpness in (1.5, 1.0, 2.5):
        for count in (60, 400, 3000):
            hits = count_hits(count=count, sharpness=sharpness, draws=draws, rng=rng)
            print(f"{count:>6} {sharpness:>9}  " + "  ".join(f"{hits[measure]:>11.1%}" for measure in MEASURES))


if __name__ == "__main__":
    main()
