"""A training in two processes of this machine, started by torchrun, talking over gloo."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.batches import check_data
from ml.dynamics import read_dynamics
from ml.launch import RESULT, _conclude, launch
from ml.predict import load_model, predict
from ml.train import Diverged, EpochReport
from tests.ml.drawing import draw_bars, tiny_config
from tests.ml.trained import assert_same_weights

CONFIG = {"epochs": 4, "min_steps": 40, "processes": 2, "precision": "float32", "patience": 4, "sampling": "balanced"}


def run(folder: Path, **overrides: Any):
    images, labels = draw_bars(120)
    asked = {
        "train_indices": np.arange(100),
        "validation_indices": np.arange(100, 120),
        "class_count": 2,
        "config": tiny_config(**CONFIG),
        "folder": folder,
        "targets": np.eye(2, dtype=np.float32)[labels],
        "device": "cpu",
        **overrides,
    }
    return launch(images, labels, **asked)


def test_two_processes_train_one_model(tmp_path):
    seen: list[tuple[int, int]] = []
    epochs: list[EpochReport] = []
    result = run(tmp_path, on_batch=lambda done, total: seen.append((done, total)), on_epoch=epochs.append)
    images, labels = draw_bars(120)
    probs, _ = predict(load_model(result.checkpoint, device="cpu"), images[100:])
    best = result.history[result.model_epoch - 1]
    assert (probs.argmax(1) == labels[100:]).mean() == pytest.approx(best.validation_accuracy)
    assert best.validation_accuracy >= 0.9
    assert seen[-1][0] == seen[-1][1]
    assert epochs == list(result.history)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "dynamics.npz", "metrics.jsonl"]
    noted = read_dynamics(tmp_path)
    assert noted is not None
    assert noted[0].tolist() == list(range(100)), "what both processes saw"


@pytest.mark.slow
def test_a_stopped_team_goes_on_to_the_same_bits(tmp_path):
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*command, "-m", "tests.ml.team_member", str(tmp_path)], cwd=root, check=True, capture_output=True)
    assert_same_weights(tmp_path / "undisturbed", tmp_path / "stopped")
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("undisturbed", "stopped")]
    losses = [[json.loads(line)["validation_loss"] for line in each] for each in lines]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 3


def test_what_a_member_refused_is_raised_in_the_same_sentence(tmp_path):
    (tmp_path / RESULT).write_text('{"refused": "Diverged", "sentence": "the loss is nan"}')
    with pytest.raises(Diverged, match="the loss is nan"):
        _conclude(tmp_path, 0)


def test_a_member_that_died_is_told_by_its_last_words(tmp_path):
    (tmp_path / "errors.txt").write_text("one\ntwo\nthree\nMemoryError\n")
    with pytest.raises(RuntimeError, match="ended with status 1: two / three / MemoryError"):
        _conclude(tmp_path, 1)


def test_too_few_images_for_so_many_processes_are_refused(tmp_path):
    images, labels = draw_bars(8)
    with pytest.raises(ValueError, match="2 processes need 4 training images"):
        check_data(
            images, labels, weights=None, targets=None, train_indices=np.arange(3), validation_indices=np.arange(3, 8),
            class_count=2, config=tiny_config(processes=2), device="cpu",
        )  # fmt: skip


def test_one_process_needs_no_launching(tmp_path):
    result = run(tmp_path, config=tiny_config(epochs=1))
    assert (result.model_epoch, result.device) == (1, "cpu")
