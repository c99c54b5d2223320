"""Train a classifier on images in memory; killed at any moment, it goes on from its last whole epoch.

The whole data set is one uint8 tensor, batches are drawn from it by index and varied as tensors: on two CPU cores
there is no time for anything else. All randomness of an epoch follows from (seed, epoch), the learning rate from the
step, so that nothing but weights and momenta has to be remembered.
"""

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from ml.augment import Augmentation, augment
from ml.batches import (
    Floats,
    Integers,
    TrainData,
    check_data,
    draw_batches,
    images_per_epoch,
    measure_pixels,
    steps_per_epoch,
)
from ml.checkpoints import CHECKPOINT, append_metrics, read_checkpoint, rewrite_metrics, write_checkpoint
from ml.configs import PRESETS, TrainConfig, learning_rate_at, make_config, plan_passes, read_config
from ml.devices import autocast, pick_precision, plan_threads, use_threads
from ml.models import make_model
from ml.models.classifier import Classifier, count_parameters
from ml.predict import Images, normalise
from ml.progress import Ticker

__all__ = [
    "PRESETS",
    "Augmentation",
    "Diverged",
    "EpochReport",
    "Stopped",
    "TrainConfig",
    "TrainResult",
    "make_config",
    "read_config",
    "train",
]

VALIDATION_BATCH = 512


class Stopped(Exception):
    """`should_stop` said so. The checkpoint of the last whole epoch stands; train again to go on from it."""


class Diverged(Exception):
    """The loss is no finite number any more."""


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did."""

    epoch: int  # 1-based
    epochs: int  # of the config
    train_loss: float  # mean over the epoch's images, as trained: smoothed, weighted, augmented
    train_accuracy: float  # on the augmented images, while the weights were changing
    validation_loss: float | None  # mean cross-entropy in nats; None without validation images
    validation_accuracy: float | None
    learning_rate: float  # at the end of the epoch
    seconds: float  # wall time of training and validation
    images_per_second: float  # trained images over the time spent training


@dataclass(frozen=True)
class TrainResult:
    """What a training came to."""

    checkpoint: Path
    history: tuple[EpochReport, ...]  # of every epoch, those before a kill too
    model_epoch: int  # 1-based; the epoch whose weights are the model
    parameter_count: int
    device: str
    precision: str
    threads: int
    seconds: float  # wall time of all epochs
    images_per_second: float  # mean over the epochs


@dataclass
class _Run:
    """A training under way: all that a checkpoint holds."""

    config: TrainConfig
    folder: Path
    net: Classifier
    optimizer: torch.optim.Optimizer
    mean: Tensor  # float32 (1, C, 1, 1)
    std: Tensor
    precision: str
    threads: int
    epoch: int = 0  # the last whole one
    complete: bool = False
    model_epoch: int = 0
    best: dict[str, Any] | None = None  # epoch, accuracy, loss, model; with patience only
    history: list[EpochReport] = field(default_factory=list)


def train(
    images: Images,
    labels: Integers,
    *,
    train_indices: Integers,
    validation_indices: Integers,
    class_count: int,
    config: TrainConfig,
    folder: Path,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_batch: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    device: str | torch.device | None = None,
    weights: Floats | None = None,
    initial: Path | None = None,
) -> TrainResult:
    """Train a model on the images of `train_indices` and leave it in folder/checkpoint.pt.

    images: uint8 (N, C, S, S) with the channels and size of `config`. labels: int64 (N,) in 0..class_count-1, -1 where
    there is none. train_indices: int64 (T,), at least one, no row without a label. validation_indices: int64 (V,), may
    be empty. weights: float32 (N,), how much each image counts in the loss, none negative, by default all the same.
    on_epoch gets each epoch's report after its checkpoint is written; on_batch(images done, images in all) is called
    at most four times a second; should_stop is asked before each batch and ends the training with `Stopped`.
    initial: a checkpoint to start from instead of drawn weights, as far as its names and shapes agree.

    Writes folder/checkpoint.pt after each epoch and one line of JSON to folder/metrics.jsonl. A folder with a
    checkpoint of the same config and data is gone on with, and returned at once if it is complete.
    Deterministic on the CPU: the same arguments, threads and machine give the same bits, killed in between or not.
    Uses torch's global random state inside a fork of it: one training per process at a time.
    Raises ValueError for arguments that do not fit together or a folder that holds another training; Diverged.
    """
    data = check_data(
        images,
        labels,
        weights=weights,
        train_indices=train_indices,
        validation_indices=validation_indices,
        class_count=class_count,
        config=config,
        device=device,
    )
    folder.mkdir(parents=True, exist_ok=True)
    run = _open_run(data, config, folder, initial)
    rewrite_metrics(folder, [asdict(report) for report in run.history])
    ticker = Ticker(on_batch, config.epochs * images_per_epoch(data, config))
    with use_threads(run.threads):
        while not run.complete:
            report = _run_epoch(run, data, ticker, should_stop or (lambda: False))
            _finish_epoch(run, data, report)
            if on_epoch is not None:
                on_epoch(report)
    return _summarise(run, data)


# --- start, resume, save ---------------------------------------------------------------------------------------


def _open_run(data: TrainData, config: TrainConfig, folder: Path, initial: Path | None) -> _Run:
    stored = read_checkpoint(folder / CHECKPOINT) if (folder / CHECKPOINT).exists() else None
    mean, std = measure_pixels(data.images, data.train_indices)
    if stored is not None:
        _check_same(stored, data, config, mean, std)
    threads = stored["threads"] if stored is not None else config.threads or _plan_threads(data, config)
    with use_threads(threads) as threads:
        net = _make_net(data, config)
    if stored is None and initial is not None:
        _start_from(net, initial)
    precision = stored["precision"] if stored is not None else pick_precision(data.device, config.precision)
    centre, spread = (values.view(1, -1, 1, 1).to(data.device) for values in (mean, std))
    run = _Run(config, folder, net, _make_optimizer(net, config), centre, spread, precision, threads)
    if stored is not None:
        _restore(run, stored)
    return run


def _plan_threads(data: TrainData, config: TrainConfig) -> int:
    image_count = max(1, len(data.train_indices))
    _, steps = plan_passes(config, image_count)
    return plan_threads(values_per_step=image_count * config.channels * config.image_size**2 // steps)


def _check_same(stored: dict[str, Any], data: TrainData, config: TrainConfig, mean: Tensor, std: Tensor) -> None:
    if read_config(stored["config"]) != config:
        raise ValueError("the folder holds a training with another config: use a new folder")
    same = (stored["fingerprint"], stored["class_count"], stored["mean"], stored["std"])
    if same != (data.fingerprint, data.class_count, mean.tolist(), std.tolist()):
        raise ValueError("the folder holds a training on other images or labels: use a new folder")


def _start_from(net: Classifier, initial: Path) -> None:
    """Take over the weights that fit: all of them, but for the head when the classes have another count."""
    known = net.state_dict()
    given: dict[str, Tensor] = read_checkpoint(initial)["model"]
    fitting = {name: value for name, value in given.items() if name in known and known[name].shape == value.shape}
    if len(fitting) < len(known) / 2:
        raise ValueError("the run to start from has another architecture or image size")
    net.load_state_dict(fitting, strict=False)


def _make_net(data: TrainData, config: TrainConfig) -> Classifier:
    with _seeded(config.seed, 0, data.device):
        net = make_model(
            config.arch, channels=config.channels, class_count=data.class_count, image_size=config.image_size
        )
    return net.to(data.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _make_optimizer(net: Classifier, config: TrainConfig) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.momentum, 0.99))
    nesterov = config.momentum > 0
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=nesterov)


def _restore(run: _Run, stored: dict[str, Any]) -> None:
    run.epoch, run.complete, run.model_epoch = stored["epoch"], stored["complete"], stored["model_epoch"]
    run.best = stored["best"]
    run.history = [EpochReport(**report) for report in stored["history"]]
    run.net.load_state_dict(stored["model"])
    if not run.complete:
        run.optimizer.load_state_dict(stored["optimizer"])


def _save(run: _Run, data: TrainData) -> None:
    contents = {
        "config": asdict(run.config),
        "class_count": data.class_count,
        "fingerprint": data.fingerprint,
        "mean": run.mean.flatten().tolist(),
        "std": run.std.flatten().tolist(),
        "precision": run.precision,
        "threads": run.threads,
        "torch": str(torch.__version__),
        "epoch": run.epoch,
        "complete": run.complete,
        "model_epoch": run.model_epoch,
        "model": run.net.state_dict(),
        "optimizer": None if run.complete else run.optimizer.state_dict(),
        "scheduler": {"step": run.epoch * steps_per_epoch(data, run.config)},  # the learning rate follows from it
        "best": None if run.complete else run.best,
        "history": [asdict(report) for report in run.history],
    }
    write_checkpoint(run.folder, contents)


def _finish_epoch(run: _Run, data: TrainData, report: EpochReport) -> None:
    run.epoch = run.model_epoch = report.epoch
    run.history.append(report)
    run.complete = run.epoch == run.config.epochs
    if run.config.patience:
        _keep_best(run, report)
    _save(run, data)
    append_metrics(run.folder, asdict(report))


def _keep_best(run: _Run, report: EpochReport) -> None:
    accuracy, loss = report.validation_accuracy or 0.0, report.validation_loss or 0.0
    if run.best is None or (accuracy, -loss) > (run.best["accuracy"], -run.best["loss"]):
        model = {name: value.clone() for name, value in run.net.state_dict().items()}
        run.best = {"epoch": run.epoch, "accuracy": accuracy, "loss": loss, "model": model}
    run.complete |= run.epoch - run.best["epoch"] >= run.config.patience
    if run.complete:
        run.net.load_state_dict(run.best["model"])
        run.model_epoch = run.best["epoch"]


def _summarise(run: _Run, data: TrainData) -> TrainResult:
    images = images_per_epoch(data, run.config)
    trained_s = sum(images / report.images_per_second for report in run.history)
    return TrainResult(
        checkpoint=run.folder / CHECKPOINT,
        history=tuple(run.history),
        model_epoch=run.model_epoch,
        parameter_count=count_parameters(run.net),
        device=str(data.device),
        precision=run.precision,
        threads=run.threads,
        seconds=sum(report.seconds for report in run.history),
        images_per_second=len(run.history) * images / trained_s,
    )


# --- one epoch -------------------------------------------------------------------------------------------------


def _run_epoch(run: _Run, data: TrainData, ticker: Ticker, should_stop: Callable[[], bool]) -> EpochReport:
    epoch, config, started_s = run.epoch + 1, run.config, time.perf_counter()
    generator = torch.Generator().manual_seed(_derive_seed(config.seed, epoch, "data"))
    totals, seen = torch.zeros(2, device=data.device), 0
    done = run.epoch * images_per_epoch(data, config)
    step, steps = run.epoch * steps_per_epoch(data, config), config.epochs * steps_per_epoch(data, config)
    run.net.train()
    with _seeded(config.seed, epoch, data.device):  # for dropout in the architectures that have it
        for rows in draw_batches(data, config, generator):
            if should_stop():
                raise Stopped
            _set_learning_rate(run.optimizer, learning_rate_at(config, step, steps))
            totals += _take_step(run, data, rows, generator)
            step, seen = step + 1, seen + len(rows)
            ticker.tick(done + seen)
    loss, accuracy = (totals / seen).tolist()  # waits for the device
    trained_s = time.perf_counter() - started_s
    if not math.isfinite(loss):
        raise Diverged(f"the loss is {loss} in epoch {epoch}: set a lower learning_rate than {config.learning_rate:g}")
    validation_loss, validation_accuracy = _validate(run, data)
    return EpochReport(
        epoch=epoch,
        epochs=config.epochs,
        train_loss=loss,
        train_accuracy=accuracy,
        validation_loss=validation_loss,
        validation_accuracy=validation_accuracy,
        learning_rate=learning_rate_at(config, step - 1, steps),
        seconds=time.perf_counter() - started_s,
        images_per_second=seen / trained_s,
    )


def _take_step(run: _Run, data: TrainData, rows: Tensor, generator: torch.Generator) -> Tensor:
    """One optimiser step; returns (loss, number right), both summed over the batch."""
    inputs = augment(data.fetch(rows), run.config.augmentation, generator=generator)
    places = rows.to(data.device, non_blocking=True)
    given = data.labels[places]  # (B,)
    with autocast(data.device, run.precision):
        logits = run.net(normalise(inputs, run.mean, run.std))  # (B, K)
    losses = functional.cross_entropy(logits, given, reduction="none", label_smoothing=run.config.label_smoothing)
    loss = (losses * data.weights[places]).mean()
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    run.optimizer.step()
    right = (logits.detach().argmax(1) == given).sum()
    return torch.stack([loss.detach() * len(rows), right])


def _validate(run: _Run, data: TrainData) -> tuple[float, float] | tuple[None, None]:
    count = len(data.validation_indices)
    if count == 0:
        return None, None
    totals = torch.zeros(2, device=data.device)
    run.net.eval()
    with torch.inference_mode():
        for rows in data.validation_indices.split(VALIDATION_BATCH):
            with autocast(data.device, run.precision):
                logits = run.net(normalise(data.fetch(rows), run.mean, run.std))  # (B, K)
            given = data.labels[rows.to(data.device)]
            loss = functional.cross_entropy(logits, given, reduction="sum")
            totals += torch.stack([loss, (logits.argmax(1) == given).sum()])
    loss_mean, accuracy = (totals / count).tolist()
    return loss_mean, accuracy


def _set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def _derive_seed(seed: int, epoch: int, use: Literal["data", "torch"]) -> int:
    digest = hashlib.sha256(f"{seed}/{epoch}/{use}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextlib.contextmanager
def _seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Within it torch's global random state follows from (seed, epoch); afterwards the old state is back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(_derive_seed(seed, epoch, "torch"))
        yield
