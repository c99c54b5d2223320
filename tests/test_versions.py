"""Versions: rebuilt from the log exactly, fingerprinted, listed and compared."""

import random

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.conftest import make_pets
from tests.opinion_queues import ask_several, have_said, say
from workbench.errors import NotFound, WorkbenchError
from workbench.models import Dataset, Decision, Image, Import, QueueItem, User, utc_now
from workbench.queries import datasets as dataset_queries
from workbench.queries import decisions as log
from workbench.services import checks, datasets, decisions, opinions, versions
from workbench.services.decisions import Line


def list_images(session: Session, dataset: Dataset) -> list[Image]:
    return list(session.scalars(select(Image).where(Image.dataset_id == dataset.id).order_by(Image.id)))


def class_id(session: Session, dataset: Dataset, name: str) -> int:
    return datasets.get_class(session, dataset, name).id


def head(session: Session, dataset: Dataset) -> int:
    return log.get_last_id(session, dataset_id=dataset.id)


def relabel(session: Session, image: Image, user: User, name: str) -> str:
    dataset = session.get_one(Dataset, image.dataset_id)
    chosen = class_id(session, dataset, name)
    return decisions.decide(session, image=image, user=user, verdict="relabel", class_id=chosen)


def decide_at_random(session: Session, dataset: Dataset, user: User, rng: random.Random) -> None:
    """One step of any kind; what is refused changes nothing."""
    images = list_images(session, dataset)
    classes = dataset_queries.list_classes(session, dataset.id)
    image, cls, other = rng.choice(images), rng.choice(classes), rng.choice(classes)
    steps = [
        lambda: decisions.decide(session, image=image, user=user, verdict="confirm"),
        lambda: decisions.decide(session, image=image, user=user, verdict="relabel", class_id=cls.id),
        lambda: decisions.decide(session, image=image, user=user, verdict="ambiguous", class_ids=[cls.id, other.id]),
        lambda: decisions.decide(session, image=image, user=user, verdict="exclude"),
        lambda: decisions.decide(session, image=image, user=user, verdict="restore"),
        lambda: decisions.decide(session, image=image, user=user, verdict="comment", text="hm"),
        lambda: decisions.submit(
            session,
            dataset=dataset,
            user=user,
            lines=[
                Line("split", each.id, detail={"split": rng.choice(["train", "validation", None])})
                for each in images[:3]
            ],
        ),
        lambda: datasets.edit_class(session, dataset=dataset, user=user, cls=cls, name=f"c{rng.random()}"),
        lambda: datasets.merge_class(session, dataset=dataset, user=user, cls=cls, into=other),
        lambda: datasets.retire_class(session, dataset=dataset, user=user, cls=cls),
        lambda: datasets.restore_class(session, dataset=dataset, user=user, cls=cls),
        lambda: datasets.add_class(session, dataset=dataset, user=user, name=f"n{rng.random()}"),
        lambda: undo_any(session, dataset, user, rng),
        lambda: undo_any(session, dataset, user, rng),
        lambda: decisions.undo_last(session, dataset=dataset, user=user),
        lambda: decisions.redo_last(session, dataset=dataset, user=user),
    ]
    try:
        with session.begin_nested():
            rng.choice(steps)()
    except WorkbenchError:
        session.expire_all()


def undo_any(session: Session, dataset: Dataset, user: User, rng: random.Random) -> None:
    actions = session.scalars(select(Decision.action).where(Decision.dataset_id == dataset.id)).all()
    if actions:
        decisions.undo(session, dataset=dataset, user=user, action=rng.choice(actions))


@pytest.mark.parametrize("seed", range(6))
def test_every_old_version_is_rebuilt_as_it_was(session: Session, pets: Dataset, bob: User, seed: int) -> None:
    rng = random.Random(seed)
    seen = {0: versions.states_at(session, pets)}
    for _ in range(60):
        decide_at_random(session, pets, bob, rng)
        seen[head(session, pets)] = versions.states_at(session, pets)

    assert checks.check(session, pets).datasets[0].differences == ()
    assert len(seen) > 25
    for decision_id, rows in seen.items():
        assert versions.states_at(session, pets, decision_id) == rows


@pytest.mark.parametrize("seed", range(4))
def test_diff_names_what_comparing_all_images_finds(session: Session, pets: Dataset, bob: User, seed: int) -> None:
    rng = random.Random(100 + seed)
    points = [0]
    for _ in range(40):
        decide_at_random(session, pets, bob, rng)
        points.append(head(session, pets))
    for _ in range(10):
        old, new = sorted(rng.sample(points, 2))
        before = {row.image_id: row for row in versions.states_at(session, pets, old)}
        after = {row.image_id: row for row in versions.states_at(session, pets, new)}
        expected = [
            key
            for key in before
            if (before[key].content, before[key].class_id) != (after[key].content, after[key].class_id)
        ]

        found = versions.diff(session, pets, old, new)

        assert [change.image_id for change in found.changes] == expected
        assert found.total == len(expected)
        assert all(change.decisions for change in found.changes)
        assert all(old < line.id <= new for change in found.changes for line in change.decisions)


def test_the_hash_follows_the_content_and_returns_with_undo(session: Session, pets: Dataset, bob: User) -> None:
    image = list_images(session, pets)[0]
    first = versions.content_hash(session, pets)

    relabel(session, image, bob, "dog")
    second = versions.content_hash(session, pets)
    decisions.undo_last(session, dataset=pets, user=bob)

    assert first != second
    assert versions.content_hash(session, pets) == first
    assert versions.content_hash(session, pets, 1) == second
    assert versions.content_hash(session, pets, 0) == first
    assert len(first) == 64


def test_the_hash_does_not_depend_on_the_order_or_the_data_set(session: Session, pets: Dataset) -> None:
    rows = versions.states_at(session, pets)
    assert versions.hash_rows(rows) == versions.hash_rows(list(reversed(rows)))
    renamed = [row._replace(image_id=row.image_id + 50, path="x" + row.path) for row in rows]
    assert versions.hash_rows(renamed) == versions.hash_rows(rows)
    assert versions.hash_rows(rows[1:]) != versions.hash_rows(rows)


def test_images_belong_to_a_version_from_the_line_of_their_import(session: Session, pets: Dataset, bob: User) -> None:
    relabel(session, list_images(session, pets)[0], bob, "dog")
    old = head(session, pets)
    late = Import(dataset_id=pets.id, source="late", format="folder", options={}, status="running")
    session.add(late)
    session.flush()
    cat = class_id(session, pets, "cat")
    session.add(
        Image(
            dataset_id=pets.id, import_id=late.id, path="late.png", location="object", file_sha256="f",
            pixel_sha256="p", width=8, height=8, mode="L", media_type="image/png", size_bytes=1,
            first_label_id=cat, base_label_id=cat, label_id=cat,
        )
    )  # fmt: skip
    session.flush()
    assert len(versions.states_at(session, pets)) == 6  # the import is not done yet

    decisions.submit(session, dataset=pets, user=bob, lines=[Line("import", detail={"import": late.id})])
    late.status = "done"

    assert len(versions.states_at(session, pets)) == 7
    assert len(versions.states_at(session, pets, old)) == 6
    found = versions.diff(session, pets, old)
    assert [(change.before, change.after.path, change.decisions[0].kind) for change in found.changes] == [
        (None, "late.png", "import")
    ]
    assert versions.list_versions(session, pets)[0].reasons == ("import of late", "now")


def test_a_diff_is_paged_and_says_who_and_what(session: Session, pets: Dataset, bob: User, alice: User) -> None:
    images = list_images(session, pets)
    for image in images:
        decisions.decide(session, image=image, user=bob, verdict="exclude")
    decisions.undo_last(session, dataset=pets, user=bob)
    relabel(session, images[0], alice, "owl")

    first = versions.diff(session, pets, 0, limit=3)
    second = versions.diff(session, pets, 0, limit=3, after=first.next_after or 0)

    assert (first.total, [change.image_id for change in first.changes]) == (5, [image.id for image in images[:3]])
    assert ([change.image_id for change in second.changes], second.next_after) == ([images[3].id, images[4].id], None)
    change = first.changes[0]
    assert (change.before.label, change.after.label) == ("cat", "owl")
    assert [(line.user.name, line.kind) for line in change.decisions] == [("bob", "exclude"), ("alice", "relabel")]


def test_gold_and_open_opinions_are_neither_counted_nor_named(
    session: Session, pets: Dataset, alice: User, bob: User
) -> None:
    """Whoever could see them would know the gold images, and what others said blind."""
    first, second, *_ = images = list_images(session, pets)
    opinions.set_gold(session, dataset=pets, user=alice, image_ids=[first.id])
    queue = ask_several(session, pets, gold=[0])
    people = have_said(session, pets, queue, {"anna": "oo", "ben": "o"})
    item = session.scalars(select(QueueItem).where(QueueItem.image_id == second.id)).one()
    decisions.undo(session, dataset=pets, user=bob, action=say(session, pets, item, people["ben"], "o"))
    say(session, pets, item, people["ben"], "o")
    relabel(session, first, alice, "dog")
    before_last = head(session, pets)
    relabel(session, images[2], alice, "owl")

    for rows in (versions.states_at(session, pets, before_last), versions.states_at(session, pets)):
        assert [(row.label, row.decisions) for row in rows[:2]] == [("dog", 1), ("owl", 0)]
    told = [[line.kind for line in change.decisions] for change in versions.diff(session, pets, 0).changes]
    assert told == [["relabel"], [], ["relabel"]]

    queue.closed_at = utc_now()
    session.flush()
    told = [[line.kind for line in change.decisions] for change in versions.diff(session, pets, 0).changes]
    assert told == [["relabel"], ["opinion", "opinion", "undo", "opinion"], ["relabel"]]


def test_a_diff_across_a_merge_names_the_merge(session: Session, pets: Dataset, alice: User) -> None:
    cat, dog = datasets.get_class(session, pets, "cat"), datasets.get_class(session, pets, "dog")
    action = datasets.merge_class(session, dataset=pets, user=alice, cls=cat, into=dog)
    merged = head(session, pets)
    decisions.undo(session, dataset=pets, user=alice, action=action)

    forth, back = versions.diff(session, pets, 0, merged), versions.diff(session, pets, merged)

    assert [(c.before.label, c.after.label, c.decisions[0].kind) for c in forth.changes] == [
        ("cat", "dog", "class_merge")
    ] * 2
    assert [(c.before.label, c.after.label, c.decisions[0].kind) for c in back.changes] == [("dog", "cat", "undo")] * 2
    assert versions.diff(session, pets, 0).changes == ()


def test_versions_that_are_not_there_are_refused(session: Session, pets: Dataset) -> None:
    with pytest.raises(NotFound, match="pets has no version 7; its newest is 0"):
        versions.states_at(session, pets, 7)
    with pytest.raises(NotFound, match="older version first"):
        versions.diff(session, pets, 3, 1)


def test_an_empty_data_set_has_a_version(session: Session) -> None:
    empty = datasets.ensure_dataset(session, "empty")
    assert versions.states_at(session, empty) == []
    assert versions.content_hash(session, empty) == versions.hash_rows([])
    assert [point.reasons for point in versions.list_versions(session, empty)] == [("now",)]


def test_ambiguous_images_carry_all_their_classes(session: Session, pets: Dataset, bob: User) -> None:
    image = list_images(session, pets)[0]
    ids = [class_id(session, pets, name) for name in ("owl", "cat")]
    decisions.decide(session, image=image, user=bob, verdict="ambiguous", class_ids=ids)

    row = versions.states_at(session, pets)[0]

    assert (row.label, row.class_id, row.status, row.decisions) == ("cat|owl", None, "ambiguous", 1)


def test_two_data_sets_do_not_mix(session: Session, pets: Dataset, bob: User) -> None:
    other = make_pets(session, name="other")
    relabel(session, list_images(session, other)[0], bob, "dog")
    assert [row.label for row in versions.states_at(session, pets)] == ["cat", "cat", "dog", "dog", "owl", "owl"]
    assert versions.diff(session, pets, 0).total == 0
