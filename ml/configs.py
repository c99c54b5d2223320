"""What a training is told to do: `TrainConfig`, its presets, and how overrides from a command line become one."""

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ml.augment import Augmentation
from ml.devices import PRECISIONS
from ml.occlude import parse_region

CLASS_WEIGHTINGS = ("none", "balanced")
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("cosine", "constant", "step", "plateau")
SAMPLINGS = ("each", "balanced")

SMALL_BATCH = 64  # images
MOST_WIDTH, MOST_LAYERS = 65_536, 64  # of a stack

RANGES: dict[str, tuple[float, float]] = {  # lowest and highest value, both allowed
    "image_size": (4, 1024),
    "channels": (1, 16),
    "dropout": (-1.0, 0.99),
    "hidden": (0, 65_536),
    "epochs": (1, 10_000),
    "min_steps": (0, 1_000_000),
    "batch_size": (1, 65_536),
    "learning_rate": (1e-8, 100.0),
    "warmup": (0.0, 0.9),
    "decay": (0.0, 1.0),
    "decay_epochs": (1, 10_000),
    "momentum": (0.0, 0.999),
    "weight_decay": (0.0, 1.0),
    "label_smoothing": (0.0, 0.9),
    "patience": (0, 10_000),
    "seed": (0, 2**63 - 1),
    "threads": (0, 1024),
    "processes": (1, 64),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "class_weighting": CLASS_WEIGHTINGS,
    "sampling": SAMPLINGS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "precision": PRECISIONS,
}


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training besides the data. Plain JSON types: `asdict` and `read_config` round-trip.

    Raises ValueError in one sentence for a value out of range.
    """

    arch: str = "compact"  # a name of ml.models
    image_size: int = 48  # side of the square images, pixels
    channels: int = 1  # 1 grey, 3 colour
    widths: str = ""  # of the layers of a plain stack (ml.models.stacks), such as "64,,32": 64, as it is, 32
    dropout: float = -1.0  # probability of all dropouts of the network; -1: as its authors set them
    hidden: int = 0  # width of a layer between features and classes; 0: none
    epochs: int = 7  # each with its report, validation and checkpoint
    min_steps: int = 300  # optimiser steps at least, about: small data sets take smaller batches and more passes
    batch_size: int = 128  # images per optimiser step, at most (see plan_passes)
    optimizer: str = "adamw"  # or "adam", or "sgd" with Nesterov momentum
    learning_rate: float = 0.008  # its peak
    warmup: float = 0.2  # fraction of the steps that lead up to the peak
    schedule: str = "cosine"  # what follows: down to nothing, or "constant", "step", "plateau" (ml.schedules)
    decay: float = 0.3  # what "step" and "plateau" multiply the rate by
    decay_epochs: int = 3  # "step": every so many epochs; "plateau": after so many without a lower validation loss
    momentum: float = 0.9  # of SGD; Adam's and AdamW's first beta
    weight_decay: float = 0.05  # on matrices and filters only, not on biases and normalisation
    label_smoothing: float = 0.1  # probability mass taken from the given class and spread over all
    class_weighting: str = "none"  # "balanced": each class weighs the same in the loss, however rare
    sampling: str = "each"  # image once in a pass; "balanced": each class is drawn equally often, however rare
    flip: bool = True  # mirror images left to right; off where left and right mean something (digits, letters)
    mask: str = "none"  # a region hidden from every image, in training, measuring and predicting alike: ml/occlude.py
    augment: Augmentation = field(default_factory=Augmentation)  # how strongly images are varied
    patience: int = (
        0  # 0: the last epoch is the model. n: the best validation epoch is, and n without a better one end it
    )
    seed: int = 0  # the first weights, the order of the images and their variants follow from it
    precision: str = "auto"  # "bfloat16" or "float16" for the convolutions, "float32", or what is fast on the device
    threads: int = 0  # torch threads on the CPU; 0: one for small steps, else all. Equal counts give equal results
    compile: bool = False  # torch.compile: pays on GPUs for many steps; on the CPU it was slower (docs/experiments.md)
    processes: int = 1  # of one training, each with a GPU of its own where there are several (ml.launch)

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            _check_range(name, getattr(self, name), low, high)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
        parse_region(self.mask)
        read_widths(self.widths)

    @property
    def augmentation(self) -> Augmentation:
        """The variations in force: `augment`, without mirror images where `flip` is off."""
        return self.augment if self.flip else replace(self.augment, flip=0.0)


def read_widths(words: str) -> tuple[int, ...]:
    """The widths of a config, 0 for a layer that stays as it is. Raises ValueError in one sentence for other words."""
    parts = [part.strip() for part in words.split(",")] if words else []
    if not all(part == "" or (part.isascii() and part.isdecimal() and 0 < int(part) <= MOST_WIDTH) for part in parts):
        raise ValueError(f"widths must be whole numbers from 1 to {MOST_WIDTH}, such as 64,,32, not {words!r}")
    return tuple(int(part or 0) for part in parts)


def _set_width(words: str, place: str, value: Any) -> str:
    """The widths with that of the layer `place`, counted from 1, set."""
    if not (place.isascii() and place.isdecimal() and 1 <= int(place) <= MOST_LAYERS):
        raise ValueError(f"a layer of widths has a number from 1 to {MOST_LAYERS}, not {place!r}")
    parts = [*words.split(","), *[""] * MOST_LAYERS][: max(int(place), len(words.split(",")))]
    parts[int(place) - 1] = str(value)
    return ",".join(parts)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not (isinstance(value, int | float) and low <= value <= high):
        raise ValueError(f"{name} must be between {low:g} and {high:g}, not {value}")


STRONG = {"shift": 0.08, "rotation": 10.0, "zoom": 0.1, "brightness": 0.1, "contrast": 0.2, "erasing": 0.25}

PRESETS: dict[str, dict[str, Any]] = {  # what each changes in TrainConfig's defaults; docs/experiments.md says why
    "quick": {},
    "standard": {"epochs": 40, "min_steps": 1200, "augment": STRONG},
    "thorough": {"epochs": 100, "min_steps": 3000, "augment": {**STRONG, "erasing": 0.5}},
    "retrain": {"epochs": 1, "min_steps": 60, "learning_rate": 0.001, "warmup": 0.1},  # from the weights of a run
}


def make_config(preset: str = "quick", **overrides: Any) -> TrainConfig:
    """Make a config from a preset and overrides of single fields, whose values may be strings.

    A strength of the augmentation is named `augment.<name>`; `augment` itself takes an Augmentation, a dict or JSON.
    The width of a layer is named `widths.<number>`, counted from 1.
    Whoever sets `epochs` gets just that many passes over the data, unless `min_steps` is set too.
    Raises ValueError in one sentence for an unknown preset, key, or value that is out of range or no number.
    """
    if preset not in PRESETS:
        raise ValueError(f"no preset is called {preset!r}: use {', '.join(PRESETS)}")
    if "epochs" in overrides:
        overrides = {"min_steps": 0, **overrides}
    return _override(_override(TrainConfig(), PRESETS[preset]), overrides)


def read_config(stored: dict[str, Any]) -> TrainConfig:
    """The inverse of `asdict(config)`, also after a trip through JSON. Raises ValueError like `make_config`."""
    return _override(TrainConfig(), stored)


def write_config(config: TrainConfig) -> dict[str, Any]:
    """`asdict(config)`: nested dicts of strings, numbers and booleans, for JSON and checkpoints."""
    return asdict(config)


def plan_passes(config: TrainConfig, image_count: int) -> tuple[int, int]:
    """Passes over the data in an epoch, and optimiser steps in a pass, for `image_count` training images.

    A step takes `batch_size` images. Where that makes fewer than `min_steps` steps in all, it takes fewer (SMALL_BATCH
    at least), and where that is far from enough, an epoch passes over the data several times. Batches are of equal
    size, and no process gets a single image, of which batch normalisation can make nothing.
    """
    batch_size = config.batch_size
    if config.min_steps:
        enough = image_count * config.epochs // config.min_steps
        batch_size = min(batch_size, max(SMALL_BATCH, enough))
    steps = max(1, min(math.ceil(image_count / batch_size), image_count // (2 * config.processes)))
    return max(1, round(config.min_steps / (config.epochs * steps))), steps


def _override(config: TrainConfig, overrides: dict[str, Any]) -> TrainConfig:
    changes: dict[str, Any] = {}
    strengths: dict[str, Any] = asdict(config.augment)
    for key, value in overrides.items():
        if key == "augment":
            strengths |= _parse_strengths(value)
        elif key.startswith("augment."):
            strengths |= _parse_strengths({key.removeprefix("augment."): value})
        elif key.startswith("widths."):
            changes["widths"] = _set_width(changes.get("widths", config.widths), key.removeprefix("widths."), value)
        else:
            changes[key] = _parse(key, value, _types(config))
    return replace(config, augment=Augmentation(**strengths), **changes)


def _parse_strengths(given: Any) -> dict[str, float]:
    if isinstance(given, Augmentation):
        return asdict(given)
    try:
        values = json.loads(given) if isinstance(given, str) else dict(given)
        types: dict[str, type] = {f"augment.{name}": float for name in asdict(Augmentation())}
        return {name: _parse(f"augment.{name}", value, types) for name, value in values.items()}
    except (json.JSONDecodeError, TypeError, AttributeError):
        raise ValueError(f"augment must be a JSON object of strengths, not {given!r}") from None


def _types(config: TrainConfig) -> dict[str, type]:
    return {f.name: type(getattr(config, f.name)) for f in fields(config) if f.name != "augment"}


def _parse(key: str, value: Any, types: dict[str, type]) -> Any:
    if key not in types:
        raise ValueError(f"a training has no setting {key!r}: use {', '.join(types)}")
    wanted = types[key]
    try:
        return _parse_bool(value) if wanted is bool else _parse_plain(value, wanted)
    except (TypeError, ValueError):
        kind = {bool: "true or false", int: "a whole number", float: "a number"}.get(wanted, "a word")
        raise ValueError(f"{key} must be {kind}, not {value!r}") from None


def _parse_bool(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
    if str(value).lower() not in words:
        raise ValueError(value)
    return words[str(value).lower()]


def _parse_plain(value: Any, wanted: type) -> Any:
    if isinstance(value, bool) or (wanted is str and not isinstance(value, str)):
        raise TypeError(value)
    parsed = wanted(value)
    if wanted is int and not isinstance(value, str) and parsed != value:
        raise ValueError(value)  # 2.5 epochs
    if wanted is float and not math.isfinite(parsed):
        raise ValueError(value)
    return parsed
