import numpy as np
import pytest

from ml.neighbours import compress


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
