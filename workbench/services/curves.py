"""The epochs of a run as its folder has them, while it trains and afterwards."""

import json
from dataclasses import dataclass
from typing import Any

from workbench.config import Home

FILE = "metrics.jsonl"


@dataclass(frozen=True)
class Epoch:
    """One line of the file; none where a run has no validation images."""

    epoch: int
    epochs: int
    train_loss: float | None
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float | None
    seconds: float


def read_curves(home: Home, run_id: int) -> list[Epoch]:
    """Oldest first, empty before the first epoch. A line that is being written just now is left for the next look."""
    try:
        lines = (home.run_folder(run_id) / FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(_parse(json.loads(line)))
        except (ValueError, KeyError, TypeError):
            break
    return found


def _parse(line: dict[str, Any]) -> Epoch:
    number = {
        key: None if line.get(key) is None else float(line[key])
        for key in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate")
    }
    return Epoch(
        epoch=int(line["epoch"]),
        epochs=int(line.get("epochs", line["epoch"])),
        seconds=float(line.get("seconds", 0.0)),
        **number,
    )
