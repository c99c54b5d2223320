"""What a training may be told: targets, sampling, schedules, precision, compiling."""

import numpy as np
import pytest
import torch

from ml.batches import check_data, draw_batches
from ml.checkpoints import read_checkpoint
from ml.predict import load_model, predict
from ml.train import Stopped
from tests.ml.drawing import draw_bars, tiny_config
from tests.ml.trained import NONE, assert_same_weights, run, timeless, weights_of

VOTES = np.random.default_rng(0).dirichlet([2, 2], 48).astype(np.float32)

OPTIONS = {
    "plateau": ({"schedule": "plateau", "decay_epochs": 1, "decay": 0.1, "patience": 3}, {}),
    "balanced": ({"schedule": "step", "decay_epochs": 2, "sampling": "balanced", "optimizer": "adam"}, {}),
    "votes": ({"schedule": "constant", "optimizer": "sgd", "learning_rate": 0.01}, {"targets": VOTES}),
    "float16": ({"precision": "float16", "class_weighting": "balanced"}, {"weights": VOTES[:, 0]}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_stopped_after_every_epoch_in_turn_it_comes_to_the_same_bits(tmp_path, name):
    settings, given = OPTIONS[name]
    config = tiny_config(epochs=4, **settings)
    undisturbed = run(tmp_path / "a", config, **given)
    for epoch in range(1, 4):
        polls = iter(range(10_000))
        with pytest.raises(Stopped):
            run(tmp_path / "b", config, should_stop=lambda polls=polls: next(polls) == 3, **given)
        assert read_checkpoint(tmp_path / "b" / "checkpoint.pt")["epoch"] == epoch
    resumed = run(tmp_path / "b", config, **given)
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    assert timeless(resumed.history) == timeless(undisturbed.history)


def test_plateau_lowers_the_rate_that_the_history_tells(tmp_path):
    settings = {"schedule": "plateau", "decay_epochs": 1, "decay": 0.1, "warmup": 0.0, "learning_rate": 1e-8}
    images, labels = draw_bars(48)
    history = run(tmp_path, tiny_config(epochs=4, **settings), labels=labels, images=images).history
    losses = [report.validation_loss for report in history]
    expected, rate, lowest = [], 1e-8, np.inf
    for loss in losses:
        expected.append(rate)
        rate, lowest = (rate, loss) if loss < lowest else (rate * 0.1, lowest)
    assert [report.learning_rate for report in history] == pytest.approx(expected)


def test_plateau_watches_the_training_loss_where_nothing_may_validate(tmp_path):
    settings = {"schedule": "plateau", "decay_epochs": 1, "decay": 0.0, "warmup": 0.0}
    history = run(tmp_path, tiny_config(epochs=3, **settings), validation_indices=NONE).history
    assert history[0].learning_rate > 0


def test_votes_teach_their_shares_and_not_the_label(tmp_path):
    images, labels = draw_bars(48)
    targets = np.full((48, 2), 0.5, np.float32)
    targets[:, 0], targets[:, 1] = 0.75, 0.25  # whatever the picture shows
    targets[40:] = np.nan  # validation images teach nothing
    config = tiny_config(epochs=6, min_steps=60, label_smoothing=0.0)
    result = run(tmp_path, config, targets=targets)
    probs, _ = predict(load_model(result.checkpoint), images[:40])
    assert probs[:, 0] == pytest.approx(0.75, abs=0.15)
    assert result.history[-1].train_accuracy == pytest.approx((labels[:40] == 0).mean())  # by the hard labels


def test_one_hot_targets_teach_what_labels_teach(tmp_path):
    _, labels = draw_bars(48)
    run(tmp_path / "a", tiny_config(precision="float32"))
    run(tmp_path / "b", tiny_config(precision="float32"), targets=np.eye(2, dtype=np.float32)[labels])
    one, other = weights_of(tmp_path / "a"), weights_of(tmp_path / "b")
    for name, weights in one.items():
        torch.testing.assert_close(weights, other[name], rtol=1e-2, atol=1e-3)


def test_other_targets_are_refused_in_a_used_folder(tmp_path):
    run(tmp_path, targets=VOTES)
    with pytest.raises(ValueError, match="other images or labels"):
        run(tmp_path, targets=VOTES[:, ::-1])


@pytest.mark.parametrize("wrong", [VOTES[:, :1], VOTES[:3], VOTES * 2, -VOTES, np.full((48, 2), np.nan, np.float32)])
def test_targets_that_are_no_probabilities_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="targets"):
        run(tmp_path, targets=wrong)


def draw_labels(labels, *, sampling: str, seed: int = 0) -> list[int]:
    """The labels of one pass, in the order in which they are trained on."""
    count = len(labels)
    config = tiny_config(sampling=sampling, min_steps=0)
    data = check_data(
        np.zeros((count, 1, 12, 12), np.uint8), labels, weights=None, targets=None, config=config, device="cpu",
        train_indices=np.arange(count), validation_indices=NONE, class_count=4,
    )  # fmt: skip
    rows = torch.cat(list(draw_batches(data, config, torch.Generator().manual_seed(seed)))).tolist()
    return [int(labels[row]) for row in rows]


def test_balanced_sampling_draws_every_class_equally_often():
    labels = np.array([0] * 70 + [1] * 25 + [3] * 5)  # class 2 has none
    assert sorted(draw_labels(labels, sampling="each")) == labels.tolist()
    drawn = draw_labels(labels, sampling="balanced")
    assert np.bincount(drawn, minlength=4).tolist() == [34, 33, 0, 33]
    assert drawn != sorted(drawn)


def test_balanced_sampling_of_fewer_images_than_classes():
    assert sorted(draw_labels(np.array([0, 3, 1]), sampling="balanced")) == [0, 1, 3]


def test_balanced_sampling_repeats_a_rare_class_evenly_and_varies_the_common_ones():
    labels = np.array([0] * 90 + [1] * 10)
    count = len(labels)
    config = tiny_config(sampling="balanced", min_steps=0)
    data = check_data(
        np.zeros((count, 1, 12, 12), np.uint8), labels, weights=None, targets=None, config=config, device="cpu",
        train_indices=np.arange(count), validation_indices=NONE, class_count=2,
    )  # fmt: skip
    passes = [
        torch.cat(list(draw_batches(data, config, torch.Generator().manual_seed(seed)))).numpy() for seed in (0, 1)
    ]
    for rows in passes:
        assert np.bincount(rows, minlength=100)[90:].tolist() == [5] * 10
        assert np.bincount(rows, minlength=100)[:90].max() == 1
    assert set(passes[0].tolist()) != set(passes[1].tolist())


def test_balanced_sampling_finds_the_rare_class(tmp_path):
    images, labels = draw_bars(96)
    rare = np.flatnonzero(labels == 1)[:4]
    rows = np.concatenate([np.flatnonzero(labels == 0)[:40], rare])
    result = run(
        tmp_path, tiny_config(epochs=4, min_steps=40, sampling="balanced"), images=images, labels=labels,
        train_indices=rows, validation_indices=NONE,
    )  # fmt: skip
    probs, _ = predict(load_model(result.checkpoint), images[labels == 1])
    assert (probs.argmax(1) == 1).mean() > 0.8


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_a_training_to_be_compiled_learns_the_same(tmp_path):
    """Without the half minute that the compiler takes: the compiled call is there and runs as it would without."""
    run(tmp_path / "a", tiny_config(precision="float32"))
    with torch.compiler.set_stance("force_eager"):
        run(tmp_path / "b", tiny_config(precision="float32", compile=True))
    assert_same_weights(tmp_path / "a", tmp_path / "b")
