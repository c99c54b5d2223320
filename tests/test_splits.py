"""The split builder: shares, classes, strata, groups, families, seeds, what is kept, undo."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.conftest import make_pets
from workbench.db import Database
from workbench.errors import Conflict, Invalid
from workbench.models import Attribute, Dataset, Decision, DuplicatePair, Image, User
from workbench.services import datasets, decisions, duplicates, families, leaks, settling
from workbench.services.allotting import allot, apportion
from workbench.services.duplicates import FoundGroup
from workbench.services.splits import SplitRequest, SplitResult, build_split, join, plan_split
from workbench.worker import splits as worker
from workbench.worker.context import Context

EIGHTY = {"train": 0.8, "validation": 0.1, "test": 0.1}


def images_of(session: Session, dataset: Dataset) -> list[Image]:
    return list(session.scalars(select(Image).where(Image.dataset_id == dataset.id).order_by(Image.id)))


def split(session: Session, dataset: Dataset, user: User, **asked: Any) -> SplitResult:
    return build_split(session, dataset=dataset, user=user, **{**EIGHTY, **asked})


def add_attribute(session: Session, image: Image, name: str, value: str) -> None:
    session.add(Attribute(image_id=image.id, name=name, value=value))
    session.flush()


def test_every_class_is_split_by_the_shares_and_one_undo_takes_it_back(session: Session, alice: User) -> None:
    dataset = make_pets(session, per_class=20)
    before = [image.split for image in images_of(session, dataset)]

    result = split(session, dataset, alice)

    images = images_of(session, dataset)
    assert Counter((image.label.name, image.split) for image in images) == {
        (name, part): count
        for name in ("cat", "dog", "owl")
        for part, count in (("train", 16), ("validation", 2), ("test", 2))
    }
    assert result.splits == {"train": 48, "validation": 6, "test": 6}
    assert result.plan.deviation == pytest.approx(0)
    moved = sum(image.split != old for image, old in zip(images, before, strict=True))
    assert result.changed == moved == session.scalar(select(func.count()).select_from(Decision))

    decisions.undo(session, dataset=dataset, user=alice, action=result.action)
    assert [image.split for image in images_of(session, dataset)] == before


def test_the_same_seed_gives_the_same_split_and_moves_nothing_twice(session: Session, alice: User) -> None:
    dataset = make_pets(session, per_class=20)
    split(session, dataset, alice, seed=1)
    first = [image.split for image in images_of(session, dataset)]
    again = split(session, dataset, alice, seed=1)
    assert (again.changed, again.action) == (0, None)

    split(session, dataset, alice, seed=2)
    assert [image.split for image in images_of(session, dataset)] != first


def test_the_split_rests_on_the_pixels_and_not_on_the_order_of_the_import(session: Session, alice: User) -> None:
    dataset, other = make_pets(session, per_class=20), make_pets(session, per_class=20, name="again")
    labels = {cls.name: cls.id for cls in datasets.queries.list_classes(session, other.id)}
    for image, like in zip(images_of(session, other), reversed(images_of(session, dataset)), strict=True):
        image.pixel_sha256, image.label_id = like.pixel_sha256, labels[like.label.name]
    session.flush()
    split(session, dataset, alice, seed=3)
    split(session, other, alice, seed=3)
    found = {image.pixel_sha256: image.split for image in images_of(session, dataset)}
    assert {image.pixel_sha256: image.split for image in images_of(session, other)} == found


def test_groups_are_never_parted_unless_a_reviewer_rejected_them(session: Session, alice: User) -> None:
    dataset = make_pets(session, per_class=20)
    images = images_of(session, dataset)
    ids = [image.id for image in images]
    for place in (1, 2, 3):
        images[place].pixel_sha256 = images[0].pixel_sha256
    session.flush()
    duplicates.refresh_exact_groups(session, dataset)
    near = [[*ids[:4], ids[4]], [ids[25], ids[45]], ids[30:36]]
    duplicates.refresh_near_groups(session, dataset, [FoundGroup(members, 0.9, 0.9) for members in near])
    rejected = duplicates.queries.get_group(
        session, dataset.id, duplicates.queries.list_groups_holding(session, [ids[30]])[0]
    )
    settling.settle(session, dataset=dataset, user=alice, group=rejected.group, verdict="not_duplicates")

    for seed in range(5):
        result = split(session, dataset, alice, seed=seed)
        assert (result.groups_kept, result.plan.largest) == (2, 5)
        part = {image.id: image.split for image in images_of(session, dataset)}
        assert [len({part[member] for member in members}) for members in near[:2]] == [1, 1]
    assert {group.group.spanning for group in duplicates.queries.list_groups(session, dataset.id)} == {False}


def add_pair(session: Session, dataset: Dataset, a: int, b: int, *, p: float) -> None:
    session.add(DuplicatePair(dataset_id=dataset.id, a_id=a, b_id=b, how="hashes", score=0.9, p=p, evidence=0.0))
    session.flush()


def test_after_a_split_no_pair_leaks_whether_or_not_it_formed_a_group(session: Session, alice: User) -> None:
    dataset = make_pets(session, per_class=20)
    ids = [image.id for image in images_of(session, dataset)]
    for a, b in zip(ids[:12:2], ids[1:12:2], strict=True):
        add_pair(session, dataset, a, b, p=0.5)
    add_pair(session, dataset, ids[20], ids[21], p=0.49)
    assert sum(each.leaked for each in leaks.list_split_leaks(session, dataset)) == 6
    for seed in range(4):
        assert split(session, dataset, alice, seed=seed).groups_kept == 6
        assert [each.leaked for each in leaks.list_split_leaks(session, dataset)] == [0, 0]


@pytest.mark.parametrize(
    "shares", [(0.8, 0.1, 0.2), (0.8, 0.3, -0.1), (float("nan"), 0.5, 0.5), (1.1, 0.0, -0.1), (0.0, 0.0, 0.0)]
)
def test_shares_that_make_no_sense_are_refused(
    session: Session, pets: Dataset, alice: User, shares: tuple[float, float, float]
) -> None:
    train, validation, test = shares
    with pytest.raises(Invalid):
        build_split(session, dataset=pets, user=alice, train=train, validation=validation, test=test)
    assert session.scalar(select(func.count()).select_from(Decision)) == 0


def test_a_share_of_nothing_stays_empty_and_no_image_is_refused(session: Session, pets: Dataset, alice: User) -> None:
    result = build_split(session, dataset=pets, user=alice, train=1.0, validation=0.0, test=0.0)
    assert result.splits == {"train": 6, "validation": 0, "test": 0}
    with pytest.raises(Invalid, match="no images"):
        split(session, datasets.ensure_dataset(session, "empty"), alice)


def test_excluded_images_go_with_their_copies_and_do_not_weigh(session: Session, alice: User) -> None:
    dataset = make_pets(session, per_class=30)
    images = images_of(session, dataset)
    for place in range(1, 11):  # ten excluded copies of the first cat
        images[place].pixel_sha256 = images[0].pixel_sha256
        decisions.decide(session, image=images[place], user=alice, verdict="exclude")
    result = split(session, dataset, alice)
    cats = [image for image in images_of(session, dataset) if image.first_label_id == images[0].first_label_id]
    assert Counter(image.split for image in cats if image.status == "active") == {
        "train": 16, "validation": 2, "test": 2,
    }  # fmt: skip
    assert len({image.split for image in cats[:11]}) == 1
    assert result.plan.deviation == pytest.approx(0)


# --- strata -----------------------------------------------------------------------------------------------------


def test_attributes_are_spread_like_the_classes(session: Session, alice: User) -> None:
    dataset = make_pets(session, per_class=40)
    for number, image in enumerate(images_of(session, dataset)):
        add_attribute(session, image, "camera", "left" if number % 4 else "right")
        add_attribute(session, image, "age", "old" if number % 40 == 7 else "young")  # one in each class
    split(session, dataset, alice, by=("camera", "age"))
    images = images_of(session, dataset)
    camera = {row.image_id: row.value for row in session.scalars(select(Attribute).where(Attribute.name == "camera"))}
    counts = Counter((image.label.name, camera[image.id], image.split) for image in images)
    for name in ("cat", "dog", "owl"):
        assert sum(counts[name, "right", part] for part in EIGHTY) == 10
        assert 7 <= counts[name, "right", "train"] <= 9
        assert sum(counts[name, side, "train"] for side in ("left", "right")) == 32
        assert counts[name, "right", "validation"] + counts[name, "left", "validation"] == 4


def test_an_attribute_that_no_image_has_is_refused_with_those_there_are(session: Session, alice: User) -> None:
    dataset = make_pets(session)
    add_attribute(session, images_of(session, dataset)[0], "camera", "left")
    for asked in ({"by": ("camra",)}, {"family": "camra"}):
        with pytest.raises(Invalid, match="there is: camera"):
            split(session, dataset, alice, **asked)


# --- families ---------------------------------------------------------------------------------------------------


def name_augmentations(session: Session, dataset: Dataset) -> list[list[int]]:
    """Every class gets ten parents with three augmentations each, in many folders; returns the families' ids."""
    images = images_of(session, dataset)
    found = []
    for start in range(0, len(images), 4):
        family = images[start : start + 4]
        for number, image in enumerate(family):
            name = f"{start:04d}" + (f"_aug{number}" if number else "")
            image.path = f"{'train' if number % 2 else 'more'}/{image.label.name}/{name}.png"
        found.append([image.id for image in family])
    session.flush()
    return found


def parts_of(session: Session, dataset: Dataset, members: list[list[int]]) -> list[int]:
    part = {image.id: image.split for image in images_of(session, dataset)}
    return [len({part[image_id] for image_id in family}) for family in members]


def test_families_by_their_file_names_stay_together(session: Session, alice: User) -> None:
    dataset = make_pets(session, per_class=40)
    found = name_augmentations(session, dataset)
    split(session, dataset, alice)
    assert max(parts_of(session, dataset, found)) > 1  # what this is for

    result = split(session, dataset, alice, family_pattern=r"(.+?)_aug\d+")

    assert parts_of(session, dataset, found) == [1] * 30
    assert (result.plan.families_kept, result.plan.family_images, result.plan.largest) == (30, 120, 4)
    assert result.splits == {"train": 96, "validation": 12, "test": 12}


@pytest.mark.parametrize("parent", ["path", "name", "stem", "something else"])
def test_families_by_an_attribute_stay_together_with_their_parent(session: Session, alice: User, parent: str) -> None:
    dataset = make_pets(session, per_class=40)
    found = name_augmentations(session, dataset)
    by_id = {image.id: image for image in images_of(session, dataset)}
    for number, family in enumerate(found):
        path = by_id[family[0]].path
        names = {"path": path, "name": path.rpartition("/")[2], "stem": f"{4 * number:04d}"}
        for image_id in family[1:]:
            add_attribute(session, by_id[image_id], "parent", names.get(parent, f"picture {number}"))

    result = split(session, dataset, alice, family="parent")

    kept = found if parent != "something else" else [family[1:] for family in found]
    assert parts_of(session, dataset, kept) == [1] * 30
    assert result.plan.family_images == sum(map(len, kept))


def test_equal_numbers_in_two_classes_are_two_families() -> None:
    paths = ["a/cat/1.png", "a/cat/1_aug1.png", "b/dog/1.png", "b/dog/1_aug1.png", "c/cat/2.png"]
    edges = families.join_by_pattern(r"(.+?)_aug\d+", paths, ["cat", "cat", "dog", "dog", "cat"])
    assert join(5, edges).tolist() == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("(.+", "not a regular expression"), (".+", "it has 0"), ("(a)(b)", "it has 2"), ("(a)" + "b" * 300, "200"),
     ("(?P<x>a)|(?P<x>b)", "not a regular expression")],
)  # fmt: skip
def test_a_pattern_that_names_no_family_is_refused(
    session: Session, pets: Dataset, alice: User, pattern: str, words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        split(session, pets, alice, family_pattern=pattern)


def test_a_pattern_that_never_ends_is_stopped() -> None:
    with pytest.raises(Invalid, match="takes too long"):
        families.name_families(r"((?:a+)+)b", ["a" * 60], seconds=0.5)


# --- keeping a split --------------------------------------------------------------------------------------------


def test_a_split_that_is_kept_neither_wins_nor_loses_images(session: Session, alice: User) -> None:
    dataset = make_pets(session, per_class=20)
    images = images_of(session, dataset)
    kept = {image.id for image in images if image.split == "test"}
    images[0].pixel_sha256 = images[1].pixel_sha256  # in train, a copy of an image in test
    session.flush()

    result = split(session, dataset, alice, keep="test", test=0.0)

    after = images_of(session, dataset)
    assert {image.id for image in after if image.split == "test"} == kept
    assert (after[0].split, result.plan.set_aside) == (None, 1)
    assert Counter(image.split for image in after) == {"test": 30, "train": 26, "validation": 3, None: 1}
    decisions.undo(session, dataset=dataset, user=alice, action=result.action)
    assert images_of(session, dataset)[0].split == "train"


def test_keeping_what_is_not_there_is_refused(session: Session, pets: Dataset, alice: User) -> None:
    with pytest.raises(Invalid, match="no image in validation"):
        split(session, pets, alice, keep="validation")
    with pytest.raises(Invalid, match="no share is left"):
        build_split(session, dataset=pets, user=alice, train=0, validation=0, test=1, keep="test")
    with pytest.raises(Invalid, match="not a split"):
        split(session, pets, alice, keep="tset")


# --- the job ----------------------------------------------------------------------------------------------------


def test_the_job_says_how_far_it_is_and_run_again_moves_nothing(database: Database) -> None:
    with database.write() as session:
        make_pets(session, per_class=20)
    said: list[tuple[int, int, str]] = []
    context = Context(database, database.home, lambda done, total, words="": said.append((done, total, words)))
    with database.read() as session:
        dataset = datasets.queries.get_dataset(session, "pets")
        stamp = plan_split(session, dataset=dataset, request=SplitRequest(**EIGHTY)).stamp
    first = worker.build_split(context, dataset="pets", stamp=stamp, **EIGHTY)
    again = worker.build_split(context, dataset="pets", stamp=stamp, **EIGHTY)  # as after a kill
    assert first["splits"] == again["splits"] == {"train": 48, "validation": 6, "test": 6}
    assert (first["changed"] > 0, again["changed"]) == (True, 0)
    assert [done for done, _, _ in said] == [0, 1, 2, 3, 4] * 2


def test_the_job_refuses_what_is_no_longer_what_the_preview_showed(database: Database) -> None:
    with database.write() as session:
        make_pets(session, per_class=20)
    with pytest.raises(Conflict, match="changed since the preview"):
        worker.build_split(Context(database, database.home), dataset="pets", stamp="something else", **EIGHTY)


# --- properties -------------------------------------------------------------------------------------------------

SHARES = st.sampled_from([(0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (0.5, 0.5, 0.0), (1.0, 0.0, 0.0), (0.34, 0.33, 0.33)])
Drawn = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]


@st.composite
def drawn(draw: st.DrawFn, *, largest: int) -> Drawn:
    """(unit of each row, class, stratum, key of each unit); the rows of a unit share their class."""
    sizes = draw(st.lists(st.integers(1, largest), min_size=1, max_size=60))
    class_count = draw(st.integers(1, 4))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    unit_of = np.repeat(np.arange(len(sizes)), sizes)
    classes = np.unique(rng.integers(0, class_count, len(sizes)), return_inverse=True)[1][unit_of]
    pairs = classes * 5 + rng.integers(0, draw(st.integers(1, 5)), len(unit_of))
    strata = np.unique(pairs, return_inverse=True)[1]
    keys = rng.permutation(len(sizes)).astype(np.uint64)
    order = rng.permutation(len(unit_of))
    return unit_of[order], classes[order].astype(np.int64), strata[order].astype(np.int64), keys


def count(chosen: NDArray[np.int64], units: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    table = np.zeros((classes.max() + 1, 3), np.int64)
    np.add.at(table, (classes, chosen[units]), 1)
    return table


@settings(max_examples=150, deadline=None)
@given(found=drawn(largest=1), shares=SHARES)
def test_class_shares_stay_within_one_image_where_nothing_holds_together(
    found: Drawn, shares: tuple[float, ...]
) -> None:
    units, classes, strata, keys = found
    table = count(allot(units, classes, strata, shares=shares, keys=keys), units, classes)
    assert np.abs(table - np.outer(table.sum(1), shares)).max() < 1


@settings(max_examples=150, deadline=None)
@given(found=drawn(largest=9), shares=SHARES)
def test_class_shares_stay_within_the_largest_unit(found: Drawn, shares: tuple[float, ...]) -> None:
    units, classes, strata, keys = found
    table = count(allot(units, classes, strata, shares=shares, keys=keys), units, classes)
    assert np.abs(table - np.outer(table.sum(1), shares)).max() < np.bincount(units).max() + 1e-6
    assert (table[:, np.array(shares) == 0] == 0).all()


@settings(max_examples=60, deadline=None)
@given(found=drawn(largest=5), shares=SHARES, seed=st.integers(0, 1000))
def test_the_order_of_the_rows_does_not_matter(found: Drawn, shares: tuple[float, ...], seed: int) -> None:
    units, classes, strata, keys = found
    order = np.random.default_rng(seed).permutation(len(units))
    one = allot(units, classes, strata, shares=shares, keys=keys)
    other = allot(units[order], classes[order], strata[order], shares=shares, keys=keys)
    assert one.tolist() == other.tolist()


@settings(max_examples=60, deadline=None)
@given(found=drawn(largest=1), shares=SHARES)
def test_strata_come_near_their_shares(found: Drawn, shares: tuple[float, ...]) -> None:
    units, classes, strata, keys = found
    table = count(allot(units, classes, strata, shares=shares, keys=keys), units, strata)
    assert np.abs(table - np.outer(table.sum(1), shares)).max() < 3


@settings(max_examples=40, deadline=None)
@given(
    edges=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40), seed=st.integers(0, 100),
    classes=st.lists(st.integers(0, 2), min_size=30, max_size=30), shares=SHARES,
)  # fmt: skip
def test_what_is_joined_is_never_parted(
    edges: list[tuple[int, int]], seed: int, classes: list[int], shares: tuple[float, ...]
) -> None:
    units = join(30, edges)
    labels = np.unique(classes, return_inverse=True)[1].astype(np.int64)
    keys = np.random.default_rng(seed).permutation(int(units.max()) + 1).astype(np.uint64)
    place = allot(units, labels, labels, shares=shares, keys=keys)[units]
    assert all(place[a] == place[b] for a, b in edges)


def test_large_units_go_to_every_split_and_single_rows_fill_the_shares() -> None:
    classes = np.array([0] * 60 + [1] * 40)
    units = np.array([0] * 25 + list(range(1, 76)))
    chosen = allot(units, classes, classes, shares=[0.5, 0.25, 0.25], keys=np.arange(76, dtype=np.uint64))
    assert np.bincount(chosen[units]).tolist() == [50, 25, 25]
    assert np.bincount(chosen[units][:60]).tolist() == [30, 15, 15]


def test_shares_are_rounded_by_the_largest_remainder() -> None:
    assert apportion(np.array([2.6, 0.2, 0.2]), 3).tolist() == [3, 0, 0]
    assert apportion(np.array([-1.0, 2.0, 2.0]), 3).tolist() == [0, 2, 1]
    assert apportion(np.zeros(3), 0).tolist() == [0, 0, 0]
