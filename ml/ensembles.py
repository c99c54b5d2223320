"""The mean of several trained models, written as a checkpoint that predicts like any other."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ml.checkpoints import CHECKPOINT, read_checkpoint, write_checkpoint
from ml.configs import read_config
from ml.models import make_net
from ml.models.ensemble import Ensemble

ENSEMBLE = "ensemble"  # the architecture of such a checkpoint; nothing is trained by that name
SEEN_ALIKE = ("image_size", "channels", "mask")  # settings that all members share: they see one picture


def write_ensemble(members: Sequence[Path], folder: Path) -> Path:
    """Write folder/checkpoint.pt, whose model answers with the mean of the members' probabilities.

    members: checkpoints of trained models with the same number of classes in the same order, two at least; their
    weights are copied, so that the file stands alone. Each member normalises the images as it did in training.
    Returns the checkpoint. Raises ValueError in one sentence if the members do not see images of the same size,
    channels and mask, have other numbers of classes, or are ensembles themselves.
    """
    read = [read_checkpoint(member) for member in members]
    _check(read)
    config = replace(read_config(read[0]["config"]), arch=ENSEMBLE)
    contents = {
        **{key: read[0][key] for key in ("class_count", "mean", "std", "precision", "threads", "torch")},
        "config": asdict(config),
        "members": [{key: each[key] for key in ("config", "mean", "std")} for each in read],
        "fingerprint": "",
        "epoch": 0,
        "complete": True,
        "model_epoch": 0,
        "model": {
            f"members.{place}.model.{name}": values
            for place, each in enumerate(read)
            for name, values in each["model"].items()
        },
        "optimizer": None,
        "best": None,
        "history": [],
    }
    write_checkpoint(folder, contents)
    return folder / CHECKPOINT


def _check(members: Sequence[dict[str, Any]]) -> None:
    if len(members) < 2:
        raise ValueError("an ensemble needs two members at least")
    if any("members" in each for each in members):
        raise ValueError("a member is an ensemble itself: name its members instead")
    if len({each["class_count"] for each in members}) > 1:
        raise ValueError("the members of an ensemble must know the same classes")
    configs = [read_config(each["config"]) for each in members]
    for name in SEEN_ALIKE:
        found = sorted({str(getattr(config, name)) for config in configs})
        if len(found) > 1:
            raise ValueError(f"the members of an ensemble must see the same images: {name} is {' and '.join(found)}")


def make_ensemble(contents: dict[str, Any]) -> Ensemble:
    """Return the network of a checkpoint that `write_ensemble` wrote, its weights still drawn, on the CPU."""
    members = contents["members"]
    means, stds = ([_shape(each[name]) for each in members] for name in ("mean", "std"))
    nets = [make_net(read_config(each["config"]), contents["class_count"]) for each in members]
    return Ensemble(nets, means, stds)


def _shape(values: list[float]) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)
