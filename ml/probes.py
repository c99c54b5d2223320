"""Asking a trained model again: do its answers repeat, are they the stored ones, which layers learn, which settings do
anything. Small experiments on a few images, so that a number can be believed for a reason."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml.augment import augment
from ml.checkpoints import CHECKPOINT, read_checkpoint
from ml.configs import TrainConfig, make_config
from ml.occlude import NONE, parse_region
from ml.predict import Model, predict
from ml.train import train

SAME = {"float32": 0.004}  # of a probability: stored in half precision, computed in batches of another size
SAME_ELSE = 0.02
REPRODUCED = 0.95  # of the images; with fewer, other ways are tried
FEW = 64
VARIANTS = 12  # random variants of each image that are tried
STEP_IMAGES = 24  # images of a tiny training, in two steps
AUGMENTED = 256  # images on which a variation is tried: one that befalls 5 % of them shows with certainty
BLANK = 2  # of 255: values of a blank row differ by no more
# settings whose effect a step or two of training show, and what others must be for them to have one
STEPWISE = ("learning_rate", "weight_decay", "momentum", "label_smoothing", "class_weighting", "optimizer", "dropout")
NEEDS: dict[str, Callable[[TrainConfig], bool]] = {
    "decay": lambda config: config.schedule in ("step", "plateau"),
    "decay_epochs": lambda config: config.schedule in ("step", "plateau"),
}


@dataclass(frozen=True)
class Answers:
    """repeats, batches: largest difference of a probability between two passes, and in another order of the images.
    explained: how the images were prepared -> share of them whose stored probabilities come out."""

    images: int
    repeats: float
    batches: float
    explained: dict[str, float]


def ask_again(model: Model, images: NDArray[np.uint8], stored: NDArray[np.floating[Any]]) -> Answers:
    """Predict images whose probabilities were stored, as the model was trained; where that is not what is stored, in
    the ways that go wrong.

    images: uint8 (N, C, S, S), N >= 1. stored: float (N, K). The ways: "as trained"; normalised "twice", "divided" by
    255 first, "raw" (not at all); "mirrored": an image counts if it or its mirror image gives what is stored;
    "augmented": if one of several random variants comes nearer than the image itself. Draws from torch's global random
    state inside a fork of it. Costs a prediction of the images and two of FEW; VARIANTS + 4 more of FEW if they differ.
    """
    few = slice(0, FEW)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = predict(model, images)[0]
        again = predict(model, images[few])[0]
        backwards = predict(model, np.ascontiguousarray(images[few][::-1]))[0][::-1]
        close = _is_same(model, first, stored)
        explained = {"as trained": float(close.mean())}
        if explained["as trained"] < REPRODUCED:
            explained |= _explain(model, images[few], stored[few], first[few])
    return Answers(
        images=len(images),
        repeats=float(np.abs(first[few] - again).max()),
        batches=float(np.abs(first[few] - backwards).max()),
        explained=explained,
    )


def _explain(
    model: Model, images: NDArray[np.uint8], stored: NDArray[np.floating[Any]], plain: NDArray[np.float32]
) -> dict[str, float]:
    """Way of preparing the images that went wrong -> share of them whose stored probabilities it gives; of the
    normalisations the one that comes nearest first."""
    close = _is_same(model, plain, stored)
    prepared = {name: predict(other, images)[0] for name, other in _prepare_wrongly(model).items()}
    nearest = sorted(prepared, key=lambda name: float(np.abs(prepared[name] - stored).mean()))
    found = {name: _is_same(model, prepared[name], stored) for name in nearest}
    mirrored = predict(model, np.ascontiguousarray(images[..., ::-1]))[0]
    found["mirrored"] = close | _is_same(model, mirrored, stored)
    found["augmented"] = close | _is_variant(model, images, stored, plain)
    return {name: float(same.mean()) for name, same in found.items()}


def _is_same(model: Model, probs: NDArray[np.floating[Any]], stored: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    difference = np.abs(probs.astype(np.float64) - stored).max(1)
    found: NDArray[np.bool_] = difference <= SAME.get(model.precision, SAME_ELSE)
    return found


def _prepare_wrongly(model: Model) -> dict[str, Model]:
    """The model with other normalisations: v -> ((v - m) / s - m) / s, v -> (v / 255 - m) / s, v -> v."""
    mean, std = model.mean, model.std
    return {
        "twice": replace(model, mean=mean + mean * std, std=std * std),
        "divided": replace(model, mean=mean * 255, std=std * 255),
        "raw": replace(model, mean=torch.zeros_like(mean), std=torch.ones_like(std)),
    }


def _is_variant(
    model: Model, images: NDArray[np.uint8], stored: NDArray[np.floating[Any]], plain: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Images of which a random variant comes out much nearer to what is stored than the image itself does."""
    own = np.abs(plain - stored).max(1)
    best = np.full(len(images), np.inf)
    generator = torch.Generator().manual_seed(0)
    for _ in range(VARIANTS):
        varied = augment(torch.from_numpy(images), model.config.augmentation, generator=generator)
        probs = predict(model, varied.round().clamp(0, 255).to(torch.uint8))[0]
        best = np.minimum(best, np.abs(probs - stored).max(1))
    found: NDArray[np.bool_] = best < own / 2
    return found


# --- what learns --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lessons:
    """layers: how many hold weights. frozen: those that no step moves. tried: settings asked for that were looked at;
    idle: those of them, with their values, without which the same is learnt to the bit."""

    layers: int
    frozen: list[str]
    tried: list[str]
    idle: dict[str, str]


def try_lessons(
    config: TrainConfig,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    class_count: int,
    preset: str,
    asked: dict[str, Any],
) -> Lessons:
    """Train two steps on a few images, with and without each setting that was asked for, and compare the weights.

    images: uint8 (N, C, S, S). labels: int64 (N,) in 0..class_count-1. asked: settings that override the preset's.
    Only settings whose effect shows in single steps are tried; those of the augmentation on variants of the images.
    Deterministic on the CPU. Cost: a few trainings of two steps. Raises ValueError as `ml.train.train`.
    """
    tiny = _shrink(config)
    known = set(STEPWISE) & set(vars(tiny))
    plain = make_config(preset, arch=config.arch, image_size=config.image_size, channels=config.channels)
    with tempfile.TemporaryDirectory() as folder:
        learn = _Pupil(images, labels, class_count, Path(folder))
        weights, longer = learn(tiny), learn(replace(tiny, epochs=2, learning_rate=2 * tiny.learning_rate))
        tried: list[str] = []
        idle: dict[str, str] = {}
        for name, value in asked.items():
            if name == "flip" or name == "augment" or name.startswith("augment."):
                same = _varies_alike(config, preset, asked, name, images)
            elif name in NEEDS:
                same = not NEEDS[name](config)
            elif name in known and getattr(config, name) != getattr(plain, name):
                same = _is_equal(weights, learn(replace(tiny, **{name: getattr(plain, name)})))
            else:
                continue
            tried.append(name)
            idle |= {name: str(value)} if same else {}
    names = sorted(weights)
    return Lessons(
        layers=len(names),
        frozen=[name for name in names if torch.equal(weights[name], longer[name])],
        tried=tried,
        idle=idle,
    )


def _shrink(config: TrainConfig) -> TrainConfig:
    return replace(
        config, epochs=1, min_steps=0, batch_size=STEP_IMAGES // 2, patience=0, warmup=0.0, schedule="constant",
        precision="float32", threads=1, compile=False, processes=1,
    )  # fmt: skip


class _Pupil:
    """Trains from the same start on the same few images, unevenly many of each class."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], class_count: int, folder: Path) -> None:
        rows = _choose_unevenly(labels)
        self._images, self._labels = images[rows], labels[rows]
        self._class_count, self._folder, self._turn = class_count, folder, 0

    def __call__(self, config: TrainConfig) -> dict[str, Tensor]:
        self._turn += 1
        folder = self._folder / str(self._turn)
        train(
            self._images,
            self._labels,
            train_indices=np.arange(len(self._labels)),
            validation_indices=np.empty(0, np.int64),
            class_count=self._class_count,
            config=config,
            folder=folder,
            device="cpu",
        )
        stored: dict[str, Tensor] = read_checkpoint(folder / CHECKPOINT)["model"]
        return {name: value for name, value in stored.items() if _is_learnt(name, value)}


def _is_learnt(name: str, value: Tensor) -> bool:
    """Weights, not the counts and means that batch normalisation keeps."""
    return value.is_floating_point() and not name.endswith(("running_mean", "running_var"))


def _choose_unevenly(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Up to STEP_IMAGES rows, of each class half as many as of the one before: a weight per class shows then."""
    found: list[int] = []
    classes = np.unique(labels).tolist()
    for class_id in classes:
        rows = np.flatnonzero(labels == class_id)
        found += rows[: max(1, (STEP_IMAGES - len(found)) // 2)].tolist()
    found += [row for row in np.flatnonzero(labels == classes[0]).tolist() if row not in found]
    return np.array(found[:STEP_IMAGES], np.int64)


def _is_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def _varies_alike(
    config: TrainConfig, preset: str, asked: dict[str, Any], name: str, images: NDArray[np.uint8]
) -> bool:
    """Whether images are varied just so without the setting, which says something else than the preset."""
    rest = {key: value for key, value in asked.items() if key == "flip" or key.startswith("augment")}
    rest.pop(name)
    without = make_config(preset, **rest)
    if (without.flip, without.augment) == (config.flip, config.augment):
        return False  # it says what holds anyway
    batch = torch.from_numpy(np.resize(images, (AUGMENTED, *images.shape[1:])))
    varied = [
        augment(batch, each.augmentation, generator=torch.Generator().manual_seed(0)) for each in (config, without)
    ]
    return torch.equal(*varied)


# --- what is hidden -----------------------------------------------------------------------------------------------


def measure_blank(images: NDArray[np.uint8], *, mask: str = NONE) -> dict[str, float]:
    """How much of the images is blank: "rows", the share of the rows that are of one value within and across nearly
    all images; "uniform", the mean share of an image that has its most frequent value; "outside", like rows, of those
    that `mask` does not hide.

    images: uint8 (N, C, S, S), N >= 1. Deterministic. Cost: a few passes over the images.
    """
    spread = images.max((1, 3)).astype(np.int16) - images.min((1, 3))  # (N, S), within a row of an image
    blank = (spread <= BLANK).mean(0) > 0.95  # (S,)
    height = images.shape[2]
    low, high = parse_region(mask)
    hidden = np.zeros(height, np.bool_)
    hidden[round(low * height) : round(high * height)] = True
    counts = [int(np.bincount(image.ravel(), minlength=256).max()) for image in images[:, 0]]
    return {
        "images": float(len(images)),
        "rows": float(blank.mean()),
        "uniform": float(np.mean(counts)) / images[0, 0].size,
        "outside": float((blank & ~hidden).mean()),
    }
