"""What a training did to images and how it learned, in words: for the page of its run."""

from collections.abc import Callable, Mapping
from typing import Any

from workbench.services.data_steps import describe_steps

_Settings = Mapping[str, Any]


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


SCHEDULES: dict[str, str] = {
    "cosine": "then down along a cosine",
    "constant": "then constant",
    "step": "then times {decay:g} every {decay_epochs} epochs",
    "plateau": "then times {decay:g} after {decay_epochs} epochs without a lower loss",
}
OPTIMIZERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD"}
STRENGTHS: dict[str, Callable[[float], str]] = {
    "shift": lambda value: f"shifts up to {_percent(value)} of the side",
    "rotation": lambda value: f"rotation up to {value:g}°",
    "zoom": lambda value: f"zoom up to {_percent(value)}",
    "shear": lambda value: f"shear up to {value:g}°",
    "brightness": lambda value: f"brightness up to {_percent(value)}",
    "contrast": lambda value: f"contrast up to {_percent(value)}",
    "erasing": lambda value: f"a square erased in {_percent(value)}",
}


def describe_training(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Headings with a line each; nothing for a run that has not begun, or was not trained here. config: of a run."""
    settings = config.get("training", {})
    if "augment" not in settings:
        return []
    steps = " ".join(describe_steps(config))
    if config.get("members"):
        names = ", ".join(str(member) for member in config["members"])
        return [("Average of", f"the probabilities of runs {names}"), ("Seen", _describe_sight(settings))]
    if config.get("head_on"):
        found = [("Seen", _describe_sight(settings)), ("Data steps", steps), ("Classes", _describe_balance(settings))]
        found.append(("Learned", _describe_head(config["head_on"], settings)))
        return [(heading, words) for heading, words in found if words]
    found = [
        ("Seen", _describe_sight(settings)),
        ("Varied", _describe_variation(settings)),
        ("Data steps", steps),
        ("Classes", _describe_balance(settings)),
        ("Learned", _describe_learning(settings)),
        ("Program", describe_program(config)),
    ]
    return [(heading, words) for heading, words in found if words]


def describe_program(config: Mapping[str, Any]) -> str:
    """What trained, as far as the run knows: runs with equal words and settings are equal to the bit on a CPU."""
    known = config.get("program")
    return f"workbench {known['workbench']}, torch {known['torch']}, code {known['ml']}" if known else ""


def _describe_sight(settings: _Settings) -> str:
    side, channels = settings["image_size"], settings["channels"]
    colours = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
    mask = settings.get("mask", "none")
    hidden = "" if mask == "none" else f", the region “{mask}” hidden from every image"
    return f"{side} × {side} pixels, {colours}{hidden}; normalised by the mean and spread of its training images"


def _describe_variation(settings: _Settings) -> str:
    strengths = settings["augment"]
    mirrored = ["mirror images"] if settings.get("flip", True) and strengths["flip"] else []
    others = [words(strengths[name]) for name, words in STRENGTHS.items() if strengths.get(name)]
    return ", ".join([*mirrored, *others]) + "; training images only" if mirrored or others else "not at all"


def _describe_balance(settings: _Settings) -> str:
    parts = []
    if settings.get("sampling", "each") == "balanced":
        parts.append("drawn equally often")
    if settings["class_weighting"] == "balanced":
        parts.append("each weighs the same")
    return ", ".join(parts)


def _describe_head(run_id: int, settings: _Settings) -> str:
    kind = f"a head with a layer of {settings['hidden']:,}" if settings.get("hidden") else "a linear head"
    smoothed = f", labels smoothed by {settings['label_smoothing']:g}" if settings["label_smoothing"] else ""
    return f"{kind} on the features of run {run_id}, by L-BFGS{smoothed}; the network is that run's, unchanged"


def _describe_learning(settings: _Settings) -> str:
    name = OPTIMIZERS.get(settings["optimizer"], settings["optimizer"])
    rate = f"{name}, learning rate up to {settings['learning_rate']:g}"
    if settings["warmup"]:
        rate += f" over the first {_percent(settings['warmup'])}"
    parts = [
        rate,
        SCHEDULES[settings.get("schedule", "cosine")].format_map(settings),
        f"batches of up to {settings['batch_size']:,}",
    ]
    if settings["label_smoothing"]:
        parts.append(f"labels smoothed by {settings['label_smoothing']:g}")
    if settings["patience"]:
        parts.append(f"stopping after {settings['patience']} epochs without a better one on validation")
    if settings.get("processes", 1) > 1:
        parts.append(f"in {settings['processes']} processes")
    return ", ".join(parts)
