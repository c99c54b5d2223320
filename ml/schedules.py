"""How the learning rate goes over a training: a function of the step and, for one schedule, of the losses so far."""

import math
from collections.abc import Sequence

from ml.configs import TrainConfig

LAST_RATE = 1e-4  # of the peak: where a cosine ends


def learning_rate_at(config: TrainConfig, step: int, total: int, *, losses: Sequence[float] = ()) -> float:
    """The learning rate of step 0..total-1: half a cosine up to the peak while it warms up, then what `schedule` says.

    "cosine": half a cosine down to nearly nothing. "constant": the peak. "step": the peak times `decay` for every
    `decay_epochs` epochs that are over, counted from the first. "plateau": the peak times `decay` for every
    `count_drops` of the losses. losses: one after each whole epoch so far; only "plateau" reads them.
    Deterministic: nothing has to be remembered but what is in the history of the epochs anyway.
    """
    peak, peak_step = config.learning_rate, config.warmup * total
    if step < peak_step:
        return _ease(peak / 25, peak, step / peak_step)
    if config.schedule == "constant":
        return peak
    if config.schedule == "step":
        return peak * config.decay ** (step * config.epochs // total // config.decay_epochs)
    if config.schedule == "plateau":
        return peak * config.decay ** count_drops(losses, patience=config.decay_epochs)
    return _ease(peak, peak * LAST_RATE, (step - peak_step) / max(1.0, total - 1 - peak_step))


def _ease(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, share))) / 2


def count_drops(losses: Sequence[float], *, patience: int) -> int:
    """How often `patience` epochs in a row brought no loss below the lowest so far; after each the count begins anew.

    Equals torch's ReduceLROnPlateau with patience - 1, threshold 0. Raises ValueError if patience < 1.
    """
    if patience < 1:
        raise ValueError(f"patience must be 1 or more, not {patience}")
    lowest, without, drops = math.inf, 0, 0
    for loss in losses:
        without = 0 if loss < lowest else without + 1
        lowest = min(lowest, loss)
        if without == patience:
            drops, without = drops + 1, 0
    return drops
