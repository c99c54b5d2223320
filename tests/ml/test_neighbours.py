import numpy as np
import pytest

from ml.neighbours import compress, nearest_rows


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(300, 6)) @ rng.normal(size=(6, 40)) + 5).astype(np.float32)


def test_compress_keeps_cosines_of_centred_features(features):
    small = compress(features, dimensions=6).astype(np.float64)
    centred = features - features.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(small @ small.T, unit @ unit.T, atol=5e-3)


def test_compress_gives_float16_rows_of_length_one(features):
    small = compress(features, dimensions=4)
    assert small.dtype == np.float16
    assert small.shape == (300, 4)
    np.testing.assert_allclose(np.linalg.norm(small.astype(np.float64), axis=1), 1, atol=2e-3)


def test_compress_finds_the_same_neighbours(features):
    small = compress(features).astype(np.float64)
    centred = features - features.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    nearest = [(table @ table.T - 9 * np.eye(300)).argmax(1) for table in (small, unit)]
    assert (nearest[0] == nearest[1]).mean() > 0.97


def test_compress_is_deterministic(features):
    np.testing.assert_array_equal(compress(features), compress(features.copy()))


@pytest.mark.parametrize(
    ("count", "width", "dimensions", "shape"),
    [(0, 5, 3, (0, 0)), (1, 5, 3, (1, 1)), (3, 5, 64, (3, 3)), (5, 3, 3, (5, 3)), (5, 3, 1, (5, 1)), (4, 0, 2, (4, 0))],
)
def test_compress_takes_few_rows_and_columns(count, width, dimensions, shape):
    small = compress(np.random.default_rng(0).normal(size=(count, width)), dimensions=dimensions)
    assert small.shape == shape
    assert np.isfinite(small).all()


def test_rows_without_a_direction_stay_zero():
    assert compress(np.ones((4, 3))).tolist() == [[0.0] * 3] * 4
    assert compress(np.array([[0.0, 0], [2, 2], [1, 1]]))[2].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(features, value):
    features[3, 3] = value
    with pytest.raises(ValueError, match="finite"):
        compress(features)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="must be"):
        compress(np.ones(4))
    with pytest.raises(ValueError, match="at least 1"):
        compress(np.ones((4, 4)), dimensions=0)


@pytest.mark.parametrize("k", [1, 12, 60])
def test_nearest_rows_equal_sorting_all_cosines(k: int) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(50, 7))
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    unit[7] = unit[3]  # a tie: the lower row first

    found = nearest_rows(unit, k=k)

    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    expected = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    assert found.shape == (50, k)
    assert found.dtype == np.int32
    assert (found[:, :49][:, :k] == expected[:, :49][:, :k]).mean() > 0.99  # equal but for cosines equal to a rounding
    assert (found[:, 49:] == -1).all()


def test_nearest_rows_of_many_are_nearly_all_the_true_ones() -> None:
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(40, 32))
    rows = centres[rng.integers(0, 40, 6000)] + 0.7 * rng.normal(size=(6000, 32))
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    found = nearest_rows(unit, k=6)

    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    true = np.argsort(-cosines, axis=1)[:, :6]
    recall = np.mean([len(set(found[row]) & set(true[row])) / 6 for row in range(6000)])
    assert recall >= 0.85
    assert np.array_equal(found, nearest_rows(unit, k=6))


def test_nearest_rows_of_none_and_of_one() -> None:
    assert nearest_rows(np.zeros((0, 4), np.float16), k=3).shape == (0, 3)
    assert nearest_rows(np.ones((1, 1), np.float16), k=3).tolist() == [[-1, -1, -1]]
