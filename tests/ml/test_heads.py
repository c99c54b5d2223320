"""Heads on features: what they minimise, against scikit-learn, and what they stay near to."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import nn

from ml import heads
from ml.heads import apply_head, fit_head
from ml.models.classifier import make_head

CENTRES = np.random.default_rng(0).normal(size=(3, 6))


def draw_clouds(count: int, *, seed: int = 1) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Three overlapping clouds in six dimensions of very different scales."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    features = (CENTRES[labels] + rng.normal(size=(count, 6))) * [1, 10, 0.1, 1, 1, 100] + [0, 5, 0, 0, 0, -50]
    return features.astype(np.float32), labels


def encode(labels: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.eye(3, dtype=np.float32)[labels]


def test_a_linear_head_is_multinomial_regression_on_standardised_features() -> None:
    features, labels = draw_clouds(400)
    head, _ = fit_head(features, encode(labels))
    scaled = (features - features.mean(0)) / features.std(0)
    oracle = LogisticRegression(C=1 / (2 * heads.PENALTY * 400), tol=1e-8, max_iter=1000).fit(scaled, labels)
    np.testing.assert_allclose(apply_head(head, features), oracle.predict_proba(scaled), atol=1e-3)


def test_weights_count_as_copies_do() -> None:
    features, labels = draw_clouds(60)
    twice = np.concatenate([np.arange(60), np.arange(20)])
    weights = np.where(np.arange(60) < 20, 2, 1).astype(np.float32)
    centre, spread = features.mean(0), features.std(0)
    scaled = (features - centre) / spread  # so that both are standardised alike
    weighed, _ = fit_head(scaled, encode(labels), weights=weights)
    repeated, _ = fit_head(np.concatenate([scaled, scaled[:20]]), encode(labels[twice]))
    np.testing.assert_allclose(apply_head(weighed, scaled), apply_head(repeated, scaled), atol=0.02)


def test_soft_targets_and_smoothing_are_what_is_fitted() -> None:
    features = np.zeros((10, 2), np.float32)  # nothing to see: only the biases can fit
    targets = np.tile(np.float32([0.7, 0.2, 0.1]), (10, 1))
    head, loss = fit_head(features, targets)
    np.testing.assert_allclose(apply_head(head, features)[0], [0.7, 0.2, 0.1], atol=1e-3)
    assert loss == pytest.approx(-(targets[0] * np.log(targets[0])).sum(), abs=1e-4)
    smoothed, _ = fit_head(features, targets, label_smoothing=0.3)
    np.testing.assert_allclose(apply_head(smoothed, features)[0], 0.7 * targets[0] + 0.1, atol=1e-3)


def test_a_linear_head_stays_near_the_one_it_starts_from(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = draw_clouds(300)
    start = make_head(6, 3)
    with torch.no_grad():
        start.weight.normal_(std=0.005, generator=torch.Generator().manual_seed(3))
    before = {name: value.clone() for name, value in start.state_dict().items()}
    monkeypatch.setattr(heads, "PENALTY", 1e6)
    held, _ = fit_head(features, encode(labels), start=start)
    torch.testing.assert_close(held.weight, start.weight, atol=1e-4, rtol=1e-3)
    monkeypatch.setattr(heads, "PENALTY", 0.01)
    free, _ = fit_head(features, encode(labels), start=start)
    assert (apply_head(free, features).argmax(1) == labels).mean() > 0.8
    for name, value in start.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_head_for_other_classes_starts_from_nothing() -> None:
    features, labels = draw_clouds(100)
    other, _ = fit_head(features, encode(labels), start=make_head(6, 5))
    fresh, _ = fit_head(features, encode(labels))
    assert np.array_equal(apply_head(other, features), apply_head(fresh, features))


def test_a_hidden_layer_sees_what_a_linear_head_cannot() -> None:
    rng = np.random.default_rng(0)
    features = rng.uniform(-1, 1, (400, 2)).astype(np.float32)
    labels = (features[:, 0] * features[:, 1] > 0).astype(np.int64)  # neither of both tells it
    targets = np.eye(2, dtype=np.float32)[labels]
    right = {}
    for hidden in (0, 16):
        head, _ = fit_head(features, targets, hidden=hidden, seed=1)
        right[hidden] = (apply_head(head, features).argmax(1) == labels).mean()
    assert right[0] < 0.65
    assert right[16] > 0.9


def test_the_same_call_gives_the_same_bits() -> None:
    features, labels = draw_clouds(200)
    seen: list[tuple[int, int]] = []
    calls = [
        fit_head(features, encode(labels), hidden=8, seed=5, on_round=lambda done, total: seen.append((done, total)))
        for _ in range(2)
    ]
    for one, other in zip(calls[0][0].parameters(), calls[1][0].parameters(), strict=True):
        assert torch.equal(one, other)
    assert seen[0] == (1, heads.ROUNDS)
    assert all(done <= total for done, total in seen)


@pytest.mark.parametrize(
    ("features", "targets", "weights", "sentence"),
    [
        (np.zeros((0, 2)), np.zeros((0, 3)), None, "must have the same rows"),
        (np.zeros((3, 2)), np.zeros((2, 3)), None, r"features \(3, 2\) and targets \(2, 3\) must have the same rows"),
        (np.full((3, 2), np.nan), np.ones((3, 2)) / 2, None, "not all finite"),
        (np.zeros((3, 2)), np.ones((3, 2)) / 2, [1, -1, 1], "weights must be one number for each row"),
        (np.zeros((3, 2)), np.ones((3, 2)) / 2, [1, 1], "weights must be one number for each row"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    features: NDArray[np.float32], targets: NDArray[np.float32], weights: list[float] | None, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        fit_head(features, targets, weights=None if weights is None else np.float32(weights))


def test_a_head_is_applied_to_any_number_of_rows() -> None:
    head = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    assert apply_head(head, np.zeros((0, 4), np.float32)).shape == (0, 2)
    rows = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    np.testing.assert_allclose(apply_head(head, rows, chunk=3), apply_head(head, rows), rtol=1e-6)
    np.testing.assert_allclose(apply_head(head, rows).sum(1), 1, rtol=1e-6)
