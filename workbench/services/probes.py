"""What a run's model answered when it was asked again (workbench/worker/probing.py asks), as a file in its folder.

The file names the checkpoint and the predictions that it is about, and counts only as long as they are the same.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workbench.config import Home
from workbench.files import write_json
from workbench.services import predictions

FILE = "probe.json"
CHECKPOINT = "checkpoint.pt"
_TAIL = 65_536  # both files are zip archives: the list at their end holds a checksum of all that is in them


@dataclass(frozen=True)
class Probe:
    """checkpoint, predictions: fingerprints of the files.

    repeats, batches: largest difference between the probabilities of two passes, and of another order of images.
    explained: how the stored predictions can be had again -> share of the images on which that gives the stored ones.
    frozen: layers that no training step moves. idle: settings that change nothing, with their values. tried: settings
    that were looked at. blank: what of the pictures is blank. labels: of the images measured on, as they were then.
    """

    checkpoint: str
    predictions: str
    images: int
    repeats: float
    batches: float
    explained: dict[str, float]
    frozen: list[str] = field(default_factory=list)
    layers: int = 0
    idle: dict[str, str] = field(default_factory=dict)
    tried: list[str] = field(default_factory=list)
    blank: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, list[int]] = field(default_factory=dict)


def save_probe(home: Home, run_id: int, probe: Probe) -> None:
    write_json(home.run_folder(run_id) / FILE, asdict(probe))


def load_probe(home: Home, run_id: int) -> Probe | None:
    """None where there is none, or it is about other files than those that are there."""
    try:
        stored = json.loads((home.run_folder(run_id) / FILE).read_text(encoding="utf-8"))
        probe = Probe(**stored)
    except (OSError, ValueError, TypeError):
        return None
    return probe if (probe.checkpoint, probe.predictions) == fingerprint_files(home, run_id) else None


def is_probed(home: Home, run_id: int) -> bool:
    """Whether there is nothing to ask: no model, or its answers about the files that are there."""
    return not (home.run_folder(run_id) / CHECKPOINT).exists() or load_probe(home, run_id) is not None


def fingerprint_files(home: Home, run_id: int) -> tuple[str, str]:
    """Of the checkpoint and of the predictions; an empty text for a file that is not there. Reads 64 kB of each."""
    folder = home.run_folder(run_id)
    return _fingerprint(folder / CHECKPOINT), _fingerprint(folder / predictions.FILE)


def _fingerprint(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            return hashlib.sha256(f"{size} ".encode() + file.read()).hexdigest()
    except FileNotFoundError:
        return ""
