"""Near copies: hashes against ImageHash, search against the naive one, verification and groups on drawn pictures."""

import imagehash
import numpy as np
import pytest
from PIL import Image

from ml.dedup.groups import group_pairs
from ml.dedup.hashes import hash_pictures, to_grey
from ml.dedup.search import find_candidates
from ml.dedup.verify import compare, draw_pairs, learn_scale, make_thumbnail, probability, verify_pairs


def draw(seed: int, *, height: int = 48, width: int = 48) -> np.ndarray:
    """A picture with structure at several sizes, as photographs have."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width))
    for cells in (3, 6, 12, 24):
        coarse = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
        total += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / np.sqrt(cells)
    return np.clip(128 + 60 * total, 0, 255).astype(np.uint8)


def altered(picture: np.ndarray) -> dict[str, np.ndarray]:
    height, width = picture.shape
    rng = np.random.default_rng(1)
    larger = Image.fromarray(picture).resize((round(width * 1.1), round(height * 1.1)), Image.Resampling.BICUBIC)
    return {
        "brighter": np.clip(picture * 0.8 + 40, 0, 255).astype(np.uint8),
        "noisy": np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8),
        "shifted": np.roll(picture, 2, axis=1),
        "enlarged": np.asarray(larger)[2 : height + 2, 2 : width + 2],
        "smaller": np.asarray(Image.fromarray(picture).resize((width // 2, height // 2))),
    }


@pytest.mark.parametrize("side", [8, 16])
@pytest.mark.parametrize(("height", "width"), [(48, 48), (30, 70), (9, 200)])
def test_hashes_equal_those_of_imagehash_and_the_mirrored_ones_those_of_the_flipped_picture(
    side: int, height: int, width: int
) -> None:
    pictures = [draw(seed, height=height, width=width) for seed in range(6)]

    found = hash_pictures(pictures, side=side)

    for row, picture in enumerate(pictures):
        expected = imagehash.phash(Image.fromarray(picture), hash_size=side).hash
        flipped = imagehash.phash(Image.fromarray(picture[:, ::-1]), hash_size=side).hash
        assert np.array_equal(np.unpackbits(found.plain[row]), expected.ravel())
        assert (
            np.unpackbits(found.mirrored[row]) != flipped.ravel()
        ).sum() <= 2  # Pillow rounds a flipped one otherwise
    assert found.flat.tolist() == [False] * 6


def test_pictures_without_contrast_are_flat_and_no_picture_is_no_hash() -> None:
    blank = np.full((20, 20), 200, np.uint8)
    grain = (200 + np.random.default_rng(0).normal(0, 1, (20, 20))).astype(np.uint8)

    assert hash_pictures([blank, grain, draw(0)]).flat.tolist() == [True, True, False]
    assert hash_pictures([]).plain.shape == (0, 32)


def test_grey_of_colour_and_of_transparent_pictures() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[:, :, 0] = 255
    clear = np.zeros((2, 2, 4), np.uint8)

    assert to_grey(red).tolist() == [[76, 76], [76, 76]]
    assert to_grey(clear).tolist() == [[255, 255], [255, 255]]
    with pytest.raises(ValueError, match="a picture is"):
        to_grey(np.zeros((2, 2, 2), np.uint8))


def test_search_finds_what_comparing_all_with_all_finds() -> None:
    rng = np.random.default_rng(3)
    plain = rng.integers(0, 256, (60, 4), np.uint8)
    mirrored = rng.integers(0, 256, (60, 4), np.uint8)
    plain[10], plain[20] = plain[0], mirrored[5]
    expected = {}
    for flipped, queries in enumerate((plain, mirrored)):
        for one in range(60):
            for other in range(60):
                distance = int(np.unpackbits(queries[one] ^ plain[other]).sum())
                if one != other and distance <= 8:
                    key = (min(one, other), max(one, other), bool(flipped))
                    expected[key] = min(distance, expected.get(key, 99))

    found = find_candidates(plain, mirrored, radius=8)

    rows = zip(found.a.tolist(), found.b.tolist(), found.mirrored.tolist(), strict=True)
    assert dict(zip(rows, found.distance.tolist(), strict=True)) == expected
    assert (0, 10, False) in expected
    assert (5, 20, True) in expected


@pytest.mark.parametrize("count", [0, 1])
def test_search_among_fewer_than_two_finds_nothing(count: int) -> None:
    nothing = np.zeros((count, 32), np.uint8)
    assert find_candidates(nothing, nothing).a.tolist() == []


def test_search_among_pictures_that_are_all_far_apart_finds_nothing() -> None:
    far = np.array([[0] * 32, [255] * 32], np.uint8)
    found = find_candidates(far, np.full((2, 32), 15, np.uint8), radius=8)
    assert [column.tolist() for column in (found.a, found.b, found.mirrored, found.distance)] == [[], [], [], []]


def test_thousands_of_equal_hashes_stay_linear() -> None:
    same = np.tile(np.arange(32, dtype=np.uint8), (3000, 1))
    other = np.tile(np.arange(100, 132, dtype=np.uint8), (3000, 1))

    found = find_candidates(same, other, radius=4, nearest=10)

    assert len(found.a) <= 3000 * (10 + 1)


def test_copies_score_high_and_other_pictures_low() -> None:
    pictures = [make_thumbnail(draw(seed)) for seed in range(40)]
    copies = {name: compare(pictures[0], make_thumbnail(copy)) for name, copy in altered(draw(0)).items()}
    others = [compare(pictures[0], other) for other in pictures[1:]]

    assert compare(pictures[0], pictures[0]) == pytest.approx(1, abs=1e-5)
    assert min(copies.values()) > 0.85, copies
    assert max(others) < 0.7


def test_blank_pictures_match_nothing_not_even_each_other() -> None:
    blank = make_thumbnail(np.full((48, 48), 90, np.uint8))

    assert compare(blank, blank) == 0
    assert compare(blank, make_thumbnail(draw(0))) == 0


def test_a_mirrored_copy_is_verified_mirrored() -> None:
    picture = draw(4)
    thumbnails = np.stack([make_thumbnail(picture), make_thumbnail(np.ascontiguousarray(picture[:, ::-1]))])
    pair = np.array([0]), np.array([1])

    assert verify_pairs(thumbnails, *pair, np.array([True]))[0] > 0.98
    assert verify_pairs(thumbnails, *pair, np.array([False]))[0] < 0.7


def test_the_scale_rises_with_how_alike_unlike_pictures_are() -> None:
    rng = np.random.default_rng(0)
    scores = np.array([0.7, 0.99], np.float32)
    apart = learn_scale(np.tanh(rng.normal(0.1, 0.1, 5000)).astype(np.float32), count=2000)
    alike = learn_scale(np.tanh(rng.normal(0.8, 0.3, 5000)).astype(np.float32), count=2000)

    assert np.tanh(apart.centre) == pytest.approx(0.825)
    assert 0.95 < np.tanh(alike.centre) <= 0.985
    low, high = probability(scores, scale=apart)
    assert low < 0.01
    assert high > 0.99
    assert np.tanh(learn_scale(np.zeros(0, np.float32), count=0).centre) == pytest.approx(0.825)


def test_drawn_pairs_are_never_a_row_with_itself() -> None:
    a, b = draw_pairs(300, rng=np.random.default_rng(0))
    assert len(a) == 5000
    assert (a != b).all()
    assert b.max() == 299
    assert [len(draw_pairs(count, rng=np.random.default_rng(0))[0]) for count in (0, 1, 2, 283)] == [0, 0, 0, 0]


def group(*links: tuple[int, int, float], **kwargs: object) -> list[tuple[int, ...]]:
    a, b, p = (np.array(column) for column in zip(*links, strict=True)) if links else (np.zeros(0),) * 3
    found = group_pairs(a.astype(np.int64), b.astype(np.int64), p.astype(np.float32), p.astype(np.float32), **kwargs)
    return [each.rows for each in found]


def test_a_chain_of_lookalikes_is_not_one_group() -> None:
    assert group((0, 1, 0.9), (1, 2, 0.8), (2, 3, 0.7)) == [(0, 1, 2)]  # 2 fits half of {0, 1}, 3 a third of the three
    assert group((0, 1, 0.9), (2, 3, 0.9), (1, 2, 0.8)) == [(0, 1), (2, 3)]


def test_groups_that_fit_are_one_and_weak_pairs_are_no_links() -> None:
    assert group((0, 1, 0.9), (2, 3, 0.9), (1, 2, 0.8), (0, 3, 0.8)) == [(0, 1, 2, 3)]
    assert group((5, 4, 0.6), (0, 1, 0.4)) == [(4, 5)]
    assert group() == []


def test_rejected_pairs_never_share_a_group_whatever_links_them() -> None:
    links = ((0, 1, 0.9), (1, 2, 0.8), (0, 2, 0.7))
    assert group(*links, apart=[(0, 2)]) == [(0, 1)]
    assert group(*links, apart=[(7, 9)]) == [(0, 1, 2)]


def test_a_group_is_as_sure_as_its_weakest_member() -> None:
    a, b = np.array([0, 1, 0]), np.array([1, 2, 2])
    found = group_pairs(a, b, np.float32([0.99, 0.9, 0.85]), np.float32([1, 0.75, 0.6]))
    assert [(each.rows, each.p) for each in found] == [((0, 1, 2), 0.75)]
