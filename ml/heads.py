"""Fit a head on features that a trained network gives: the retrain that takes a second, because nothing else moves."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ml.checkpoints import CHECKPOINT, read_checkpoint, write_checkpoint
from ml.configs import TrainConfig
from ml.devices import use_threads
from ml.models.classifier import make_head

PENALTY = 0.01  # times the squared distance from where a linear head starts; docs/experiments.md says why
PENALTY_HIDDEN = 0.003  # times the squared weights of a head with a hidden layer
ROUNDS = 60  # of L-BFGS, at most


def fit_head(
    features: NDArray[np.float32],
    targets: NDArray[np.float32],
    *,
    weights: NDArray[np.float32] | None = None,
    balanced: bool = False,
    start: nn.Module | None = None,
    hidden: int = 0,
    label_smoothing: float = 0.0,
    seed: int = 0,
    on_round: Callable[[int, int], None] | None = None,
) -> tuple[nn.Module, float]:
    """Return a head from features to logits that fits the targets, and its mean loss in nats.

    features: float32 (T, D), finite. targets: float32 (T, K), rows sum to 1: what each image is taken to show. weights:
    float32 (T,), how much each counts, by default all the same. balanced: each class counts the same, however rare (a
    row counts for the class that its target says most). start: the head to begin with; it is left as it is. A
    linear one that has the same shape is stayed near to (PENALTY), for it was trained together with the features, with
    variations that are not seen here. hidden: width of a layer between, 0 for a linear head.
    label_smoothing: probability taken from each target and spread over all classes. on_round(done, ROUNDS).

    Cross-entropy minimised by L-BFGS on all rows at once, on one CPU thread: deterministic to the bit on one machine.
    `seed` draws the weights to begin with. Cost: two CPU seconds for 28,000 rows of 288 features and 7 classes.
    Raises ValueError if the arguments do not fit together or no finite loss is found.
    """
    rows, wanted = _check(features, targets)
    counts = torch.ones(len(rows)) if weights is None else torch.from_numpy(np.asarray(weights, np.float32))
    if counts.shape != (len(rows),) or not bool((counts >= 0).all()) or not bool(counts.sum() > 0):
        raise ValueError("weights must be one number for each row, none negative and not all zero")
    if balanced:
        counts = _balance(counts, wanted.argmax(1), wanted.shape[1])
    wanted = wanted * (1 - label_smoothing) + label_smoothing / wanted.shape[1]
    centre, spread = rows.mean(0), rows.std(0, correction=0).clamp(min=1e-6)
    with use_threads(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = make_head(rows.shape[1], wanted.shape[1], hidden=hidden)
        near = _take_over(head, start, centre, spread)
        loss = _minimise(head, (rows - centre) / spread, wanted, counts / counts.sum(), near, on_round)
    _rescale(head, centre, spread)
    return head, loss


def _balance(counts: Tensor, classes: Tensor, class_count: int) -> Tensor:
    """The counts (T,) scaled so that those of each class add up to the same."""
    totals = torch.zeros(class_count).index_add_(0, classes, counts)  # (K,)
    return counts / totals.clamp(min=1e-12)[classes]


def _check(features: NDArray[np.float32], targets: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    rows, wanted = (torch.from_numpy(np.ascontiguousarray(values, np.float32)) for values in (features, targets))
    if rows.ndim != 2 or wanted.ndim != 2 or len(rows) != len(wanted) or not len(rows):
        raise ValueError(f"features {tuple(rows.shape)} and targets {tuple(wanted.shape)} must have the same rows")
    if not bool(torch.isfinite(rows).all()):
        raise ValueError("the features are not all finite numbers")
    return rows, wanted


def _take_over(head: nn.Module, start: nn.Module | None, centre: Tensor, spread: Tensor) -> list[Tensor] | None:
    """Begin with the weights of `start`, in the scale of standardised features; return them where they are a tether."""
    known = head.state_dict()
    given = {} if start is None else {name: value.detach().clone() for name, value in start.state_dict().items()}
    if {name: value.shape for name, value in known.items()} != {name: value.shape for name, value in given.items()}:
        return None
    head.load_state_dict(given)
    first = _first_layer(head)
    with torch.no_grad():
        first.bias += first.weight @ centre
        first.weight *= spread
    return [first.weight.detach().clone()] if first is head else None


def _minimise(
    head: nn.Module,
    rows: Tensor,
    wanted: Tensor,
    shares: Tensor,
    near: list[Tensor] | None,
    on_round: Callable[[int, int], None] | None,
) -> float:
    """Fit `head` in place; return the loss without the penalty."""
    layers = [each for each in head.modules() if isinstance(each, nn.Linear)]
    penalty = PENALTY if len(layers) == 1 else PENALTY_HIDDEN
    anchors = near or [torch.zeros_like(each.weight) for each in layers]
    optimizer = torch.optim.LBFGS(
        list(head.parameters()), max_iter=ROUNDS, history_size=10, line_search_fn="strong_wolfe"
    )
    done = 0

    def measure() -> Tensor:
        losses = functional.cross_entropy(head(rows), wanted, reduction="none")  # (T,)
        return losses @ shares

    def take_round() -> Tensor:
        nonlocal done
        optimizer.zero_grad()
        pull = sum(((each.weight - anchor) ** 2).sum() for each, anchor in zip(layers, anchors, strict=True))
        loss = measure() + penalty * pull
        loss.backward()
        done += 1
        if on_round is not None:
            on_round(min(done, ROUNDS), ROUNDS)
        return loss

    optimizer.step(take_round)
    with torch.no_grad():
        loss = float(measure())
    if not np.isfinite(loss):
        raise ValueError("the head found no finite loss")
    return loss


def _rescale(head: nn.Module, centre: Tensor, spread: Tensor) -> None:
    """Let the head take features as they are, instead of standardised ones."""
    first = _first_layer(head)
    with torch.no_grad():
        first.weight /= spread
        first.bias -= first.weight @ centre


def _first_layer(head: nn.Module) -> Any:
    return next(each for each in head.modules() if isinstance(each, nn.Linear))


def apply_head(head: nn.Module, features: NDArray[np.float32], *, chunk: int = 65_536) -> NDArray[np.float32]:
    """Return the probabilities (N, K), float32, that the head gives for float32 features (N, D); N may be 0."""
    with torch.no_grad(), use_threads(1):
        parts = [head(part).softmax(1) for part in torch.from_numpy(features).split(chunk)] if len(features) else []
    if not parts:
        count = [each for each in head.modules() if isinstance(each, nn.Linear)][-1].out_features
        return np.zeros((0, count), np.float32)
    return torch.cat(parts).numpy()


def write_head(
    base: Path, head: nn.Module, *, config: TrainConfig, class_count: int, folder: Path, report: dict[str, Any]
) -> Path:
    """Write folder/checkpoint.pt: the network of the checkpoint `base` with another head. Returns its path.

    config: that of `base` but for `hidden` and what else the head was fitted by. report: of the one epoch that it took.
    """
    contents = read_checkpoint(base)
    network = {name: values for name, values in contents["model"].items() if not name.startswith("head.")}
    own = {f"head.{name}": values.detach().clone() for name, values in head.state_dict().items()}
    changed = {"config": asdict(config), "class_count": class_count, "model": {**network, **own}, "fingerprint": ""}
    ended = {"epoch": 1, "model_epoch": 1, "complete": True, "optimizer": None, "best": None, "history": [report]}
    write_checkpoint(folder, {**contents, **changed, **ended})
    return folder / CHECKPOINT
