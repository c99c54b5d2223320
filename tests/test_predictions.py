"""Predictions on disk, and neighbours by their features."""

import dataclasses

import numpy as np
import pytest

from ml.neighbours import nearest_rows
from workbench.config import Home
from workbench.errors import NotFound
from workbench.services.predictions import Predictions, list_typical, load_predictions, nearest, save_predictions


def make_predictions(count: int = 5, *, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 8))
    return Predictions(
        image_ids=np.arange(10, 10 + count, dtype=np.int64),
        probs=rng.dirichlet(np.ones(3), size=count).astype(np.float16),
        out_of_sample=rng.random(count) < 0.5,
        p_wrong=rng.random(count).astype(np.float32),
        suggested=rng.integers(0, 3, count),
        entropy=rng.random(count).astype(np.float32),
        margin=rng.random(count).astype(np.float32),
        features=(features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float16),
        class_ids=np.array([4, 7, 9], np.int64),
    )


def test_saved_predictions_come_back_equal(home: Home) -> None:
    predictions = make_predictions()
    path = save_predictions(home, 3, predictions)

    loaded = load_predictions(home, 3)

    for field in dataclasses.fields(Predictions):
        before, after = getattr(predictions, field.name), getattr(loaded, field.name)
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
    assert [file.name for file in path.parent.iterdir()] == ["predictions.npz"]
    assert loaded is load_predictions(home, 3)  # from memory


def test_a_rewritten_file_is_read_anew(home: Home) -> None:
    save_predictions(home, 3, make_predictions(5))
    assert len(load_predictions(home, 3).image_ids) == 5
    save_predictions(home, 3, make_predictions(6))
    assert len(load_predictions(home, 3).image_ids) == 6


def test_absent_or_damaged_predictions_are_refused_in_a_sentence(home: Home) -> None:
    with pytest.raises(NotFound, match="Run 8 has no predictions"):
        load_predictions(home, 8)
    save_predictions(home, 8, make_predictions()).write_bytes(b"not a zip")
    with pytest.raises(NotFound, match="predictions of run 8 are damaged"):
        load_predictions(home, 8)


def test_ids_of_columns_and_rows() -> None:
    predictions = make_predictions()
    assert predictions.predicted_ids.tolist() == [[4, 7, 9][row.argmax()] for row in predictions.probs]
    assert [predictions.find(10), predictions.find(14), predictions.find(9), predictions.find(15)] == [0, 4, None, None]


@pytest.mark.parametrize("k", [1, 7, 49, 200])
def test_nearest_equals_sorting_all_similarities(k: int) -> None:
    predictions = make_predictions(50, seed=2)
    features = predictions.features.astype(np.float32)

    found = nearest(predictions, 20, k)

    similarity = {10 + index: float(features[index] @ features[10]) for index in range(50) if index != 10}
    expected = sorted(similarity, key=lambda image_id: -similarity[image_id])[:k]
    assert [image_id for image_id, _ in found] == expected
    assert [value for _, value in found] == pytest.approx([similarity[image_id] for image_id in expected], abs=1e-6)


def test_nearest_of_a_stranger_or_a_lone_image_is_empty_and_ties_go_to_the_lower_id() -> None:
    predictions = make_predictions(5)
    assert nearest(predictions, 99, 3) == []
    assert nearest(make_predictions(1), 10, 3) == []
    same = dataclasses.replace(predictions, features=np.repeat(predictions.features[:1], 5, axis=0))
    assert [image_id for image_id, _ in nearest(same, 12, 3)] == [10, 11, 13]


def test_stored_neighbours_are_looked_up_and_further_ones_searched() -> None:
    plain = make_predictions(50, seed=2)
    stored = dataclasses.replace(plain, neighbours=nearest_rows(plain.features, k=12))
    for k in (1, 6, 12, 13):
        found, expected = nearest(stored, 20, k), nearest(plain, 20, k)
        assert [image_id for image_id, _ in found] == [image_id for image_id, _ in expected]
        assert [value for _, value in found] == pytest.approx([value for _, value in expected], abs=1e-3)


def test_the_most_typical_of_a_class_are_the_surest() -> None:
    predictions = make_predictions(30, seed=4)
    column = predictions.probs[:, 1].astype(float)
    expected = [10 + int(row) for row in np.argsort(-column, kind="stable")[:5]]
    assert list_typical(predictions, 7, most=5) == expected
    assert list_typical(predictions, 7, most=5) == expected  # remembered
    assert list_typical(predictions, 99, most=5) == []
