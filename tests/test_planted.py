"""The families of altered copies that the benchmark plants."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.planted import FAMILIES, HELD_OUT, HELD_OUT_COLOUR, Family, list_seeds, plant

ALL = {**FAMILIES, **HELD_OUT, **HELD_OUT_COLOUR}


def draw(shape: tuple[int, ...], *, seed: int = 0) -> NDArray[np.uint8]:
    """Soft random blobs: something to move, stretch and shade."""
    noise = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), min(shape[:2]) / 16)
    levels: NDArray[np.uint8] = np.clip(128 + 50 * soft / soft.std(), 0, 255).astype(np.uint8)
    return levels


IN_COLOUR = ((48, 48, 3), (96, 130, 3))
IN_GREY = ((48, 48), (31, 57))
SHAPES = [(name, shape) for name in ALL for shape in IN_COLOUR + (() if name in HELD_OUT_COLOUR else IN_GREY)]


@pytest.mark.parametrize(("name", "shape"), SHAPES)
def test_family_keeps_size_and_mode_and_changes_the_pixels(name: str, shape: tuple[int, ...]) -> None:
    picture = draw(shape)
    before = picture.copy()

    copy = ALL[name](picture, np.random.default_rng(1))

    assert copy.shape == shape
    assert copy.dtype == np.uint8
    assert not np.array_equal(copy, picture)
    assert np.array_equal(picture, before)


@pytest.mark.parametrize("name", ALL)
def test_family_is_the_same_for_the_same_seed(name: str) -> None:
    picture = draw((48, 48, 3))
    one, other = (ALL[name](picture, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("family", ALL.values(), ids=ALL)
def test_family_bears_the_smallest_picture(family: Family) -> None:
    assert family(np.full((1, 1, 3), 90, np.uint8), np.random.default_rng(0)).shape == (1, 1, 3)


def test_zoom_ten_per_cent_shows_the_middle_larger() -> None:
    picture = np.zeros((101, 101), np.uint8)
    picture[30:71, 30:71] = 255  # 41 pixels wide

    copy = FAMILIES["zoom 10 %"](picture, np.random.default_rng(0))

    assert (copy[50] > 127).sum() == 45


def test_shift_is_two_of_48_pixels_to_each_of_eight_sides() -> None:
    picture = draw((96, 96))
    moves = {
        (dx, dy)
        for seed in range(60)
        for dx in (-4, 0, 4)
        for dy in (-4, 0, 4)
        if np.array_equal(
            FAMILIES["shift 2 px"](picture, np.random.default_rng(seed))[8 + dy : 88 + dy, 8 + dx : 88 + dx],
            picture[8:88, 8:88],
        )
    }
    assert moves == {(x, y) for x in (-4, 0, 4) for y in (-4, 0, 4)} - {(0, 0)}


def test_mirror_and_mask_leave_what_they_do_not_touch() -> None:
    picture = draw((50, 50, 3))
    rng = np.random.default_rng(0)
    assert np.array_equal(FAMILIES["mirror"](picture, rng)[:, ::-1], picture)
    assert np.array_equal(FAMILIES["lower-face mask"](picture, rng)[:29], picture[:29])


def test_jpeg_keeps_the_order_of_the_channels() -> None:
    red = np.full((48, 48, 3), (250, 10, 10), np.uint8)
    copy = FAMILIES["jpeg q40"](red, np.random.default_rng(0))
    assert np.abs(copy.astype(int) - red).max() <= 8


def test_plant_shares_the_originals_among_the_families() -> None:
    pictures = [draw((48, 48), seed=seed) for seed in range(25)] + [np.tile(np.arange(48, dtype=np.uint8), (48, 1))]

    planted = plant(pictures, FAMILIES, count=20, rng=np.random.default_rng(3))
    again = plant(pictures, FAMILIES, count=20, rng=np.random.default_rng(3))

    assert {name: planted.families.count(name) for name in FAMILIES} == dict.fromkeys(FAMILIES, 2)
    assert len(set(planted.rows.tolist())) == 20
    assert 25 not in planted.rows  # a slow shading: nothing to recognise
    assert planted.rows.tolist() == again.rows.tolist()
    assert all(np.array_equal(one, other) for one, other in zip(planted.pictures, again.pictures, strict=True))


def test_plant_refuses_more_copies_than_pictures() -> None:
    with pytest.raises(ValueError, match="here are 1"):
        plant([draw((48, 48)), np.zeros((48, 48), np.uint8)], FAMILIES, count=2, rng=np.random.default_rng(0))


def test_seeds_are_read_as_the_command_line_names_them() -> None:
    assert list_seeds("0") == [0]
    assert list_seeds("0,3,1000-1002") == [0, 3, 1000, 1001, 1002]
