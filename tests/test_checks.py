"""The replay check agrees with what the services did and finds every difference that is planted."""

import random

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from tests.test_versions import decide_at_random, list_images, relabel
from workbench.models import Dataset, DuplicateGroup, DuplicateMember, Queue, QueueItem, User
from workbench.queries import decisions as log
from workbench.services import checks, decisions, duplicates
from workbench.services.decisions import Line


def list_differences(session: Session, dataset: Dataset) -> list[tuple[str, str, object, object]]:
    session.flush()
    session.expire_all()
    found = checks.check(session, dataset).datasets[0].differences
    return [(each.kind, each.column, each.stored, each.replayed) for each in found]


def add_queue(session: Session, dataset: Dataset, *, group: DuplicateGroup | None = None) -> list[QueueItem]:
    last = log.get_last_id(session, dataset_id=dataset.id)
    size = 1 if group else len(list_images(session, dataset))
    queue = Queue(dataset_id=dataset.id, recipe="random", title="r", size=size, after_line=last)
    session.add(queue)
    session.flush()
    items = [
        QueueItem(
            queue_id=queue.id, image_id=image.id, position=index, score=0.0, reason="r",
            group_id=group.id if group else None,
        )
        for index, image in enumerate(list_images(session, dataset)[: 1 if group else None])
    ]  # fmt: skip
    session.add_all(items)
    session.flush()
    return items


def add_group(session: Session, dataset: Dataset) -> DuplicateGroup:
    group = DuplicateGroup(
        dataset_id=dataset.id, key="k", kind="near", score=1.0, p=1.0, size=2, conflicting=False, spanning=False, rank=0
    )
    session.add(group)
    session.flush()
    return group


def test_a_fresh_data_set_agrees(session: Session, pets: Dataset) -> None:
    report = checks.check(session)
    assert report.ok
    assert [(each.dataset, each.images, each.decisions) for each in report.datasets] == [("pets", 6, 0)]


@pytest.mark.parametrize("seed", range(8))
def test_random_decisions_undos_and_redos_agree_with_their_replay(
    session: Session, pets: Dataset, bob: User, seed: int
) -> None:
    rng = random.Random(1000 + seed)
    for step in range(50):
        if step % 20 == 0:
            add_queue(session, pets)
        decide_at_random(session, pets, bob, rng)
        assert list_differences(session, pets) == []


PLANTED = {
    "UPDATE images SET label_id = 3 WHERE id = 1": ("image", "label_id", 3, 2),
    "UPDATE images SET base_label_id = 3 WHERE id = 1": ("image", "base_label_id", 3, 2),
    "UPDATE images SET status = 'excluded' WHERE id = 1": ("image", "status", "excluded", "active"),
    "UPDATE images SET split = NULL WHERE id = 1": ("image", "split", None, "train"),
    "UPDATE images SET label_source = 'imported' WHERE id = 1": ("image", "label_source", "imported", "decision"),
    "UPDATE images SET ambiguous_ids = '[1, 2]' WHERE id = 1": ("image", "ambiguous_ids", [1, 2], None),
    "UPDATE images SET revision = 77 WHERE id = 1": ("image", "revision", 77, 1),
    "UPDATE classes SET name = 'lynx' WHERE id = 1": ("class", "name", "lynx", "cat"),
    "UPDATE classes SET retired = 1 WHERE id = 1": ("class", "retired", True, False),
    "UPDATE classes SET position = 9 WHERE id = 1": ("class", "position", 9, 0),
    "UPDATE classes SET colour = '#000000' WHERE id = 1": ("class", "colour", "#000000", "#E69F00"),
    "UPDATE classes SET key = '' WHERE id = 1": ("class", "key", "", "1"),
    "UPDATE images SET disputed = 1 WHERE id = 1": ("image", "disputed", True, False),
    "UPDATE images SET gold_id = 2 WHERE id = 1": ("image", "gold_id", 2, None),
    "UPDATE images SET keeps_label = 1 WHERE id = 1": ("image", "keeps_label", True, False),
    "UPDATE queue_items SET done_action = 'other' WHERE id = 1": ("queue item", "done_action", "other", "a1"),
    "UPDATE queue_items SET done_line = 77 WHERE id = 1": ("queue item", "done_line", 77, 1),
    "UPDATE queue_items SET opinions = 2 WHERE id = 1": ("queue item", "opinions", 2, 0),
    "UPDATE queues SET done = 2": ("queue", "done", 2, 1),
    "UPDATE queues SET hits = 0": ("queue", "hits", 0, 1),
    "UPDATE queues SET size = 7": ("queue", "size", 7, 6),
    "UPDATE duplicate_groups SET settled_action = 'a1'": ("duplicate group", "settled_action", "a1", None),
    "UPDATE duplicate_groups SET verdict = 'keep_all'": ("duplicate group", "verdict", "keep_all", None),
}


def test_every_planted_difference_is_found_and_named(session: Session, pets: Dataset, bob: User) -> None:
    add_queue(session, pets)
    add_group(session, pets)
    image = list_images(session, pets)[0]
    decisions.decide(session, image=image, user=bob, verdict="relabel", class_id=2, action="a1")
    assert list_differences(session, pets) == []

    for statement, expected in PLANTED.items():
        with session.begin_nested() as savepoint:
            session.execute(text(statement))
            assert list_differences(session, pets) == [expected]
            savepoint.rollback()
    assert list_differences(session, pets) == []


def test_a_label_of_another_class_before_the_import_is_found(session: Session, pets: Dataset) -> None:
    session.execute(text("UPDATE images SET first_label_id = 3 WHERE id = 1"))
    assert list_differences(session, pets) == [("image", "base_label_id", 1, 3), ("image", "label_id", 1, 3)]


def test_a_decision_time_and_a_merge_are_replayed(session: Session, pets: Dataset, bob: User) -> None:
    relabel(session, list_images(session, pets)[0], bob, "dog")
    session.execute(text("UPDATE images SET decided_at = NULL WHERE id = 1"))
    session.execute(text("UPDATE classes SET merged_into_id = 2 WHERE id = 1"))
    found = list_differences(session, pets)
    assert [each[:3] for each in found] == [("class", "merged_into_id", 2), ("image", "decided_at", None)]


def test_a_difference_is_a_sentence(session: Session, pets: Dataset) -> None:
    session.execute(text("UPDATE images SET split = 'test' WHERE id = 1"))
    (found,) = checks.check(session, pets).datasets[0].differences
    assert found.sentence == "image 1 (cat/0.png): split is 'test', the log says 'train'"


def test_group_verdicts_and_their_items_follow_every_order_of_undo(session: Session, pets: Dataset, bob: User) -> None:
    group = add_group(session, pets)
    (item,) = add_queue(session, pets, group=group)

    def settle(verdict: str) -> str:
        line = Line("duplicates", detail={"group": "k", "verdict": verdict, "images": [1, 2]})
        return decisions.submit(session, dataset=pets, user=bob, lines=[line])

    def state() -> tuple[str | None, str | None]:
        assert list_differences(session, pets) == []
        return group.verdict, item.done_action

    first = settle("keep_all")
    assert state() == ("keep_all", first)
    second = settle("not_duplicates")
    assert state() == ("not_duplicates", second)
    undo_first = decisions.undo(session, dataset=pets, user=bob, action=first)
    assert state() == ("not_duplicates", second)
    decisions.undo(session, dataset=pets, user=bob, action=second)
    assert state() == (None, None)
    decisions.undo(session, dataset=pets, user=bob, action=undo_first)
    assert state() == ("keep_all", first)


def test_a_row_that_points_nowhere_is_a_fault(session: Session, pets: Dataset) -> None:
    session.execute(text("PRAGMA defer_foreign_keys=ON"))
    session.execute(text("UPDATE images SET import_id = 999 WHERE id = 1"))

    report = checks.check(session)

    assert not report.ok
    assert report.faults == ("row 1 of images points at a row of imports that is not there",)
    session.rollback()


def test_an_item_reopened_keeps_an_earlier_verdict_that_stands_again(
    session: Session, pets: Dataset, bob: User
) -> None:
    items = add_queue(session, pets)
    image = list_images(session, pets)[0]
    early = relabel(session, image, bob, "dog")
    undo_early = decisions.undo(session, dataset=pets, user=bob, action=early)
    late = relabel(session, image, bob, "owl")
    decisions.undo(session, dataset=pets, user=bob, action=undo_early)

    decisions.undo(session, dataset=pets, user=bob, action=late)

    assert session.scalar(select(QueueItem.done_action).where(QueueItem.id == items[0].id)) == early
    assert list_differences(session, pets) == []


def test_a_group_that_a_scan_no_longer_forms_takes_its_items_along(session: Session, pets: Dataset, bob: User) -> None:
    group = add_group(session, pets)
    session.add_all([DuplicateMember(group_id=group.id, image_id=image_id, apart=False) for image_id in (1, 2)])
    (item,) = add_queue(session, pets, group=group)
    line = Line("duplicates", detail={"group": "k", "verdict": "keep_all", "images": [1, 2]})
    decisions.submit(session, dataset=pets, user=bob, lines=[line])
    queue = session.get_one(Queue, item.queue_id)
    assert (queue.size, queue.done, queue.hits) == (1, 1, 1)

    duplicates.refresh_near_groups(session, pets, [])

    assert (queue.size, queue.done, queue.hits) == (0, 0, 0)
    assert list_differences(session, pets) == []
