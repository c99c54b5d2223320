"""Near copies: fingerprints, candidates, alignment, chances and groups, on drawn pictures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.dedup import candidates, descriptors, scan
from ml.dedup.alignment import FEATURES, align_pairs
from ml.dedup.candidates import Candidates, find_candidates, fit_views
from ml.dedup.chance import Calibration, draw_pairs, learn_background, probability, refit, weigh
from ml.dedup.fingerprints import BYTES, fingerprint, fingerprint_all, get_colour, get_grey, is_flat
from ml.dedup.groups import group_pairs, list_first_rows, list_uncompared, list_webs
from ml.dedup.index import find_alike
from tests.drawn import altered, draw


def in_colour(picture: np.ndarray, *, warm: float = 1.1) -> np.ndarray:
    return np.clip(np.stack([picture * warm, picture, picture / warm], axis=2), 0, 255).astype(np.uint8)


def make_prints(count: int, *, start: int = 0) -> np.ndarray:
    return fingerprint_all([draw(seed) for seed in range(start, start + count)])


def test_a_fingerprint_is_the_grey_picture_and_its_colours_whatever_the_size_or_mode() -> None:
    grey = draw(0, height=64, width=64)
    made = fingerprint(grey)
    assert (made.dtype, made.nbytes) == (np.uint8, BYTES)
    assert np.abs(get_grey(made).astype(float) - grey.reshape(32, 2, 32, 2).mean((1, 3))).max() <= 0.5
    assert not get_colour(made).any()

    warm, cold = get_colour(fingerprint(in_colour(grey))), get_colour(fingerprint(in_colour(grey, warm=0.9)))
    assert (warm[..., 1] > 0).all()
    assert (cold[..., 1] < 0).all()
    clear = np.dstack([in_colour(grey), np.zeros((64, 64), np.uint8)])
    assert get_grey(fingerprint(clear)).min() == 255  # laid over white
    assert is_flat(fingerprint(clear))
    assert not is_flat(made)
    for shape in ((1, 1), (1, 500), (3, 2, 3), (5000, 40, 4)):
        assert fingerprint(np.full(shape, 90, np.uint8)).shape == (36, 32)
    for wrong in (np.zeros(4, np.uint8), np.zeros((4, 4, 2), np.uint8)):
        with pytest.raises(ValueError, match="a picture is"):
            fingerprint(wrong)


def test_flipping_a_picture_and_describing_it_comes_to_describing_it_and_flipping() -> None:
    prints = make_prints(30)
    flipped = fingerprint_all([draw(seed)[:, ::-1].copy() for seed in range(30)])
    metrics = descriptors.learn_metrics(prints)

    for view in (*descriptors.VIEWS, *descriptors.PARTS):
        twin = descriptors.mirror_part(view)
        described = descriptors.describe(descriptors.transform(prints, views=(view,))[0], metric=metrics[view.part])
        other = descriptors.describe(descriptors.transform(flipped, views=(twin,))[0], metric=metrics[twin.part])
        assert np.allclose(descriptors.mirror_described(described), other, atol=1e-3)
        assert np.allclose(np.linalg.norm(described, axis=1), 1, atol=1e-5)


def test_candidates_hold_every_kind_of_copy_and_hardly_anything_else() -> None:
    copies = altered(draw(0))
    prints = np.concatenate([make_prints(200), fingerprint_all(list(copies.values()))])

    found = find_candidates(prints)

    with_first = {int(one) + int(other) for one, other in zip(found.one, found.other, strict=True) if 0 in (one, other)}
    assert {200 + place for place in range(len(copies))} <= with_first
    assert len(found.one) < 200
    assert find_candidates(prints[:1]).one.size == find_candidates(prints[:0]).one.size == 0


def list_names(found: Candidates) -> set[tuple[int, int, bool]]:
    low, high = np.minimum(found.one, found.other), np.maximum(found.one, found.other)
    return set(zip(low.tolist(), high.tolist(), found.by_part.tolist(), strict=True))


def test_only_new_pictures_are_looked_up_but_against_all() -> None:
    prints = np.concatenate([make_prints(90), fingerprint_all(list(altered(draw(3)).values()))])
    new = np.zeros(len(prints), np.bool_)
    new[[3, 92, 95]] = True

    every, fresh = find_candidates(prints), find_candidates(prints, new=new)

    concerned = every.take(new[every.one] | new[every.other])
    assert list_names(concerned) <= list_names(fresh)  # an old picture keeps its nearest among the new ones only
    assert (new[fresh.one] | new[fresh.other]).all()
    assert find_candidates(prints, new=np.zeros(len(prints), np.bool_)).one.size == 0


def test_the_cells_of_a_large_index_lose_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3000, 36, 32), np.uint8)
    copies = altered(draw(0))
    prints = np.concatenate([noise, fingerprint_all([draw(0), *copies.values()])])
    monkeypatch.setattr("ml.dedup.index._FEW", 500)

    found = find_candidates(prints)

    pairs = {(min(a, b), max(a, b)) for a, b in zip(found.one.tolist(), found.other.tolist(), strict=True)}
    assert {(3000, 3001 + place) for place in range(len(copies))} <= pairs


def test_splitting_candidates_never_parts_a_pair() -> None:
    prints = np.concatenate([make_prints(60), fingerprint_all(list(altered(draw(1)).values()))])
    found = find_candidates(prints)
    for size in (1, 2, 7, 1000):
        slices = list(candidates.split(found, size=size))
        assert [place.start for place in slices[1:]] == [place.stop for place in slices[:-1]]
        assert (slices[0].start, slices[-1].stop) == (0, len(found.one))
        names = [
            {frozenset(pair) for pair in zip(found.one[place].tolist(), found.other[place].tolist(), strict=True)}
            for place in slices
        ]
        assert sum(map(len, names)) == len(set.union(*names))
    assert list(candidates.split(found.take(np.zeros(0, np.int64)), size=3)) == []


def test_alignment_finds_the_map_and_blank_or_unlike_pictures_do_not_fit() -> None:
    picture = draw(0, height=96, width=96)
    zoomed = picture[6:90, 6:90]  # 87.5 % of each side
    prints = fingerprint_all([picture, zoomed, draw(1), np.full((48, 48), 9, np.uint8)])
    found = fit_views(prints, np.array([0, 0, 0]), np.array([1, 2, 3]))
    found = found.take(~found.by_part)

    aligned = align_pairs(prints, found)

    assert aligned.fits.tolist() == [True, False, False]
    assert aligned.features[0, FEATURES.index("detail")] > 0.97
    pairs = scan.compare(prints, found)
    transform = pairs.transform(0, prints)
    assert (transform.mirrored, transform.part) == (False, "whole")
    assert transform.zoom == pytest.approx(1 / 0.875, abs=0.015)
    assert transform.shift == pytest.approx((0, 0), abs=0.01)
    assert pairs.transform(0, prints, backwards=True).zoom == pytest.approx(0.875, abs=0.015)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_transform_says_what_was_done_to_the_picture(backwards: bool) -> None:
    picture = draw(4, height=64, width=64)
    right = np.zeros_like(picture)
    right[:, 32:] = picture[:, 32:]
    changed = {
        "mirrored": picture[:, ::-1].copy(),
        "darker": (picture * 0.5).astype(np.uint8),
        "moved": np.roll(picture, 4, axis=1),
        "right": right,
    }
    prints = fingerprint_all([picture, *changed.values()])
    pairs = scan.compare(prints, fit_views(prints, np.zeros(4, np.int64), np.arange(1, 5)))
    said = {
        name: pairs.transform(int(np.flatnonzero(pairs.b == row)[0]), prints, backwards=backwards)
        for row, name in enumerate(changed, 1)
    }

    assert [transform.mirrored for transform in said.values()] == [True, False, False, False]
    assert said["darker"].gain == pytest.approx(2 if backwards else 0.5, rel=0.05)
    assert said["darker"].offset == pytest.approx(64 if backwards else -64, abs=8)
    assert said["moved"].shift[0] == pytest.approx(4 / 64 if backwards else -4 / 64, abs=0.01)
    assert said["right"].part == "right"


def test_copies_are_probable_and_other_pictures_are_not_in_grey_and_in_colour() -> None:
    copies = altered(draw(0))
    for as_taken in (lambda picture: picture, in_colour):
        prints = fingerprint_all(
            [as_taken(picture) for picture in (*(draw(seed) for seed in range(60)), *copies.values())]
        )
        pairs = scan.find_pairs(prints, calibration=Calibration())
        p = probability(pairs.evidence, calibration=Calibration())
        same = (np.isin(pairs.a, [0, *range(60, 67)])) & (np.isin(pairs.b, [0, *range(60, 67)]))
        assert len(set(pairs.b[same & (pairs.a == 0)])) == 7
        assert p[same & (pairs.a == 0)].min() > 0.9
        assert p[~same].max(initial=0) < 0.1


def test_p_rises_with_the_evidence_and_with_fewer_unlike_pictures_that_look_alike() -> None:
    evidence = np.linspace(-20, 40, 50).astype(np.float32)
    plain = probability(evidence, calibration=Calibration())
    assert (np.diff(plain) >= 0).all()
    assert probability(evidence, calibration=Calibration(background=5)) == pytest.approx(
        probability(evidence - 5, calibration=Calibration())
    )
    none = weigh(np.zeros((2, len(FEATURES)), np.float32), fits=np.array([False, True]))
    assert none[0] == -20 < none[1] < 0

    rng = np.random.default_rng(0)
    assert learn_background(rng.normal(-12, 2, 1000).astype(np.float32), count=30_000) == 0
    assert learn_background(rng.normal(0, 2, 1000).astype(np.float32), count=30_000) > 5
    assert learn_background(np.zeros(0, np.float32), count=10) == 0


def test_drawn_pairs_are_never_a_picture_with_itself() -> None:
    one, other = draw_pairs(300, rng=np.random.default_rng(0))
    assert len(one) == 1000
    assert (one < other).all()
    assert other.max() == 299
    assert [len(draw_pairs(count, rng=np.random.default_rng(0))[0]) for count in (0, 1, 2, 283)] == [0, 0, 0, 0]


def expected_error(p: np.ndarray, same: np.ndarray) -> float:
    return float(-np.where(same, np.log(p), np.log1p(-p)).mean())


@pytest.mark.parametrize(("slope", "bias"), [(1.0, 0.0), (0.5, -2.0), (2.0, 3.0)])
def test_a_hundred_verdicts_make_p_no_worse_and_better_where_reviewers_see_it_otherwise(
    slope: float, bias: float
) -> None:
    rng = np.random.default_rng(7)
    evidence = rng.normal(1, 4, 4000).astype(np.float32)
    same = rng.random(4000) < 1 / (1 + np.exp(-(slope * evidence + bias)))
    before = np.clip(probability(evidence, calibration=Calibration()), 1e-6, 1 - 1e-6)

    learned = refit(evidence[:100], same[:100], background=0.0)

    after = np.clip(probability(evidence, calibration=learned), 1e-6, 1 - 1e-6)
    gain = expected_error(before[100:], same[100:]) - expected_error(after[100:], same[100:])
    assert learned.verdicts == 100
    assert gain > (-0.01 if slope == 1 else 0.02)


@pytest.mark.parametrize("count", [0, 1, 29])
def test_a_few_verdicts_refit_nothing(count: int) -> None:
    learned = refit(np.full(count, 8, np.float32), np.zeros(count, np.bool_), background=2.0)
    assert learned == Calibration(background=2.0, verdicts=count)


def test_two_slips_among_sure_pairs_cost_little() -> None:
    evidence = np.full(60, 8, np.float32)
    same = np.arange(60) >= 2
    learned = refit(evidence, same, background=0.0)
    assert probability(np.array([3], np.float32), calibration=learned)[0] > 0.5
    assert probability(np.array([8], np.float32), calibration=learned)[0] > 0.9


def group(*links: tuple[int, int, float], **kwargs: object) -> list[tuple[int, ...]]:
    a, b, p = (np.array(column) for column in zip(*links, strict=True)) if links else (np.zeros(0),) * 3
    found = group_pairs(a.astype(np.int64), b.astype(np.int64), p.astype(np.float32), p.astype(np.float32), **kwargs)
    return [each.rows for each in found]


def test_a_chain_of_lookalikes_is_not_one_group() -> None:
    against = ((0, 2, 0.1), (0, 3, 0.0), (1, 3, 0.2))
    assert group((0, 1, 0.9), (1, 2, 0.8), (2, 3, 0.7), *against) == [
        (0, 1, 2)
    ]  # 2 fits half of {0, 1}, 3 one of three
    assert group((0, 1, 0.9), (2, 3, 0.9), (1, 2, 0.8), *against) == [(0, 1), (2, 3)]


def test_groups_that_fit_are_one_and_weak_pairs_are_no_links() -> None:
    assert group((0, 1, 0.9), (2, 3, 0.9), (1, 2, 0.8), (0, 3, 0.8), (0, 2, 0.1), (1, 3, 0.1)) == [(0, 1, 2, 3)]
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


def test_grouping_asks_for_the_pairs_that_nobody_compared_and_for_few_of_them_in_a_large_web() -> None:
    a, b = np.array([0, 1, 5, 7]), np.array([1, 2, 6, 8])
    webs = list_webs(a[:3], b[:3])
    assert webs == [[0, 1, 2], [5, 6]]
    assert list_uncompared(webs, a, b).tolist() == [[0, 2]]
    assert list_first_rows(webs).tolist() == []

    star = np.arange(1, 10_001)
    webs = list_webs(np.zeros(10_000, np.int64), star)
    asked = list_uncompared(webs, np.zeros(10_000, np.int64), star)
    assert len(asked) < 8 * 10_000
    assert asked[:, 0].max() == 7
    assert list_first_rows(webs).tolist() == [0]


def test_hundreds_of_almost_equal_pictures_are_one_group_though_few_neighbours_of_each_are_kept() -> None:
    rng = np.random.default_rng(0)
    picture = draw(0)
    noisy = [np.clip(picture + rng.normal(0, 1, picture.shape), 0, 255).astype(np.uint8) for _ in range(120)]
    prints = fingerprint_all([*noisy, *(draw(seed) for seed in range(1, 50))])

    pairs = scan.find_pairs(prints, calibration=Calibration())

    assert group_scene(prints, pairs) == [tuple(range(120))]
    assert len(pairs.a) < 120 * 30


def test_vectors_that_point_the_same_way_are_found_once() -> None:
    vectors = np.eye(6)[[0, 1, 0, 2, 1, 0]] * np.arange(1, 7)[:, None]
    assert find_alike(vectors, nearest=4, least=0.9).tolist() == [[0, 2], [0, 5], [1, 4], [2, 5]]
    assert find_alike(vectors[:1], nearest=4, least=0.9).shape == (0, 2)


KINDS = ("brighter", "enlarged", "mirrored", "masked")
SCENE = [picture for seed in range(3) for picture in (draw(seed), *(altered(draw(seed))[kind] for kind in KINDS))]


def group_scene(prints: np.ndarray, pairs: scan.Pairs) -> list[tuple[int, ...]]:
    p = probability(pairs.evidence, calibration=Calibration())
    return [found.rows for found in group_pairs(pairs.a, pairs.b, pairs.score, p)]


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(len(SCENE))), known=st.integers(0, len(SCENE)))
def test_groups_depend_neither_on_the_order_nor_on_scanning_piece_by_piece(order: list[int], known: int) -> None:
    prints = fingerprint_all([SCENE[place] for place in order])

    whole = scan.find_pairs(prints, calibration=Calibration())
    first = scan.find_pairs(prints[:known], calibration=Calibration())
    new = np.arange(len(prints)) >= known
    later = scan.find_pairs(prints, calibration=Calibration(), new=new)
    pieced = scan.close(prints, scan.join(first, later), calibration=Calibration())

    named = sorted(sorted(order[row] for row in rows) for rows in group_scene(prints, whole))
    assert group_scene(prints, pieced) == group_scene(prints, whole)
    assert named == [list(range(5 * seed, 5 * seed + 5)) for seed in range(3)]
