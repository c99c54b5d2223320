"""The split builder: shares, classes, groups, seeds, undo."""

from collections import Counter

import numpy as np
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.conftest import make_pets
from workbench.errors import Invalid
from workbench.models import Dataset, Decision, Image, User
from workbench.services import datasets, decisions, duplicates, settling
from workbench.services.duplicates import FoundGroup
from workbench.services.splits import SplitResult, assign, build_split

EIGHTY = {"train": 0.8, "validation": 0.1, "test": 0.1}


def images_of(session: Session, dataset: Dataset) -> list[Image]:
    return list(session.scalars(select(Image).where(Image.dataset_id == dataset.id).order_by(Image.id)))


def split(session: Session, dataset: Dataset, user: User, *, seed: int = 0) -> SplitResult:
    return build_split(session, dataset=dataset, user=user, seed=seed, **EIGHTY)


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
        assert result.groups_kept == 2
        part = {image.id: image.split for image in images_of(session, dataset)}
        assert [len({part[member] for member in members}) for members in near[:2]] == [1, 1]
    assert {group.group.spanning for group in duplicates.queries.list_groups(session, dataset.id)} == {False}


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


def test_assign_fills_the_shares_around_large_units() -> None:
    labels = np.array([0] * 60 + [1] * 40)
    units = [list(range(25)), *([row] for row in range(25, 100))]

    chosen = assign(units, labels, shares=[0.5, 0.25, 0.25], rng=np.random.default_rng(0))

    assert np.bincount(chosen).tolist() == [50, 25, 25]
    assert np.bincount(chosen[:60]).tolist() == [30, 15, 15]
    assert len(set(chosen[:25].tolist())) == 1
