import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from ml.folds import cross_predict, grouped_folds
from ml.train import Stopped
from tests.ml.drawing import draw_bars, tiny_config


def unevenness(labels, fold_of, folds) -> float:
    """Largest distance of a class's share in a fold from an even one, in rows."""
    return max(
        abs(((labels == label) & (fold_of == fold)).sum() - (labels == label).sum() / folds)
        for label in np.unique(labels)
        for fold in range(folds)
    )


def sklearn_folds(labels, groups, folds):
    fold_of = np.empty(len(labels), np.int64)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    for fold, (_, held) in enumerate(splitter.split(labels, labels, groups)):
        fold_of[held] = fold
    return fold_of


@pytest.mark.parametrize("folds", [2, 5])
@pytest.mark.parametrize("group_count", [150, 300, 1000])
def test_folds_part_no_group_and_are_as_even_as_sklearns(folds, group_count):
    rng = np.random.default_rng(group_count)
    labels = rng.choice(5, 1000, p=[0.5, 0.3, 0.1, 0.07, 0.03]) - 1  # -1: without a label
    groups = rng.integers(0, group_count, 1000)
    fold_of = grouped_folds(labels, groups, folds=folds, seed=0)
    assert fold_of.dtype == np.int64
    assert set(fold_of.tolist()) == set(range(folds))
    assert all(len(set(fold_of[groups == group].tolist())) == 1 for group in np.unique(groups))
    assert unevenness(labels, fold_of, folds) <= unevenness(labels, sklearn_folds(labels, groups, folds), folds) + 1


def test_folds_of_single_rows_are_even():
    labels = np.repeat([0, 1, 2], [50, 30, 3])
    fold_of = grouped_folds(labels, np.arange(83), folds=5, seed=1)
    assert unevenness(labels, fold_of, 5) < 1
    sizes = np.bincount(fold_of)
    assert sizes.max() - sizes.min() <= 1


def test_folds_follow_from_the_seed():
    labels, groups = np.arange(100) % 3, np.arange(100) // 2
    first, again, other = (grouped_folds(labels, groups, folds=4, seed=seed) for seed in (0, 0, 1))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_as_many_folds_as_groups():
    fold_of = grouped_folds(np.zeros(4, int), np.array([7, 7, 9, 8]), folds=3, seed=0)
    assert fold_of[0] == fold_of[1]
    assert sorted(set(fold_of.tolist())) == [0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "groups", "folds"), [([0, 1], [0, 1], 3), ([0, 1], [0, 1], 1), ([0, 1], [0], 2), ([], [], 2)]
)
def test_folds_refuse_what_cannot_be_dealt(labels, groups, folds):
    with pytest.raises(ValueError, match=r"folds|one length"):
        grouped_folds(np.array(labels, int), np.array(groups, int), folds=folds, seed=0)


def test_folds_are_fast():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 7, 30_000), rng.permutation(30_000) % 29_000
    started_s = time.process_time()
    grouped_folds(labels, groups, folds=5, seed=0)
    assert time.process_time() - started_s < 3


# --- cross_predict ---------------------------------------------------------------------------------------------


def cross(folder, *, indices, labels=None, config=None, **overrides):
    images, given = draw_bars(96)
    return cross_predict(
        images,
        given if labels is None else labels,
        np.arange(96) // 2,
        indices=indices,
        folds=3,
        class_count=2,
        config=config or tiny_config(min_steps=24),
        folder=folder,
        **overrides,
    )


def test_cross_predict_finds_the_right_class_of_wrong_labels(tmp_path):
    _, truth = draw_bars(96)
    labels = truth.copy()
    labels[[4, 5, 50]] = 1 - labels[[4, 5, 50]]
    labels[[10, 11]] = -1
    indices = np.arange(90)[::-1].copy()  # in another order, and not all of them
    probs = cross(tmp_path, indices=indices, labels=labels, config=tiny_config(min_steps=60))
    assert probs.dtype == np.float32
    assert probs.shape == (90, 2)
    assert (probs.argmax(1) == truth[indices]).mean() >= 0.95
    assert (probs.argmax(1) == truth[indices])[np.isin(indices, [4, 5, 10, 11, 50])].all()


def test_cross_predict_never_sees_the_group_it_predicts(tmp_path, monkeypatch):
    seen = []
    real = sys.modules["ml.folds"].launch

    def watched(images, labels, *, train_indices, **settings):
        seen.append(np.asarray(train_indices))
        return real(images, labels, train_indices=train_indices, **settings)

    monkeypatch.setattr("ml.folds.launch", watched)
    indices = np.arange(96)
    cross(tmp_path, indices=indices)
    fold_of = grouped_folds(draw_bars(96)[1], np.arange(96) // 2, folds=3, seed=0)
    for fold, rows in enumerate(seen):
        assert sorted(rows.tolist()) == np.flatnonzero(fold_of != fold).tolist()
        assert not set((rows // 2).tolist()) & set((np.flatnonzero(fold_of == fold) // 2).tolist())


def test_cross_predict_goes_on_after_a_stop_with_the_same_bits(tmp_path):
    indices = np.arange(96)
    expected = cross(tmp_path / "a", indices=indices)
    polls = iter(range(1000))
    with pytest.raises(Stopped):
        cross(tmp_path / "b", indices=indices, should_stop=lambda: next(polls) == 40)
    assert [path.parent.name for path in sorted((tmp_path / "b").rglob("probs.npy"))] == ["fold-0"]
    resumed = cross(tmp_path / "b", indices=indices)
    np.testing.assert_array_equal(resumed, expected)


def test_cross_predict_goes_on_after_a_kill_with_the_same_bits(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
import numpy as np
import ml.folds
from tests.ml.test_folds import cross

def kill_before_the_second(path, probs):
    if path.parent.name == "fold-1":
        os.kill(os.getpid(), signal.SIGKILL)
    store(path, probs)

store, ml.folds._store = ml.folds._store, kill_before_the_second
cross(Path(sys.argv[1]), indices=np.arange(96))
"""
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], cwd=root, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "b" / "fold-0" / "probs.npy").exists()
    expected = cross(tmp_path / "a", indices=np.arange(96))
    np.testing.assert_array_equal(cross(tmp_path / "b", indices=np.arange(96)), expected)


def test_cross_predict_refuses_a_folder_of_another_job(tmp_path):
    cross(tmp_path, indices=np.arange(96))
    with pytest.raises(ValueError, match="another config or other images"):
        cross(tmp_path, indices=np.arange(95))
    with pytest.raises(ValueError, match="another config or other images"):
        cross(tmp_path, indices=np.arange(96), config=tiny_config(seed=1))


def test_cross_predict_reports_its_progress(tmp_path):
    progress, epochs = [], []
    config = tiny_config(min_steps=0, patience=3)  # patience is off in folds: nothing is left to look at
    cross(
        tmp_path,
        indices=np.arange(96),
        config=config,
        on_progress=lambda done, total: progress.append((done, total)),
        on_epoch=lambda fold, report: epochs.append((fold, report.epoch)),
    )
    assert epochs == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]
    assert progress[-1] == (3 * 2 * 64, 3 * 2 * 64)
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)
