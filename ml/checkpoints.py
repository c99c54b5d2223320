"""Checkpoints on disk: written under another name and renamed, read without running any code that they hold."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import torch

FORMAT = 1
CHECKPOINT = "checkpoint.pt"
METRICS = "metrics.jsonl"


def write_checkpoint(folder: Path, contents: dict[str, Any]) -> None:
    """Write folder/checkpoint.pt so that at any moment either the old or the new one is there, whole."""
    temporary = folder / f"{CHECKPOINT}.tmp"
    with temporary.open("wb") as file:
        torch.save({"format": FORMAT, **contents}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / CHECKPOINT)


def read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """Return what `write_checkpoint` wrote, on the CPU. Raises FileNotFoundError, or ValueError if it is none."""
    try:
        contents = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise ValueError(f"{checkpoint.name} is damaged or no checkpoint: {type(error).__name__}") from error
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise ValueError(f"{checkpoint.name} is no checkpoint of this version of the workbench")
    return contents


def append_metrics(folder: Path, line: dict[str, Any]) -> None:
    """Add one line to folder/metrics.jsonl."""
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def rewrite_metrics(folder: Path, lines: list[dict[str, Any]]) -> None:
    """Write folder/metrics.jsonl anew: after a kill it may lack its last line or hold half of one."""
    temporary = folder / f"{METRICS}.tmp"
    temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    temporary.replace(folder / METRICS)
