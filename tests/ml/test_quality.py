"""What a picture is like, and from where on that is said to be bad."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ml.outliers import find_outliers
from ml.quality import MEASURES, choose_limits, judge, measure


def draw(*, seed: int = 0, size: tuple[int, int] = (32, 32)) -> NDArray[np.uint8]:
    """Soft blobs over the whole range of greys, with a little grain: as sharp as a photograph."""
    rng = np.random.default_rng(seed)
    soft = ndimage.gaussian_filter(rng.normal(size=size), 2)
    soft = (soft - soft.min()) / np.ptp(soft)
    return (20 + 200 * soft + rng.normal(0, 9, size)).clip(0, 255).astype(np.uint8)


def measure_all(pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    return np.array([measure(picture) for picture in pictures], np.float32).reshape(-1, len(MEASURES))


PLAIN = [draw(seed=seed) for seed in range(60)]
PLANTED = {
    "blank": np.full((32, 32), 90, np.uint8),
    "dark": PLAIN[0] // 5,
    "bright": 205 + PLAIN[0] // 5,
    "low_contrast": 110 + PLAIN[0] // 8,
    "blurred": ndimage.gaussian_filter(PLAIN[0], 2),
    "odd_size": draw(seed=0, size=(80, 80)),
    "odd_shape": draw(seed=0, size=(24, 44)),
}


def test_each_planted_fault_is_found_and_the_other_pictures_are_left_alone() -> None:
    pictures = [*PLAIN, *PLANTED.values()]
    measures = measure_all(pictures)
    found = judge(measures, limits=choose_limits(measures))
    for place, kind in enumerate(PLANTED):
        assert len(PLAIN) + place in found[kind].rows.tolist(), kind
    clean = {kind: [row for row in judged.rows.tolist() if row < len(PLAIN)] for kind, judged in found.items()}
    assert clean == {kind: [] for kind in PLANTED}
    assert all(((judged.scores >= 0.5) & (judged.scores <= 1)).all() for judged in found.values())


def test_of_a_blank_picture_nothing_else_is_said_about_its_light() -> None:
    measures = measure_all([*PLAIN, np.zeros((32, 32), np.uint8)])
    found = judge(measures, limits=choose_limits(measures))
    assert [kind for kind, judged in found.items() if len(PLAIN) in judged.rows] == ["blank"]


def test_measures_equal_what_numpy_says() -> None:
    picture = draw(seed=3, size=(20, 31))
    named = dict(zip(MEASURES, measure(picture).tolist(), strict=True))
    values = np.sort(picture.ravel())
    assert named["middle"] == values[int(np.ceil(0.5 * values.size)) - 1]
    assert named["lightest"] == values[int(np.ceil(0.99 * values.size)) - 1]
    assert (named["width"], named["height"]) == (31, 20)
    rows, columns = (np.diff(picture.astype(float), axis=axis) for axis in (0, 1))
    turns = np.diff(rows, axis=0), np.diff(columns, axis=1)
    ratio = (np.square(turns[0]).mean() + np.square(turns[1]).mean()) / (
        np.square(rows).mean() + np.square(columns).mean() + 1
    )
    assert named["sharpness"] == pytest.approx(ratio, rel=1e-5)


def test_blur_takes_sharpness_and_contrast_does_not() -> None:
    def sharpness(picture: NDArray[np.uint8]) -> float:
        return float(measure(picture)[MEASURES.index("sharpness")])

    steps = [sharpness(ndimage.gaussian_filter(PLAIN[1], sigma)) for sigma in (0.01, 0.7, 1.0, 1.5, 2.0)]
    assert steps == sorted(steps, reverse=True)
    assert sharpness(60 + PLAIN[1] // 2) == pytest.approx(sharpness(PLAIN[1]), rel=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2), (300, 2), (5, 5, 3), (5, 5, 4), (400, 600, 3)])
def test_any_shape_is_measured(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    found = measure(picture)
    assert np.isfinite(found).all()
    assert found[-2:].tolist() == [shape[1], shape[0]]


def test_limits_stay_within_bounds_whatever_the_data() -> None:
    nothing = choose_limits(measure_all([]))
    one = choose_limits(measure_all([PLAIN[0]]))
    soft = choose_limits(measure_all([ndimage.gaussian_filter(each, 3) for each in PLAIN]))
    for limits in (nothing, one, soft):
        assert 0.35 <= limits.low["blurred"] <= 0.8
        assert 40 <= limits.low["dark"] <= 80
        assert limits.factor["odd_size"] >= 2
    assert all(not len(judged.rows) for judged in judge(measure_all([]), limits=nothing).values())


def test_a_row_far_from_all_others_is_an_outlier() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 8)) * 0.1 + np.eye(8)[rng.integers(0, 3, 400)]
    rows[17] = -rows[:3].sum(0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = find_outliers(rows, np.empty((0, 0), np.int32))
    assert found.rows.tolist()[:3].count(17) == 1
    assert found.scores[found.rows == 17] == found.scores.max()
    assert len(found.rows) <= 2
    assert find_outliers(rows[:2], np.empty((0, 0), np.int32)).rows.tolist() == []
    assert find_outliers(np.ones((9, 4)) / 2, np.empty((0, 0), np.int32)).rows.tolist() == []
