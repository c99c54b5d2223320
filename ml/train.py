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
from typing import Any

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
from ml.configs import PRESETS, TrainConfig, make_config, plan_passes, read_config
from ml.devices import autocast, pick_precision, plan_threads, use_threads
from ml.dynamics import Diary, write_dynamics
from ml.models import make_net
from ml.models.classifier import Classifier, count_parameters
from ml.optimizers import descend, make_optimizer, make_scaler, set_learning_rate
from ml.predict import Images, normalise
from ml.progress import Ticker
from ml.schedules import learning_rate_at
from ml.teams import ALONE, Team

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
NOTED_FROM_START = 3  # epochs; a training of so many does not note what it said in the first


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
    train_accuracy: float  # on the augmented images, while the weights were changing, by the hard labels
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
    """A training under way: all that a checkpoint holds, and how this process takes part."""

    config: TrainConfig
    folder: Path
    team: Team
    net: Classifier
    forward: Callable[[Tensor], Tensor]  # the net in training: compiled, or with gradients shared by the team
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    mean: Tensor  # float32 (1, C, 1, 1)
    std: Tensor
    precision: str
    threads: int
    epoch: int = 0  # the last whole one
    complete: bool = False
    model_epoch: int = 0
    best: dict[str, Any] | None = None  # epoch, accuracy, loss, model; with patience only
    diary: Diary | None = None  # of all epochs that are noted
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
    targets: Floats | None = None,
    initial: Path | None = None,
    team: Team = ALONE,
) -> TrainResult:
    """Train a model on the images of `train_indices` and leave it in folder/checkpoint.pt.

    images: uint8 (N, C, S, S) with the channels and size of `config`. labels: int64 (N,) in 0..class_count-1, -1 where
    there is none. train_indices: int64 (T,), at least one, no row without a label. validation_indices: int64 (V,), may
    be empty. weights: float32 (N,), how much each image counts in the loss, none negative, by default all the same.
    targets: float32 (N, K), probabilities to learn instead of the labels of the training images, which still balance
    the classes and count what is right; rows of other images are not looked at.
    on_epoch gets each epoch's report after its checkpoint is written; on_batch(images done, images in all) is called
    at most four times a second; should_stop is asked before each batch and ends the training with `Stopped`.
    initial: a checkpoint to start from instead of drawn weights, as far as its names and shapes agree.
    team: this process among several that call this with the same arguments (ml.launch); only the first writes.

    Writes folder/checkpoint.pt after each epoch, one line of JSON to folder/metrics.jsonl, and at the end what the
    model said of the training images while it learned to folder/dynamics.npz (ml.dynamics). A folder with a
    checkpoint of the same config and data is gone on with, and returned at once if it is complete.
    Deterministic on the CPU: the same arguments, threads and machine give the same bits, killed in between or not.
    Uses torch's global random state inside a fork of it: one training per process at a time.
    Raises ValueError for arguments that do not fit together or a folder that holds another training; Diverged.
    """
    data = check_data(
        images,
        labels,
        weights=weights,
        targets=targets,
        train_indices=train_indices,
        validation_indices=validation_indices,
        class_count=class_count,
        config=config,
        device=device,
    )
    folder.mkdir(parents=True, exist_ok=True)
    run = _open_run(data, config, folder, initial, team)
    if team.is_first:
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


def _open_run(data: TrainData, config: TrainConfig, folder: Path, initial: Path | None, team: Team) -> _Run:
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
    optimizer, scaler = make_optimizer(net, config), make_scaler(data.device, precision)
    forward = _make_forward(net, config, team)
    run = _Run(config, folder, team, net, forward, optimizer, scaler, centre, spread, precision, threads)
    run.diary = _open_diary(data)
    if stored is not None:
        _restore(run, stored)
    return run


def _open_diary(data: TrainData) -> Diary | None:
    return Diary.empty(len(data.labels), data.class_count, data.device)


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


def _make_forward(net: Classifier, config: TrainConfig, team: Team) -> Callable[[Tensor], Tensor]:
    shared = team.wrap(net)
    return torch.compile(shared) if config.compile else shared


def _make_net(data: TrainData, config: TrainConfig) -> Classifier:
    with _seeded(config.seed, 0, data.device):
        net = make_net(config, data.class_count)
    return net.to(data.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _restore(run: _Run, stored: dict[str, Any]) -> None:
    run.epoch, run.complete, run.model_epoch = stored["epoch"], stored["complete"], stored["model_epoch"]
    run.best = stored["best"]
    run.history = [EpochReport(**report) for report in stored["history"]]
    run.net.load_state_dict(stored["model"])
    if not run.complete:
        run.optimizer.load_state_dict(stored["optimizer"])
        run.scaler.load_state_dict(stored.get("scaler", {}))
        if run.diary is not None and stored.get("diary") is not None:
            run.diary.add(Diary(*(values.to(run.diary.sums.device) for values in stored["diary"])))


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
        "scaler": {} if run.complete else run.scaler.state_dict(),
        "scheduler": {"step": run.epoch * steps_per_epoch(data, run.config)},  # the rate follows from it and history
        "best": None if run.complete else run.best,
        "diary": None if run.complete or run.diary is None else (run.diary.sums.cpu(), run.diary.counts.cpu()),
        "history": [asdict(report) for report in run.history],
    }
    write_checkpoint(run.folder, contents)


def _finish_epoch(run: _Run, data: TrainData, report: EpochReport) -> None:
    run.epoch = run.model_epoch = report.epoch
    run.history.append(report)
    run.complete = run.epoch == run.config.epochs
    if run.config.patience:
        _keep_best(run, report)
    if run.team.is_first:
        if run.complete and run.diary is not None:
            write_dynamics(run.folder, run.diary)
        _save(run, data)
        append_metrics(run.folder, asdict(report))
    run.team.wait()


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
    order, variety = _make_generators(run, epoch)
    totals, seen = torch.zeros(2, device=data.device), 0
    done = run.epoch * images_per_epoch(data, config)
    step, steps = run.epoch * steps_per_epoch(data, config), config.epochs * steps_per_epoch(data, config)
    watched = [_watch(report) for report in run.history]
    diary = _open_diary(data) if epoch > 1 or config.epochs < NOTED_FROM_START else None
    run.net.train()
    with _seeded(config.seed, epoch, data.device, run.team.rank):  # for dropout in the architectures that have it
        for rows in draw_batches(data, config, order):
            if should_stop():
                raise Stopped
            learning_rate = learning_rate_at(config, step, steps, losses=watched)
            set_learning_rate(run.optimizer, learning_rate)
            totals += _take_step(run, data, rows, variety, diary)
            step, seen = step + 1, seen + len(rows)
            ticker.tick(done + seen)
    loss, accuracy = (run.team.add_up(totals) / seen).tolist()  # waits for the device
    if run.diary is not None and diary is not None:
        run.diary.add(Diary(run.team.add_up(diary.sums), run.team.add_up(diary.counts)))
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
        learning_rate=learning_rate,
        seconds=time.perf_counter() - started_s,
        images_per_second=seen / trained_s,
    )


def _make_generators(run: _Run, epoch: int) -> tuple[torch.Generator, torch.Generator]:
    """What the order of the images is drawn from, alike in the whole team, and their variants, in each its own."""
    order = torch.Generator().manual_seed(_derive_seed(run.config.seed, epoch, "data"))
    if run.team.size == 1:
        return order, order
    return order, torch.Generator().manual_seed(_derive_seed(run.config.seed, epoch, f"variants {run.team.rank}"))


def _watch(report: EpochReport) -> float:
    """The loss that the schedule "plateau" reads: of validation, or of training where nothing may validate."""
    return report.train_loss if report.validation_loss is None else report.validation_loss


def _take_step(run: _Run, data: TrainData, rows: Tensor, generator: torch.Generator, diary: Diary | None) -> Tensor:
    """One optimiser step; returns (loss, number right), both summed over this process's part of the batch."""
    own = run.team.share(rows)
    inputs = augment(data.fetch(own), run.config.augmentation, generator=generator)
    places = own.to(data.device, non_blocking=True)
    given = data.labels[places]  # (B,)
    wanted = given if data.targets is None else data.targets[places]  # (B,) or (B, K)
    with autocast(data.device, run.precision):
        logits = run.forward(normalise(inputs, run.mean, run.std))  # (B, K)
    if diary is not None:
        diary.note(places, logits)
    losses = functional.cross_entropy(logits, wanted, reduction="none", label_smoothing=run.config.label_smoothing)
    loss = (losses * data.weights[places]).mean()
    descend(loss * (len(own) * run.team.size / len(rows)), run.optimizer, run.scaler)
    right = (logits.detach().argmax(1) == given).sum()
    return torch.stack([loss.detach() * len(own), right])


def _validate(run: _Run, data: TrainData) -> tuple[float, float] | tuple[None, None]:
    count = len(data.validation_indices)
    if count == 0:
        return None, None
    totals = torch.zeros(2, device=data.device)
    run.team.agree(run.net)
    run.net.eval()
    with torch.inference_mode():
        for rows in run.team.share(data.validation_indices).split(VALIDATION_BATCH):
            with autocast(data.device, run.precision):
                logits = run.net(normalise(data.fetch(rows), run.mean, run.std))  # (B, K)
            given = data.labels[rows.to(data.device)]
            loss = functional.cross_entropy(logits, given, reduction="sum")
            totals += torch.stack([loss, (logits.argmax(1) == given).sum()])
    loss_mean, accuracy = (run.team.add_up(totals) / count).tolist()
    return loss_mean, accuracy


def _derive_seed(seed: int, epoch: int, use: str) -> int:
    digest = hashlib.sha256(f"{seed}/{epoch}/{use}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextlib.contextmanager
def _seeded(seed: int, epoch: int, device: torch.device, rank: int = 0) -> Iterator[None]:
    """Within it torch's global random state follows from (seed, epoch); afterwards the old state is back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(_derive_seed(seed, epoch, f"torch {rank}" if rank else "torch"))
        yield
