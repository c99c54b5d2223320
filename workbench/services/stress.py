"""What a run's accuracy rests on: how far it falls when images get worse, or lose a region. No torch.

The job that measures it is workbench/worker/stressing.py; every number is on the same images as the plain one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.files import read_json, write_json
from workbench.models import Run
from workbench.queries import runs as queries
from workbench.services.measures import mean_interval, wilson

FILE = "stress.json"


def measure(right: NDArray[np.bool_], plain: NDArray[np.bool_]) -> dict[str, Any]:
    """Accuracy on changed images with its Wilson interval, and its paired change from the plain ones. N >= 1."""
    low, high = wilson(int(right.sum()), len(right))
    change_low, change_high = mean_interval(right.astype(np.float64) - plain)
    return {
        "right": int(right.sum()),
        "accuracy": float(right.mean()),
        "low": low,
        "high": high,
        "change": float(right.mean() - plain.mean()),
        "change_low": change_low,
        "change_high": change_high,
    }


def save_stress(home: Home, run_id: int, found: Mapping[str, Any]) -> None:
    write_json(home.run_folder(run_id) / FILE, found)


def read_stress(home: Home, run_id: int) -> dict[str, Any] | None:
    """None where it was not measured."""
    found: dict[str, Any] | None = read_json(home.run_folder(run_id) / FILE)
    return found


def say_weakest(found: Mapping[str, Any]) -> str:
    """What hurts it most, in a sentence."""
    worst = [(min(curve["points"], key=_change), curve) for curve in found["curves"]]
    point, curve = min(worst, key=lambda pair: _change(pair[0]))
    if point["change_high"] is None or point["change_high"] >= 0:
        return f"Nothing that was tried lowers its accuracy for certain on these {found['n']:,} images."
    bounds = f"[{100 * point['change_low']:.1f}, {100 * point['change_high']:.1f}]"
    return (
        f"It loses most to {curve['title'].lower() if curve['title'] != 'JPEG' else 'JPEG'}: at {point['strength']:g} "
        f"({curve['unit']}) {100 * point['change']:+.1f} points {bounds}."
    ).replace("-", "−")


def _change(point: Mapping[str, Any]) -> float:
    return float(point["change"])


def list_masked(session: Session, run: Run, *, masks: Sequence[str]) -> dict[str, Run]:
    """Mask -> the newest finished run that differs from this one by its mask alone: same version, settings, seed."""
    found: dict[str, Run] = {}
    for other in queries.list_done_runs(session, dataset_id=run.dataset_id, limit=200):
        mask = _mask_of(other)
        if mask in masks and mask not in found and _asks(other) == _asks(run) and other.metrics:
            found[mask] = other
    return found


def _mask_of(run: Run) -> str:
    return str(run.config.get("overrides", {}).get("mask", "none"))


def _asks(run: Run) -> tuple[Any, ...]:
    settings = {key: value for key, value in run.config.get("overrides", {}).items() if key != "mask"}
    others = (run.config.get("folds"), run.config.get("seed"), run.config.get("leave_out", "exact"))
    return run.arch, run.preset, run.content_hash, run.from_run_id, settings, others
