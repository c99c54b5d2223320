import json
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from ml.checkpoints import read_checkpoint
from ml.dynamics import read_dynamics
from ml.predict import load_model, predict
from ml.train import Diverged, EpochReport, Stopped, make_config
from tests.ml.drawing import draw_bars, tiny_config
from tests.ml.trained import NONE, assert_same_weights, run, timeless, weights_of


def read_metrics(folder: Path) -> list[EpochReport]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [EpochReport(**json.loads(line)) for line in lines]


def test_train_learns_drawn_bars(tmp_path):
    images, labels = draw_bars(240, classes=3)
    result = run(
        tmp_path,
        tiny_config(epochs=6, min_steps=60),
        images=images,
        labels=labels,
        class_count=3,
        train_indices=np.arange(200),
        validation_indices=np.arange(200, 240),
    )
    assert result.history[-1].validation_accuracy >= 0.95
    assert result.model_epoch == 6
    assert [report.epoch for report in result.history] == [1, 2, 3, 4, 5, 6]
    assert read_metrics(tmp_path) == list(result.history)


def test_train_reports_the_accuracy_that_predict_finds(tmp_path):
    images, labels = draw_bars(48)
    result = run(tmp_path)
    probs, _ = predict(load_model(result.checkpoint), images[40:])
    loss = -np.log(probs[np.arange(8), labels[40:]]).mean()
    assert result.history[-1].validation_accuracy == pytest.approx((probs.argmax(1) == labels[40:]).mean())
    assert result.history[-1].validation_loss == pytest.approx(loss, abs=0.01)


def test_what_the_model_said_while_it_learned_tells_wrong_labels_from_right_ones(tmp_path):
    images, labels = draw_bars(240, classes=3)
    given = labels.copy()
    given[:20] = (given[:20] + 1) % 3
    config = tiny_config(epochs=4, min_steps=40)
    rows = np.arange(200)
    run(tmp_path, config, images=images, labels=given, class_count=3, train_indices=rows, validation_indices=NONE)
    noted, probs = read_dynamics(tmp_path)
    np.testing.assert_array_equal(noted, rows)
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-4)
    doubt = 1 - probs[rows, given[:200]]
    assert doubt[:20].min() > np.median(doubt[20:])
    assert read_dynamics(tmp_path / "elsewhere") is None


def test_train_twice_gives_the_same_bits_and_another_seed_others(tmp_path):
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        run(tmp_path / name, tiny_config(seed=seed))
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    assert not torch.equal(weights_of(tmp_path / "a")["head.weight"], weights_of(tmp_path / "c")["head.weight"])


def test_train_leaves_global_state_alone(tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    threads = torch.get_num_threads()
    torch.manual_seed(7)
    run(tmp_path)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_stopped_run_goes_on_to_the_same_bits(tmp_path, optimizer):
    config = tiny_config(epochs=3, optimizer=optimizer, learning_rate=0.01)
    undisturbed = run(tmp_path / "a", config)
    polls = iter(range(1000))
    stop_after = 7  # in the third epoch, of three steps like the others
    with pytest.raises(Stopped):
        run(tmp_path / "b", config, should_stop=lambda: next(polls) == stop_after)
    assert read_checkpoint(tmp_path / "b" / "checkpoint.pt")["epoch"] == 2
    resumed = run(tmp_path / "b", config)
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    assert timeless(resumed.history) == timeless(undisturbed.history) == timeless(read_metrics(tmp_path / "b"))


KILLED = """
import os, signal, sys
from pathlib import Path
import ml.checkpoints as checkpoints
from tests.ml.drawing import draw_bars, tiny_config
from tests.ml.trained import NONE, assert_same_weights, run, timeless, weights_of
from ml.train import train
import numpy as np

folder, moment = Path(sys.argv[1]), sys.argv[2]

def kill(report=None):
    os.kill(os.getpid(), signal.SIGKILL)

def kill_while_writing(contents, file):
    if contents["epoch"] == 2:
        file.write(b"half of a checkpoint")
        file.flush()
        kill()
    save(contents, file)

def kill_between(folder, line):
    if line["epoch"] == 2:
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"epoch": 2, "half')
            file.flush()
            kill()
    append(folder, line)

save, append = checkpoints.torch.save, None
if moment == "writing":
    checkpoints.torch.save = kill_while_writing
if moment == "between":
    import ml.train
    append, ml.train.append_metrics = ml.train.append_metrics, kill_between
images, labels = draw_bars(48)
train(images, labels, train_indices=np.arange(40), validation_indices=np.arange(40, 48), class_count=2,
      config=tiny_config(epochs=3), folder=folder, on_epoch=kill if moment == "epoch" else None)
"""


@pytest.mark.parametrize(("moment", "whole_epochs"), [("epoch", 1), ("writing", 1), ("between", 2)])
def test_killed_run_goes_on_to_the_same_bits(tmp_path, moment, whole_epochs):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "b"), moment],
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert read_checkpoint(tmp_path / "b" / "checkpoint.pt")["epoch"] == whole_epochs
    undisturbed = run(tmp_path / "a", tiny_config(epochs=3))
    resumed = run(tmp_path / "b", tiny_config(epochs=3))
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    assert timeless(resumed.history) == timeless(undisturbed.history) == timeless(read_metrics(tmp_path / "b"))
    for noted, expected in zip(read_dynamics(tmp_path / "b"), read_dynamics(tmp_path / "a"), strict=True):
        np.testing.assert_array_equal(noted, expected)


def test_complete_run_is_returned_without_training(tmp_path):
    first = run(tmp_path)
    changed_ns = (tmp_path / "checkpoint.pt").stat().st_mtime_ns
    (tmp_path / "metrics.jsonl").write_text("lost", encoding="utf-8")
    again = run(tmp_path, on_epoch=lambda report: pytest.fail("it trained"))
    assert again == first
    assert (tmp_path / "checkpoint.pt").stat().st_mtime_ns == changed_ns
    assert read_metrics(tmp_path) == list(first.history)


def test_complete_checkpoint_says_so_and_holds_no_optimizer(tmp_path):
    seen = []
    run(tmp_path, on_epoch=lambda report: seen.append(read_checkpoint(tmp_path / "checkpoint.pt")))
    assert [(stored["epoch"], stored["complete"]) for stored in seen] == [(1, False), (2, True)]
    assert seen[0]["optimizer"] is not None
    assert seen[1]["optimizer"] is None
    assert seen[1]["config"] == asdict(tiny_config())
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["checkpoint.pt", "dynamics.npz", "metrics.jsonl"]


def test_checkpoint_holds_mean_and_deviation_of_the_training_images(tmp_path):
    images, labels = draw_bars(48, channels=3)
    images[:, 2] = 9  # a flat channel
    run(tmp_path, tiny_config(channels=3), images=images, labels=labels)
    stored = read_checkpoint(tmp_path / "checkpoint.pt")
    pixels = images[:40].astype(np.float64)
    np.testing.assert_allclose(stored["mean"], pixels.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(stored["std"], [*pixels[:, :2].std((0, 2, 3)), 1.0], rtol=1e-6)


def test_another_config_or_other_data_are_refused_in_a_used_folder(tmp_path):
    run(tmp_path)
    images, labels = draw_bars(48)
    with pytest.raises(ValueError, match="another config"):
        run(tmp_path, tiny_config(seed=1))
    with pytest.raises(ValueError, match="other images or labels"):
        run(tmp_path, labels=1 - labels)
    with pytest.raises(ValueError, match="other images or labels"):
        run(tmp_path, images=255 - images)


def test_patience_keeps_the_best_epoch_and_ends_early(tmp_path):
    config = tiny_config(epochs=12, patience=2, min_steps=60)
    images, labels = draw_bars(48)
    result = run(tmp_path, config)
    best = max(result.history, key=lambda report: (report.validation_accuracy, -report.validation_loss))
    assert result.model_epoch == best.epoch
    assert len(result.history) in (best.epoch + 2, 12)
    probs, _ = predict(load_model(result.checkpoint), images[40:])
    loss = -np.log(probs[np.arange(8), labels[40:]]).mean()
    assert loss == pytest.approx(best.validation_loss, abs=0.01)


def test_patience_survives_a_stop(tmp_path):
    config = tiny_config(epochs=8, patience=2, min_steps=40)
    undisturbed = run(tmp_path / "a", config)
    polls = iter(range(10_000))
    with pytest.raises(Stopped):
        run(tmp_path / "b", config, should_stop=lambda: next(polls) == 16)
    resumed = run(tmp_path / "b", config)
    assert resumed.model_epoch == undisturbed.model_epoch
    assert_same_weights(tmp_path / "a", tmp_path / "b")


def test_progress_ends_with_everything_done(tmp_path):
    calls = []
    run(tmp_path, on_batch=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (80, 80)  # 40 images, 2 epochs of one pass each
    assert calls == sorted(calls)


def test_progress_calls_are_few(tmp_path):
    calls = []
    result = run(tmp_path, tiny_config(epochs=1, min_steps=150), on_batch=lambda *call: calls.append(call))
    assert len(calls) <= 4 * result.seconds + 2


@pytest.mark.parametrize("count", [1, 2, 3, 17])
def test_train_takes_tiny_sets_and_no_validation(tmp_path, count):
    result = run(tmp_path, tiny_config(batch_size=16), train_indices=np.arange(count), validation_indices=NONE)
    assert np.isfinite(result.history[-1].train_loss)
    assert result.history[-1].validation_loss is None
    assert result.history[-1].validation_accuracy is None


def test_train_takes_a_class_without_images_and_many_classes(tmp_path):
    config = tiny_config(class_weighting="balanced")
    result = run(tmp_path, config, class_count=300)
    probs, _ = predict(load_model(result.checkpoint), draw_bars(2)[0])
    assert probs.shape == (2, 300)
    assert np.isfinite(probs).all()


def test_weight_zero_leaves_an_image_out(tmp_path):
    _, labels = draw_bars(48)
    weights = np.ones(48, np.float32)
    weights[:20] = 0
    labels[:20] = 1 - labels[:20]  # wrong, and without weight
    config = tiny_config(epochs=6, min_steps=60)
    result = run(tmp_path, config, labels=labels, weights=weights)
    assert result.history[-1].validation_accuracy == 1.0


def test_balanced_weighting_finds_the_rare_class(tmp_path):
    images, labels = draw_bars(400)
    rare = np.flatnonzero(labels == 1)[:6]
    rows = np.concatenate([np.flatnonzero(labels == 0)[:150], rare])
    held = np.flatnonzero(labels == 1)[100:]
    recalls = {}
    for weighting in ("none", "balanced"):
        config = tiny_config(epochs=1, min_steps=10, class_weighting=weighting)
        result = run(
            tmp_path / weighting, config, images=images, labels=labels, train_indices=rows, validation_indices=held
        )
        recalls[weighting] = result.history[-1].validation_loss
    assert recalls["balanced"] < recalls["none"]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"train_indices": NONE}, "no image to train on"),
        ({"train_indices": np.array([0, 48])}, "train_indices must be a list of rows between 0 and 47"),
        ({"validation_indices": np.array([-1])}, "validation_indices must be"),
        ({"labels": np.full(48, -1)}, "train_indices holds images whose label is not one of the 2 classes"),
        ({"labels": np.zeros(47, np.int64)}, "labels must have one entry for each of the 48 images"),
        ({"class_count": 1}, "not one of the 1 classes"),
        ({"images": np.zeros((48, 1, 13, 12), np.uint8)}, r"uint8 \(N, 1, 12, 12\), not uint8 \(48, 1, 13, 12\)"),
        ({"images": np.zeros((48, 1, 12, 12), np.float32)}, "not float32"),
        ({"weights": np.full(48, np.nan, np.float32)}, "weights must be"),
        ({"weights": np.zeros(48, np.float32)}, "weights must be"),
        ({"weights": np.ones(3, np.float32)}, "weights must be"),
        ({"config": tiny_config(patience=1), "validation_indices": NONE}, "patience needs validation images"),
        ({"config": tiny_config(arch="resnet")}, "no architecture is called 'resnet'"),
        ({"device": "cuda:0"}, "no cuda device"),
    ],
)
def test_train_refuses_what_does_not_fit(tmp_path, overrides, sentence):
    if overrides.get("device") == "cuda:0" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(ValueError, match=sentence):
        run(tmp_path, **overrides)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_diverging_training_says_so(tmp_path):
    config = tiny_config(learning_rate=100.0, warmup=0.0, weight_decay=1.0, optimizer="sgd", min_steps=200)
    with pytest.raises(Diverged, match="lower learning_rate than 100"):
        run(tmp_path, config)


def test_damaged_checkpoint_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged or no checkpoint"):
        run(tmp_path)


def test_train_takes_read_only_and_tensor_images(tmp_path):
    images, labels = draw_bars(48)
    images.flags.writeable = False
    run(tmp_path / "a", images=images)
    run(tmp_path / "b", images=torch.from_numpy(images.copy()), labels=torch.from_numpy(labels))
    assert_same_weights(tmp_path / "a", tmp_path / "b")


def test_torchvision_architecture_trains_and_predicts(tmp_path):
    config = tiny_config(arch="mobilenet_v3_small", image_size=32, epochs=1, min_steps=2)
    images, labels = draw_bars(24, side=32)
    result = run(tmp_path, config, images=images, labels=labels, train_indices=np.arange(20), validation_indices=NONE)
    probs, features = predict(load_model(result.checkpoint), images[20:])
    assert probs.shape == (4, 2)
    assert features.shape == (4, 1024)


@pytest.mark.slow
def test_quick_preset_reads_handwritten_digits(tmp_path):
    digits = load_digits()
    images = np.kron(digits.images * 15.9375, np.ones((1, 2, 2))).astype(np.uint8)[:, None]  # (N, 1, 16, 16)
    rows = np.random.default_rng(0).permutation(len(images))
    result = run(
        tmp_path,
        make_config("quick", image_size=16, flip=False, threads=1, min_steps=150),
        images=images,
        labels=digits.target,
        class_count=10,
        train_indices=rows[:600],
        validation_indices=rows[600:],
    )
    assert result.history[-1].validation_accuracy >= 0.96
