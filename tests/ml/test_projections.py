import numpy as np
import pytest

from ml import projections
from ml.neighbours import nearest_rows
from ml.projections import METHODS, find_regions, lay_out


def make_heaps(*, per_heap=60, heaps=4, width=8, seed=0):
    """Rows of length 1 around a few directions: (N, D), and which heap each is of."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.normal(size=(width, width)))[0][:heaps]
    heap = np.repeat(np.arange(heaps), per_heap)
    rows = centres[heap] + rng.normal(0, 0.15, (len(heap), width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), heap


def share_of_own(points, heap, *, k=5):
    """How many of the nearest on the map are of the same heap."""
    apart = np.square(points[:, None] - points[None]).sum(2)
    np.fill_diagonal(apart, np.inf)
    return (heap[np.argsort(apart, axis=1)[:, :k]] == heap[:, None]).mean()


@pytest.mark.parametrize("method", METHODS)
def test_what_is_alike_lies_together_within_the_square(method):
    features, heap = make_heaps()
    points = lay_out(features, method=method)
    assert (points.shape, points.dtype) == ((240, 2), np.float32)
    assert (points.min(), points.max()) == (0, 1)
    assert share_of_own(points, heap) > {"neighbours": 0.98, "pca": 0.7}[method]


def test_rows_beyond_the_landmarks_are_placed_among_their_like(monkeypatch):
    monkeypatch.setattr(projections, "LANDMARKS", 80)
    features, heap = make_heaps()
    assert share_of_own(lay_out(features), heap) > 0.95


def test_a_seed_gives_the_same_map_and_another_another():
    features, _ = make_heaps(per_heap=20)
    np.testing.assert_array_equal(lay_out(features, seed=3), lay_out(features.copy(), seed=3))
    assert not np.array_equal(lay_out(features, seed=3), lay_out(features, seed=4))


def test_known_neighbours_give_the_map_that_finding_them_gives():
    features, _ = make_heaps(per_heap=20)
    np.testing.assert_array_equal(lay_out(features), lay_out(features, neighbours=nearest_rows(features, k=12)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("width", [0, 1, 2])
def test_a_few_rows_have_places(method, count, width):
    points = lay_out(np.random.default_rng(0).normal(size=(count, width)).astype(np.float32), method=method)
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    assert count == 0 or (points.min() >= 0 and points.max() <= 1)


def test_equal_rows_part():
    points = lay_out(np.ones((50, 3), np.float32))
    assert len(np.unique(points, axis=0)) == 50


def test_progress_ends_at_all():
    told = []
    lay_out(make_heaps(per_heap=10)[0], on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (150, 150)


def test_what_cannot_be_laid_out_is_refused():
    with pytest.raises(ValueError, match="method"):
        lay_out(np.ones((3, 2)), method="magic")
    for bad in (np.ones(3), np.array([[1.0, np.nan]])):
        with pytest.raises(ValueError, match="finite"):
            lay_out(bad)


def test_regions_are_points_that_lie_together_fullest_first():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0.2, 0.02, (30, 2)), rng.normal(0.8, 0.02, (50, 2))]).astype(np.float32)
    assert find_regions(points, count=2).tolist() == [1] * 30 + [0] * 50


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_there_are_no_more_regions_than_places(count):
    points = np.repeat(np.array([[0.1, 0.1], [0.9, 0.9]], np.float32), 3, axis=0)[:count]
    found = find_regions(points, count=4)
    assert found.tolist() == [[], [0], [0, 0], [0, 0, 0, 1, 1]][(0, 1, 2, 5).index(count)]
