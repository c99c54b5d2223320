"""Duplicate groups: formed, flagged, listed, settled, undone."""

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from tests.conftest import make_pets
from workbench.db import Database
from workbench.errors import Conflict, Invalid, NotFound
from workbench.models import NOTHING_LEFT, Dataset, Decision, Image, User
from workbench.queries import duplicates as queries
from workbench.queries.duplicates import Bulk
from workbench.services import datasets, decisions, duplicates, settling
from workbench.services.duplicates import FoundGroup


def images_of(session: Session, dataset: Dataset) -> list[Image]:
    return list(session.scalars(select(Image).where(Image.dataset_id == dataset.id).order_by(Image.id)))


def make_copies(session: Session, dataset: Dataset, *groups: tuple[int, ...]) -> list[Image]:
    """Give the images at these places equal pixels, and form the groups."""
    images = images_of(session, dataset)
    for places in groups:
        for place in places:
            images[place].pixel_sha256 = images[places[0]].pixel_sha256
    session.flush()
    duplicates.refresh_exact_groups(session, dataset)
    return images


def rows(session: Session, dataset: Dataset, **kwargs: object) -> list[tuple[list[int], bool, bool]]:
    """Of each group listed: the ids of its images, conflicting, spanning."""
    found = queries.list_groups(session, dataset.id, **kwargs)
    return [([image.id for image in each.images], each.group.conflicting, each.group.spanning) for each in found]


def only_group(session: Session, dataset: Dataset, **kwargs: object) -> queries.GroupImages:
    (found,) = queries.list_groups(session, dataset.id, state="all", **kwargs)
    return found


def test_equal_pixels_form_groups_and_conflicts_come_first(session: Session, pets: Dataset) -> None:
    # of the six: 0, 1 cat, 2, 3 dog, 4, 5 owl; the odd ones in test
    ids = [image.id for image in make_copies(session, pets, (0, 1), (2, 4))]

    assert rows(session, pets) == [([ids[2], ids[4]], True, False), ([ids[0], ids[1]], False, True)]
    counts = queries.count_groups(session, pets.id, kind="exact")
    assert (counts.groups, counts.images, counts.redundant, counts.conflicting, counts.spanning) == (2, 4, 2, 1, 1)
    assert (counts.open, counts.settled) == (2, 0)


def test_copies_in_another_data_set_are_no_duplicates(session: Session, pets: Dataset) -> None:
    other = make_pets(session, name="other")
    first, second = images_of(session, pets)[0], images_of(session, other)[0]
    second.pixel_sha256 = first.pixel_sha256
    session.flush()

    assert duplicates.refresh_exact_groups(session, pets) == 0
    assert duplicates.refresh_exact_groups(session, other) == 0


def test_flags_follow_labels_splits_exclusions_and_their_undo(session: Session, pets: Dataset, bob: User) -> None:
    images = make_copies(session, pets, (0, 2))
    dog = images[2].label_id

    action = decisions.decide(session, image=images[0], user=bob, verdict="relabel", class_id=dog)
    assert [row[1] for row in rows(session, pets)] == [False]
    decisions.undo(session, dataset=pets, user=bob, action=action)
    assert [row[1] for row in rows(session, pets)] == [True]

    decisions.decide(session, image=images[0], user=bob, verdict="exclude")
    assert rows(session, pets) == []  # one image is left: nothing to settle
    assert only_group(session, pets).group.rank == NOTHING_LEFT
    decisions.undo_last(session, dataset=pets, user=bob)
    assert [row[1] for row in rows(session, pets)] == [True]


def test_a_class_merge_ends_a_conflict_and_its_undo_brings_it_back(
    session: Session, pets: Dataset, alice: User
) -> None:
    make_copies(session, pets, (0, 2))
    cat, dog = datasets.get_class(session, pets, "cat"), datasets.get_class(session, pets, "dog")

    datasets.merge_class(session, dataset=pets, user=alice, cls=cat, into=dog)
    assert only_group(session, pets).group.conflicting is False
    decisions.undo_last(session, dataset=pets, user=alice)
    assert only_group(session, pets).group.conflicting is True


def test_keep_best_keeps_the_test_copy_and_undo_restores_all(session: Session, pets: Dataset, bob: User) -> None:
    images = make_copies(session, pets, (0, 1))
    group = only_group(session, pets).group

    action = settling.settle(session, dataset=pets, user=bob, group=group, verdict="keep_best")
    assert [images[0].status, images[1].status] == ["excluded", "active"]
    assert (group.settled_action, group.verdict) == (action, "keep_best")
    assert rows(session, pets) == []
    assert len(rows(session, pets, state="settled")) == 1

    decisions.undo(session, dataset=pets, user=bob, action=action)
    assert [images[0].status, images[1].status] == ["active", "active"]
    assert (group.settled_action, group.verdict) == (None, None)
    assert len(rows(session, pets)) == 1


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({}, 1),  # the test split
        ({"width": 20}, 0),  # larger
        ({"label_source": "decision"}, 0),
        ({"label_id": None}, 1),
        ({"status": "excluded", "width": 20}, 1),
        ({"split": "test"}, 0),  # then the first
    ],
)
def test_the_best_image_of_a_group(session: Session, pets: Dataset, change: dict[str, object], kept: int) -> None:
    images = images_of(session, pets)[:2]
    for column, value in change.items():
        setattr(images[0], column, value)

    assert settling.choose_best(images) is images[kept]
    assert settling.choose_best(images[::-1]) is images[kept]


def test_merge_labels_gives_all_one_class_and_keeps_the_image_chosen(
    session: Session, pets: Dataset, bob: User
) -> None:
    images = make_copies(session, pets, (0, 2, 4))
    owl = datasets.get_class(session, pets, "owl")
    group = only_group(session, pets).group

    action = settling.settle(
        session, dataset=pets, user=bob, group=group, verdict="merge_labels", keep_id=images[2].id, class_id=owl.id
    )
    assert [images[place].label_id for place in (0, 2, 4)] == [owl.id] * 3
    assert [images[place].status for place in (0, 2, 4)] == ["excluded", "active", "excluded"]
    assert group.conflicting is False

    decisions.undo(session, dataset=pets, user=bob, action=action)
    assert [images[place].label_id for place in (0, 2, 4)] == [images[place].first_label_id for place in (0, 2, 4)]
    assert {image.status for image in images} == {"active"}


def test_keep_all_excludes_nothing(session: Session, pets: Dataset, bob: User) -> None:
    make_copies(session, pets, (0, 1))
    group = only_group(session, pets).group
    settling.settle(session, dataset=pets, user=bob, group=group, verdict="keep_all")

    assert [line.kind for line in session.scalars(select(Decision))] == ["duplicates"]
    assert group.verdict == "keep_all"


def test_bad_verdicts_are_refused_and_write_nothing(session: Session, pets: Dataset, bob: User) -> None:
    images = make_copies(session, pets, (0, 1))
    group = only_group(session, pets).group
    for kwargs, message in (
        ({"verdict": "burn"}, "not a verdict"),
        ({"verdict": "not_duplicates"}, "pixel by pixel"),
        ({"verdict": "keep_best", "keep_id": images[5].id}, "not in this group"),
        ({"verdict": "merge_labels"}, "Choose the class"),
        ({"verdict": "merge_labels", "class_id": 999}, "open classes"),
    ):
        with pytest.raises(Invalid, match=message):
            settling.settle(session, dataset=pets, user=bob, group=group, **kwargs)
    assert session.scalar(select(func.count()).select_from(Decision)) == 0


def test_the_second_of_two_reviewers_meets_a_conflict_and_a_repeated_request_counts_once(
    session: Session, pets: Dataset, alice: User, bob: User
) -> None:
    make_copies(session, pets, (0, 1))
    group = only_group(session, pets).group
    for _ in range(2):
        settling.settle(session, dataset=pets, user=bob, group=group, verdict="keep_all", action="once")

    with pytest.raises(Conflict):
        settling.settle(session, dataset=pets, user=alice, group=group, verdict="keep_best")


def test_a_redone_verdict_and_a_later_one_settle_by_the_newest_that_counts(
    session: Session, pets: Dataset, bob: User
) -> None:
    make_copies(session, pets, (0, 1))
    group = only_group(session, pets).group
    first = settling.settle(session, dataset=pets, user=bob, group=group, verdict="keep_all")
    undone = decisions.undo(session, dataset=pets, user=bob, action=first)
    second = settling.settle(session, dataset=pets, user=bob, group=group, verdict="keep_best")
    decisions.undo(session, dataset=pets, user=bob, action=undone)  # redo of the first
    assert (group.settled_action, group.verdict) == (second, "keep_best")

    decisions.undo(session, dataset=pets, user=bob, action=second)
    assert (group.settled_action, group.verdict) == (first, "keep_all")
    decisions.undo(session, dataset=pets, user=bob, action=first)
    assert (group.settled_action, group.verdict) == (None, None)


def test_bulk_settles_groups_without_conflict_in_one_action(session: Session, pets: Dataset, bob: User) -> None:
    images = make_copies(session, pets, (0, 1), (2, 4))
    counts = queries.count_in_bulk(session, pets.id, Bulk())
    assert (counts.exact, counts.near, counts.excluded) == (1, 0, 1)

    assert settling.settle_in_bulk(session, pets, bob, bulk=Bulk(), action="bulk") == 1
    assert [image.status for image in images] == ["excluded", *["active"] * 5]
    assert settling.settle_in_bulk(session, pets, bob, bulk=Bulk(), action="bulk") == 0  # sent twice, counts once
    with pytest.raises(Invalid, match="no open group"):
        settling.settle_in_bulk(session, pets, bob, bulk=Bulk())

    decisions.undo(session, dataset=pets, user=bob, action="bulk")
    assert {image.status for image in images} == {"active"}
    assert queries.count_groups(session, pets.id).open == 2


def test_a_verdict_outlives_a_rescan_and_a_new_copy_opens_the_group_again(
    session: Session, pets: Dataset, bob: User
) -> None:
    images = make_copies(session, pets, (0, 1))
    settling.settle(session, dataset=pets, user=bob, group=only_group(session, pets).group, verdict="keep_all")
    duplicates.refresh_exact_groups(session, pets)
    assert only_group(session, pets).group.verdict == "keep_all"

    make_copies(session, pets, (0, 3))
    assert [(each.group.size, each.group.verdict) for each in queries.list_groups(session, pets.id)] == [(3, None)]

    images[3].pixel_sha256 = images[3].file_sha256
    session.flush()
    duplicates.refresh_exact_groups(session, pets)
    assert only_group(session, pets).group.verdict == "keep_all"  # the same members as before: the log remembers


def test_an_exact_group_stands_behind_the_near_group_that_holds_it(session: Session, pets: Dataset, bob: User) -> None:
    images = make_copies(session, pets, (0, 1))
    ids = [image.id for image in images]
    duplicates.refresh_near_groups(session, pets, [FoundGroup([ids[0], ids[1], ids[2]], score=0.9, p=0.95)])

    assert rows(session, pets) == [(ids[:3], True, True)]
    assert [row[0] for row in rows(session, pets, kind="exact")] == [ids[:2]]
    assert queries.count_groups(session, pets.id).groups == 1
    assert [each.group.kind for each in queries.list_groups_of_image(session, ids[0])] == ["near", "exact"]
    near = only_group(session, pets, kind="near")

    action = settling.settle(session, dataset=pets, user=bob, group=near.group, verdict="not_duplicates")
    assert [row[0] for row in rows(session, pets)] == [ids[:2]]  # its copies are still copies
    decisions.undo(session, dataset=pets, user=bob, action=action)
    assert [row[0] for row in rows(session, pets)] == [ids[:3]]

    settling.settle(session, dataset=pets, user=bob, group=near.group, verdict="keep_best")
    assert rows(session, pets) == []


def test_pages_go_on_where_the_last_one_ended_and_filters_hold(session: Session) -> None:
    dataset = make_pets(session, per_class=8)
    make_copies(session, dataset, (0, 1), (2, 3), (4, 6), (8, 16), (9, 17))
    every = [each.group.id for each in queries.list_groups(session, dataset.id)]

    seen: list[int] = []
    cursor = None
    while page := queries.list_groups(session, dataset.id, after=cursor, limit=2):
        seen += [each.group.id for each in page]
        cursor = page[-1].cursor
    assert seen == every
    assert len(every) == 5
    assert queries.find_next_open(session, dataset.id).id == every[0]
    assert queries.find_next_open(session, dataset.id, after=cursor) is None
    assert len(rows(session, dataset, conflicting=True)) == 2
    assert len(rows(session, dataset, conflicting=False, spanning=True)) == 2
    assert rows(session, dataset, kind="near") == []
    with pytest.raises(Invalid, match="not a state"):
        queries.list_groups(session, dataset.id, state="half")
    with pytest.raises(NotFound):
        queries.get_group(session, dataset.id, 999)


@pytest.mark.parametrize("groups", [1, 3])
def test_listing_costs_two_statements(database: Database, groups: int) -> None:
    with database.write() as session:
        dataset_id = make_pets(session, per_class=8).id
        places = [(2 * number, 2 * number + 1) for number in range(groups)]
        make_copies(session, session.get_one(Dataset, dataset_id), *places)
    statements: list[str] = []
    event.listen(database.reader, "before_cursor_execute", lambda *args: statements.append(args[2]))
    with database.read() as session:
        statements.clear()
        found = queries.list_groups(session, dataset_id)
        labels = [image.label.name for each in found for image in each.images]
        assert (len(found), len(labels), len(statements)) == (groups, 2 * groups, 3)  # BEGIN is one
