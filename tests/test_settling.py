"""Verdicts: strangers that leave a group, votes carried over, settling in bulk; each undone exactly, and replayed."""

import random
from collections.abc import Sequence

import pytest
from sqlalchemy import event, func, insert, select
from sqlalchemy.orm import Session

from tests.conftest import make_pets
from tests.gallery import make_gallery
from tests.test_duplicates import images_of, make_copies, only_group, rows
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Conflict, Invalid
from workbench.models import Dataset, Decision, DuplicateGroup, DuplicatePair, Image, User, Vote
from workbench.queries import duplicate_verdicts
from workbench.queries import duplicates as queries
from workbench.queries.duplicates import Bulk
from workbench.services import checks, datasets, decisions, duplicates, imports, settling, users
from workbench.services.duplicates import FoundGroup, group_key
from workbench.services.history import list_entries
from workbench.worker.context import Context
from workbench.worker.scans import scan_duplicates


def add_near(session: Session, dataset: Dataset, *groups: Sequence[Image], p: float = 0.9) -> list[DuplicateGroup]:
    """Near groups of these images, in this order, as a scan would form them."""
    found = [FoundGroup([image.id for image in group], score=p, p=p) for group in groups]
    duplicates.refresh_near_groups(session, dataset, found)
    stored = queries.list_stored(session, dataset.id, kind="near")
    return [stored[group_key(group.image_ids)] for group in found]


def statuses(images: Sequence[Image]) -> list[str]:
    return [image.status for image in images]


def votes_of(session: Session, image: Image) -> dict[str, int]:
    session.flush()
    return {vote.option: vote.count for vote in session.scalars(select(Vote).where(Vote.image_id == image.id))}


def assert_replayed(session: Session) -> None:
    session.flush()
    session.expire_all()
    assert checks.check(session).ok


# --- not duplicates, partly -------------------------------------------------------------------------------------


def test_a_stranger_leaves_and_the_rest_is_settled(session: Session, pets: Dataset, bob: User) -> None:
    images = images_of(session, pets)[:4]
    (group,) = add_near(session, pets, images)
    stranger = images[3]
    action = settling.settle(
        session, dataset=pets, user=bob, group=group, verdict="keep_best", keep_id=images[1].id, apart=[stranger.id]
    )

    assert statuses(images) == ["excluded", "active", "excluded", "active"]
    assert queries.list_apart_members(session, [group.id]) == {group.id: [stranger.id]}
    assert sorted(duplicate_verdicts.list_rejected(session, pets.id)) == sorted(
        [stranger.id, other.id] for other in images[:3]
    )
    assert duplicate_verdicts.list_confirmed(session, pets.id) == [[image.id for image in images[:3]]]
    assert queries.list_members(session, pets.id, kind="near") == {group.id: [image.id for image in images[:3]]}
    assert_replayed(session)

    decisions.undo(session, dataset=pets, user=bob, action=action)
    assert statuses(images) == ["active"] * 4
    assert (queries.list_apart_members(session, [group.id]), duplicate_verdicts.list_rejected(session, pets.id)) == (
        {},
        [],
    )
    assert (group.settled_action, rows(session, pets)[0][0]) == (None, [image.id for image in images])
    assert_replayed(session)


def test_copies_of_a_stranger_leave_with_it_and_come_forward(session: Session, pets: Dataset, bob: User) -> None:
    images = make_copies(session, pets, (0, 1), (2, 3))[:4]
    (group,) = add_near(session, pets, images)
    assert len(rows(session, pets)) == 1
    action = settling.settle(session, dataset=pets, user=bob, group=group, verdict="keep_best", apart=[images[3].id])
    assert statuses(images) == ["excluded", "active", "active", "active"]
    assert rows(session, pets) == [([images[2].id, images[3].id], False, True)]  # still one picture twice
    decisions.undo(session, dataset=pets, user=bob, action=action)
    assert [row[0] for row in rows(session, pets)] == [[image.id for image in images]]
    assert_replayed(session)


def test_two_strangers_may_still_be_one_picture(session: Session, pets: Dataset, bob: User) -> None:
    images = images_of(session, pets)[:4]
    (group,) = add_near(session, pets, images)
    apart = [images[2].id, images[3].id]
    settling.settle(session, dataset=pets, user=bob, group=group, verdict="keep_all", apart=apart)
    assert apart not in duplicate_verdicts.list_rejected(session, pets.id)
    assert len(duplicate_verdicts.list_rejected(session, pets.id)) == 4


def test_the_verdict_on_the_rest_stands_when_a_scan_forms_the_rest_alone(
    session: Session, pets: Dataset, bob: User
) -> None:
    images = images_of(session, pets)[:4]
    (group,) = add_near(session, pets, images)
    action = settling.settle(session, dataset=pets, user=bob, group=group, verdict="keep_all", apart=[images[3].id])
    (rest,) = add_near(session, pets, images[:3])
    assert (rest.settled_action, rest.verdict) == (action, "keep_all")
    assert rows(session, pets) == []
    assert_replayed(session)

    undone = decisions.undo(session, dataset=pets, user=bob, action=action)
    assert len(rows(session, pets)) == 1  # the rest is open, and the next scan may bring the stranger back
    (whole,) = add_near(session, pets, images)
    assert whole.settled_action is None
    decisions.undo(session, dataset=pets, user=bob, action=undone)
    assert (whole.settled_action, queries.list_apart_members(session, [whole.id])) == (
        action, {whole.id: [images[3].id]},
    )  # fmt: skip
    assert_replayed(session)


def test_labels_are_merged_among_the_rest_only(session: Session, pets: Dataset, bob: User) -> None:
    images = images_of(session, pets)
    (group,) = add_near(session, pets, [images[0], images[2], images[4]])
    owl = images[4].label_id
    dog = images[2].label_id
    settling.settle(
        session, dataset=pets, user=bob, group=group, verdict="merge_labels", class_id=dog, apart=[images[4].id]
    )
    assert [image.label_id for image in (images[0], images[2], images[4])] == [dog, dog, owl]
    assert images[4].decided_at is None
    assert_replayed(session)


def test_senseless_marks_are_refused(session: Session, pets: Dataset, bob: User) -> None:
    images = make_copies(session, pets, (4, 5))
    (near,) = add_near(session, pets, images[:3])
    exact = queries.list_groups_of_image(session, images[4].id)[0].group
    for group, apart, keep, message in (
        (near, [images[5].id], None, "not in this group"),
        (near, [image.id for image in images[:3]], None, "not the same picture instead"),
        (near, [images[0].id], images[0].id, "marked as another picture; choose one of the rest"),
        (exact, [images[4].id], None, "equal pixel by pixel"),
    ):
        with pytest.raises(Invalid, match=message):
            settling.settle(
                session, dataset=pets, user=bob, group=group, verdict="keep_best", keep_id=keep, apart=apart
            )
    assert session.scalar(select(func.count()).select_from(Decision)) == 0


def test_history_says_that_one_is_another_picture(session: Session, pets: Dataset, bob: User) -> None:
    images = images_of(session, pets)[:3]
    (group,) = add_near(session, pets, images)
    settling.settle(session, dataset=pets, user=bob, group=group, verdict="keep_best", apart=[images[0].id])
    (entry,) = list_entries(session, pets)
    assert (entry.groups, (entry.line.detail or {})["apart"]) == (1, [images[0].id])


# --- votes carried over -----------------------------------------------------------------------------------------


def test_labels_of_what_goes_become_votes_and_undo_takes_them_back(session: Session, pets: Dataset, bob: User) -> None:
    images = make_copies(session, pets, (0, 2, 3, 4))
    images[3].file_sha256 = images[2].file_sha256  # the same bytes twice: one voice
    session.flush()
    group = only_group(session, pets).group
    action = settling.settle(
        session, dataset=pets, user=bob, group=group, verdict="keep_best", keep_id=images[0].id, carry=True
    )
    # its own label too: without it the others' would be all that is known about the picture
    assert votes_of(session, images[0]) == {"cat": 1, "dog": 1, "owl": 1}
    assert_replayed(session)

    undone = decisions.undo(session, dataset=pets, user=bob, action=action)
    assert votes_of(session, images[0]) == {}
    assert statuses(images) == ["active"] * 6
    assert_replayed(session)
    decisions.undo(session, dataset=pets, user=bob, action=undone)
    assert votes_of(session, images[0]) == {"cat": 1, "dog": 1, "owl": 1}
    assert_replayed(session)


def test_raters_votes_are_added_to_those_that_are_there(session: Session, pets: Dataset, bob: User) -> None:
    images = make_copies(session, pets, (0, 2))
    imports.write_votes(
        session, pets, {images[0].id: {"cat": 7, "?": 1}, images[2].id: {"dog": 4, "cat": 2, "?": 2}}, maps={}
    )
    group = only_group(session, pets).group
    action = settling.settle(
        session, dataset=pets, user=bob, group=group, verdict="keep_best", keep_id=images[0].id, carry=True
    )
    assert votes_of(session, images[0]) == {"cat": 9, "?": 3, "dog": 5}
    assert votes_of(session, images[2]) == {"dog": 4, "cat": 2, "?": 2}
    assert_replayed(session)

    imports.write_votes(session, pets, {images[0].id: {"cat": 1}}, maps={})  # the votes are imported anew
    assert votes_of(session, images[0]) == {"cat": 3, "?": 2, "dog": 5}
    assert_replayed(session)
    decisions.undo(session, dataset=pets, user=bob, action=action)
    assert votes_of(session, images[0]) == {"cat": 1}
    assert_replayed(session)


def test_a_label_counts_under_the_name_that_raters_used_for_its_class(
    session: Session, pets: Dataset, bob: User
) -> None:
    images = make_copies(session, pets, (0, 2))
    imports.write_votes(session, pets, {images[0].id: {"Hund": 3}}, maps={"Hund": "dog"})
    group = only_group(session, pets).group
    settling.settle(session, dataset=pets, user=bob, group=group, verdict="keep_best", keep_id=images[0].id, carry=True)
    assert votes_of(session, images[0]) == {"Hund": 4}


def test_nothing_is_carried_from_what_was_excluded_before_nor_from_what_has_no_label(
    session: Session, pets: Dataset, bob: User
) -> None:
    images = make_copies(session, pets, (0, 2, 4))
    decisions.decide(session, image=images[2], user=bob, verdict="exclude")
    decisions.decide(
        session, image=images[4], user=bob, verdict="ambiguous", class_ids=[images[0].label_id, images[2].label_id]
    )
    group = only_group(session, pets).group
    settling.settle(session, dataset=pets, user=bob, group=group, verdict="keep_best", keep_id=images[0].id, carry=True)
    assert votes_of(session, images[0]) == {}
    assert "votes" not in {line.kind for line in session.scalars(select(Decision))}


def test_labels_before_a_merge_are_what_is_carried(session: Session, pets: Dataset, bob: User) -> None:
    images = make_copies(session, pets, (0, 2))
    group = only_group(session, pets).group
    settling.settle(
        session, dataset=pets, user=bob, group=group, verdict="merge_labels", keep_id=images[0].id,
        class_id=images[2].label_id, carry=True,
    )  # fmt: skip
    assert votes_of(session, images[0]) == {"cat": 1, "dog": 1}
    assert_replayed(session)


def test_without_the_wish_nothing_is_carried(session: Session, pets: Dataset, bob: User) -> None:
    make_copies(session, pets, (0, 2))
    settling.settle(session, dataset=pets, user=bob, group=only_group(session, pets).group, verdict="keep_best")
    assert session.scalar(select(func.count()).select_from(Vote)) == 0


def test_the_check_finds_votes_and_strangers_that_no_line_explains(session: Session, pets: Dataset, bob: User) -> None:
    images = images_of(session, pets)[:3]
    (group,) = add_near(session, pets, images)
    settling.settle(
        session, dataset=pets, user=bob, group=group, verdict="keep_best", keep_id=images[0].id, apart=[images[2].id],
        carry=True,
    )  # fmt: skip
    assert_replayed(session)
    vote = session.scalars(select(Vote).where(Vote.image_id == images[0].id)).one()
    vote.count += 1
    session.add(Vote(image_id=images[1].id, option="cat", count=2, first_count=0))
    member = session.scalars(select(queries.DuplicateMember).where(queries.DuplicateMember.apart)).one()
    member.apart = False
    session.flush()
    found = checks.check(session).datasets[0].differences
    assert [(each.kind, each.column, each.stored, each.replayed) for each in found] == [
        ("duplicate group", "apart", [], [images[2].id]), ("vote", "count", 3, 2), ("vote", "count", 2, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_random_verdicts_undos_and_redos_agree_with_their_replay(session: Session, bob: User, seed: int) -> None:
    rng = random.Random(seed)
    dataset = make_pets(session, per_class=6)
    images = make_copies(session, dataset, (0, 6), (1, 7), (12, 13))
    near = [images[0], images[6], images[2], images[8]], [images[1], images[7], images[3]], images[14:18]
    add_near(session, dataset, *near)
    for _ in range(40):
        groups = queries.list_groups(session, dataset.id, limit=None)
        if groups and rng.random() < 0.6:
            found = rng.choice(groups)
            marked = rng.sample([image.id for image in found.images], k=rng.randrange(0, 2))
            try:
                settling.settle(
                    session, dataset=dataset, user=bob, group=found.group, carry=rng.random() < 0.7, apart=marked,
                    verdict=rng.choice(["keep_best", "keep_all", "merge_labels", "not_duplicates"]),
                    class_id=rng.choice(images).first_label_id,
                )  # fmt: skip
            except Invalid:  # a stranger among equal pixels
                continue
        else:
            actions = sorted(set(session.scalars(select(Decision.action))))
            try:
                decisions.undo(session, dataset=dataset, user=bob, action=rng.choice(actions or ["none"]))
            except (Conflict, Invalid, decisions.NotFound):
                continue
    assert_replayed(session)


# --- in bulk ----------------------------------------------------------------------------------------------------


def test_near_groups_are_settled_in_bulk_from_a_certainty_on(session: Session, bob: User) -> None:
    dataset = make_pets(session, per_class=8)
    images = make_copies(session, dataset, (0, 1), (4, 5))
    sure, unsure, conflict = [images[0], images[1], images[2]], images[4:8], [images[8], images[16]]
    found = [
        FoundGroup([image.id for image in group], p=p) for group, p in ((sure, 0.995), (unsure, 0.9), (conflict, 1))
    ]
    duplicates.refresh_near_groups(session, dataset, found)

    near = queries.count_in_bulk(session, dataset.id, Bulk(exact=False, min_p=0.99))
    assert (near.exact, near.near, near.excluded) == (0, 1, 2)
    both = queries.count_in_bulk(session, dataset.id, Bulk(exact=True, min_p=0.99))
    assert (both.exact, both.within, both.near, both.excluded) == (1, 1, 1, 3)  # 0 and 1 go with their near group
    exact = queries.count_in_bulk(session, dataset.id, Bulk())
    assert (exact.exact, exact.within, exact.near, exact.excluded) == (2, 2, 0, 2)

    assert settling.settle_in_bulk(session, dataset, bob, bulk=Bulk(exact=True, min_p=0.99), action="bulk") == 2
    assert [place for place, image in enumerate(images) if image.status == "excluded"] == [0, 2, 4]
    assert_replayed(session)
    assert queries.count_in_bulk(session, dataset.id, Bulk(exact=True, min_p=0.99)).groups == 0
    decisions.undo(session, dataset=dataset, user=bob, action="bulk")
    assert {image.status for image in images_of(session, dataset)} == {"active"}
    assert_replayed(session)


def test_groups_formed_since_the_preview_are_left_alone(session: Session, pets: Dataset, bob: User) -> None:
    images = make_copies(session, pets, (0, 1))
    newest = queries.get_newest_id(session, pets.id)
    add_near(session, pets, images[2:4], p=1.0)
    bulk = Bulk(exact=True, min_p=0.9)
    assert settling.settle_in_bulk(session, pets, bob, bulk=bulk, up_to=newest) == 1
    assert [image.status for image in images[2:4]] == ["active", "active"]


def add_copies(database: Database, *, groups: int, size: int) -> int:
    """A data set of `groups` pictures, each there `size` times."""
    with database.write() as session:
        dataset = make_pets(session, per_class=1)
        first = images_of(session, dataset)[0]
        columns = [column.name for column in Image.__table__.columns if column.name != "id"]
        like = {name: getattr(first, name) for name in columns}
        session.execute(
            insert(Image),
            [
                like
                | {
                    "path": f"c/{number}.png",
                    "pixel_sha256": f"{number % groups:064d}",
                    "file_sha256": f"{number:064d}",
                }
                for number in range(groups * size)
            ],
        )
        duplicates.refresh_exact_groups(session, dataset)
        users.ensure_user(session, "bob")
        return dataset.id


@pytest.mark.slow
def test_fifty_thousand_images_are_settled_and_brought_back_in_one_action(database: Database) -> None:
    dataset_id = add_copies(database, groups=10_000, size=5)
    with database.write() as session:
        dataset, bob = session.get_one(Dataset, dataset_id), users.ensure_user(session, "bob")
        assert settling.settle_in_bulk(session, dataset, bob, bulk=Bulk(), action="bulk") == 10_000
    with database.write() as session:
        counts = select(Image.status, func.count()).group_by(Image.status)
        assert dict(session.execute(counts).all()) == {"active": 10_003, "excluded": 40_000}
        dataset, bob = session.get_one(Dataset, dataset_id), users.ensure_user(session, "bob")
        decisions.undo(session, dataset=dataset, user=bob, action="bulk")
        assert dict(session.execute(counts).all()) == {"active": 50_003}


@pytest.mark.slow
def test_a_picture_that_is_there_forty_thousand_times_is_settled_with_its_votes(database: Database) -> None:
    dataset_id = add_copies(database, groups=1, size=40_000)
    with database.write() as session:
        dataset, bob = session.get_one(Dataset, dataset_id), users.ensure_user(session, "bob")
        group = queries.list_groups(session, dataset_id, most_images=1)[0].group
        settling.settle(session, dataset=dataset, user=bob, group=group, verdict="keep_best", carry=True, action="one")
        assert [vote.count for vote in session.scalars(select(Vote))] == [40_000]
        decisions.undo(session, dataset=dataset, user=bob, action="one")
        assert session.scalar(select(func.count()).where(Image.status == "active")) == 40_003
        assert session.scalar(select(func.count()).select_from(Vote)) == 0


# --- filters ----------------------------------------------------------------------------------------------------


def test_groups_are_found_by_certainty_and_by_the_change_between_their_images(session: Session, bob: User) -> None:
    dataset = make_pets(session, per_class=8)
    images = images_of(session, dataset)
    groups = [images[0:2], images[2:4], images[4:6], images[6:8]]
    found = [
        FoundGroup([image.id for image in group], p=p) for group, p in zip(groups, (0.6, 0.8, 0.95, 1), strict=True)
    ]
    duplicates.refresh_near_groups(session, dataset, found)
    changes = [
        {"mirrored": True}, {"mirrored": False, "zoom": 1.1, "part": "top"},
        {"mirrored": False, "rotation": -3, "shift": [0, 0.05]}, {"zoom": 1.001, "offset": 30, "shift": [0, 0]},
    ]  # fmt: skip
    for (one, other), change in zip(groups, changes, strict=True):
        pair = {"a_id": one.id, "b_id": other.id, "how": "hashes", "score": 1, "p": 1, "transform": change}
        session.add(DuplicatePair(dataset_id=dataset.id, **pair))
    session.flush()

    def places(**wanted: object) -> list[int]:
        return [(each.images[0].id - images[0].id) // 2 for each in queries.list_groups(session, dataset.id, **wanted)]

    assert sorted(places(transform="mirrored")) == [0]
    assert sorted(places(transform="cropped")) == [1, 2]
    assert sorted(places(transform="turned")) == [2]
    assert sorted(places(transform="relit")) == [3]
    assert sorted(places(transform="part")) == [1]
    assert sorted(places(min_p=0.9)) == [2, 3]
    assert sorted(places(min_p=0.7, below_p=0.95)) == [1]
    assert queries.count_groups(session, dataset.id, transform="cropped", min_p=0.9).groups == 1
    with pytest.raises(Invalid, match="not a kind of change"):
        places(transform="burnt")


def test_what_could_go_counts_images_in_use(session: Session, pets: Dataset, bob: User) -> None:
    images = make_copies(session, pets, (0, 1, 2), (4, 5))
    assert queries.count_groups(session, pets.id).removable == 3
    decisions.decide(session, image=images[0], user=bob, verdict="exclude")
    decisions.decide(session, image=images[4], user=bob, verdict="exclude")
    counts = queries.count_groups(session, pets.id)
    assert (counts.redundant, counts.removable, counts.open) == (3, 1, 1)


def test_what_was_settled_inside_a_near_group_is_listed_beside_it(session: Session, pets: Dataset, bob: User) -> None:
    images = make_copies(session, pets, (0, 1))
    (near,) = add_near(session, pets, images[:3])
    assert settling.settle_in_bulk(session, pets, bob, bulk=Bulk()) == 1
    assert [row[0] for row in rows(session, pets)] == [[image.id for image in images[:3]]]
    assert [row[0] for row in rows(session, pets, state="settled")] == [[image.id for image in images[:2]]]
    assert queries.count_groups(session, pets.id).groups == 1  # each picture in one group
    settling.settle(session, dataset=pets, user=bob, group=near, verdict="keep_best")
    assert len(rows(session, pets, state="settled")) == 2


@pytest.mark.parametrize("size", [2, 5])
def test_a_long_list_of_groups_shows_the_first_images_in_two_statements(database: Database, size: int) -> None:
    add_copies(database, groups=4, size=size)
    statements: list[str] = []
    event.listen(database.reader, "before_cursor_execute", lambda *args: statements.append(args[2]))
    with database.read() as session:
        statements.clear()
        found = queries.list_groups(session, 1, most_images=3)
        assert [len(each.images) for each in found] == [min(3, size)] * 4
        assert len(statements) == 3  # BEGIN is one


# --- and scanned again ------------------------------------------------------------------------------------------


def test_a_stranger_stays_out_of_the_groups_of_later_scans(database: Database, home: Home) -> None:
    with database.write() as session:
        first_id = images_of(session, make_gallery(session, home))[0].id
    context = Context(database, home)
    scan_duplicates(context, dataset="gallery")
    with database.write() as session:
        dataset = datasets.queries.get_dataset(session, "gallery")
        bob = users.ensure_user(session, "bob", role="reviewer")
        found = only_group(session, dataset, kind="near")
        stranger = found.images[-1].id
        action = settling.settle(
            session, dataset=dataset, user=bob, group=found.group, verdict="keep_all", apart=[stranger]
        )
        members = [image.id for image in found.images]
        assert (stranger - first_id, len(members)) == (43, 5)

    for _ in range(2):
        scan_duplicates(context, dataset="gallery")
        with database.read() as session:
            near = only_group(session, dataset, kind="near")
            assert [image.id for image in near.images] == [image_id for image_id in members if image_id != stranger]
            assert (near.group.settled_action, near.group.verdict) == (action, "keep_all")
            assert checks.check(session).ok
            assert session.scalar(select(func.count()).select_from(DuplicatePair)) > 0

    with database.write() as session:
        decisions.undo(session, dataset=dataset, user=bob, action=action)
    scan_duplicates(context, dataset="gallery")
    with database.read() as session:
        near = only_group(session, dataset, kind="near")
        assert [image.id for image in near.images] == members
        assert near.group.settled_action is None
