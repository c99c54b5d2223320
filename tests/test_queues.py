"""Queues: built, leased, counted, rebuilt by themselves."""

import threading
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, insert, select, text
from sqlalchemy.orm import Session

from tests.conftest import make_pets
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Invalid, NotFound
from workbench.models import Dataset, Image, Queue, QueueItem, Run, User, utc_now
from workbench.queries import queues as queries
from workbench.services import automatic_queues, datasets, decisions, leases, queue_mixing, queues
from workbench.services.predictions import Predictions, save_predictions

NOW = utc_now()


def images_of(session: Session, dataset: Dataset) -> list[Image]:
    return list(session.scalars(select(Image).where(Image.dataset_id == dataset.id).order_by(Image.id)))


def make_run(
    session: Session,
    home: Home,
    dataset: Dataset,
    probs: list[list[float]],
    *,
    out_of_sample: bool | list[bool] = True,
    p_wrong: list[float] | None = None,
) -> Run:
    """A finished run that says `probs` (columns cat, dog, owl) about the first images of the data set."""
    run = Run(
        dataset_id=dataset.id, arch="compact", preset="quick", config={}, status="done", decision_id=0, content_hash=""
    )
    session.add(run)
    session.flush()
    values = np.array(probs, np.float16)
    ranked = np.sort(values.astype(np.float32), axis=1)
    count = len(values)
    save_predictions(
        home,
        run.id,
        Predictions(
            image_ids=np.array([image.id for image in images_of(session, dataset)[:count]], np.int64),
            probs=values,
            out_of_sample=np.broadcast_to(np.array(out_of_sample), count).copy(),
            p_wrong=np.array([np.nan] * count if p_wrong is None else p_wrong, np.float32),
            suggested=values.argmax(1).astype(np.int64),
            entropy=(1 - ranked[:, -1]).astype(np.float32),
            margin=1 - (ranked[:, -1] - ranked[:, -2]),
            features=np.zeros((count, 2), np.float16),
            class_ids=np.array([cls.id for cls in datasets.queries.list_classes(session, dataset.id)], np.int64),
        ),
    )
    return run


def make_queue(session: Session, home: Home, dataset: Dataset) -> Queue:
    """All six images in a random order."""
    return queues.build_queue(session, home, dataset=dataset, recipe="random")


def positions(items: list[QueueItem]) -> list[int]:
    return [item.position for item in items]


def test_two_reviewers_never_get_the_same_item_and_leases_run_out(
    session: Session, home: Home, pets: Dataset, alice: User, bob: User
) -> None:
    queue = make_queue(session, home, pets)
    first = leases.next_item(session, queue=queue, user=alice, now=NOW)
    second = leases.next_item(session, queue=queue, user=bob, now=NOW)
    assert (first.position, second.position) == (0, 1)
    assert leases.next_item(session, queue=queue, user=alice, now=NOW).position == 0  # hers until she decides
    assert leases.next_item(session, queue=queue, user=alice, now=NOW, after=0).position == 2

    later = NOW + leases.LEASE
    assert leases.next_item(session, queue=queue, user=bob, now=later).position == 0
    assert leases.renew(session, item=first, user=alice, now=later) is False


def test_a_lease_from_before_the_clock_was_put_back_holds_nobody_up(
    session: Session, home: Home, pets: Dataset, alice: User, bob: User
) -> None:
    queue = make_queue(session, home, pets)
    leases.next_item(session, queue=queue, user=alice, now=NOW)
    earlier = NOW - timedelta(days=1)
    assert leases.next_item(session, queue=queue, user=bob, now=earlier).position == 0
    late_to_its_turn = earlier - timedelta(seconds=20)  # it read the clock before it waited
    assert leases.next_item(session, queue=queue, user=alice, now=late_to_its_turn).position == 1


def test_released_items_are_free_and_done_items_are_passed_by(
    session: Session, home: Home, pets: Dataset, alice: User, bob: User
) -> None:
    queue = make_queue(session, home, pets)
    assert positions(leases.lease_items(session, queue=queue, user=alice, now=NOW, count=4)) == [0, 1, 2, 3]
    assert positions(leases.lease_items(session, queue=queue, user=bob, now=NOW, count=4)) == [4, 5]
    assert leases.next_item(session, queue=queue, user=bob, now=NOW, after=5) is None

    for held in queries.list_items(session, queue.id):
        leases.give_back(session, item=held, user=alice)
    item = leases.next_item(session, queue=queue, user=bob, now=NOW)
    assert item.position == 0
    decisions.decide(session, image=item.image, user=bob, verdict="confirm", queue_id=queue.id)
    assert leases.next_item(session, queue=queue, user=bob, now=NOW).position == 1
    assert leases.renew(session, item=item, user=bob, now=NOW) is False


def test_eight_threads_empty_a_queue_without_meeting(database: Database, home: Home) -> None:
    with database.write() as session:
        dataset = make_pets(session, per_class=20)
        queue_id = make_queue(session, home, dataset).id
        people = [User(name=f"user{number}", role="reviewer") for number in range(8)]
        session.add_all(people)
        session.flush()
        user_ids = [user.id for user in people]
    seen: list[tuple[int, int]] = []

    def review(user_id: int) -> None:
        while True:
            with database.write() as session:
                user, queue = session.get_one(User, user_id), session.get_one(Queue, queue_id)
                item = leases.next_item(session, queue=queue, user=user, now=utc_now())
                if item is None:
                    return
                seen.append((user_id, item.image_id))
                image_id = item.image_id
            with database.write() as session:
                image, user = session.get_one(Image, image_id), session.get_one(User, user_id)
                decisions.decide(session, image=image, user=user, verdict="confirm")

    threads = [threading.Thread(target=review, args=(user_id,)) for user_id in user_ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 60
    assert len({image_id for _, image_id in seen}) == 60


def test_progress_counts_what_is_done_and_hits(
    session: Session, home: Home, pets: Dataset, alice: User, bob: User
) -> None:
    queue = make_queue(session, home, pets)
    images = [item.image for item in queries.list_items(session, queue.id)]
    other = next(cls.id for cls in pets.classes if cls.id != images[1].label_id)
    decisions.decide(session, image=images[0], user=bob, verdict="confirm")
    decisions.decide(session, image=images[1], user=bob, verdict="relabel", class_id=other)
    decisions.decide(session, image=images[2], user=alice, verdict="relabel", class_id=images[2].label_id)
    decisions.decide(session, image=images[3], user=alice, verdict="exclude")

    found = queries.get_progress(session, queue)
    assert (found.size, found.done, found.open, found.hits, found.hit_rate) == (6, 4, 2, 2, 0.5)
    assert (found.recent, found.recent_hits, found.recent_hit_rate) == (4, 2, 0.5)

    decisions.undo_last(session, dataset=pets, user=alice)
    found = queries.get_progress(session, queue)
    assert (found.done, found.hits) == (3, 1)


def test_progress_of_an_untouched_queue_has_no_rate(session: Session, home: Home, pets: Dataset) -> None:
    found = queries.get_progress(session, make_queue(session, home, pets))
    assert (found.done, found.hit_rate, found.recent_hit_rate) == (0, None, None)


def test_the_recent_rate_looks_at_the_last_fifty_decisions(session: Session, home: Home, bob: User) -> None:
    dataset = make_pets(session, per_class=20)
    queue = make_queue(session, home, dataset)
    for number, item in enumerate(queries.list_items(session, queue.id, limit=None)):
        verdict = "exclude" if number < 10 else "confirm"
        decisions.decide(session, image=item.image, user=bob, verdict=verdict)
    found = queries.get_progress(session, queue)
    assert (found.done, found.hits, found.recent, found.recent_hits) == (60, 10, 50, 0)


def test_an_item_is_found_by_its_image(session: Session, home: Home, pets: Dataset) -> None:
    queue = make_queue(session, home, pets)
    item = queries.list_items(session, queue.id)[2]
    assert queries.get_item_of_image(session, queue.id, item.image_id) is item
    assert queries.get_item_of_image(session, queue.id, 999) is None


def test_the_list_shows_open_and_done_and_closed_queues_on_demand(
    session: Session, home: Home, pets: Dataset, bob: User
) -> None:
    first, second = make_queue(session, home, pets), make_queue(session, home, pets)
    decisions.decide(session, image=images_of(session, pets)[0], user=bob, verdict="confirm")
    queues.close_queue(session, first)

    assert [(row.queue.id, row.open, row.done) for row in queries.list_queues(session, pets.id)] == [(second.id, 5, 1)]
    assert len(queries.list_queues(session, pets.id, closed=True)) == 2


def test_the_next_item_is_found_by_index_alone(session: Session, home: Home, pets: Dataset, bob: User) -> None:
    queue = make_queue(session, home, pets)
    statement = (
        select(QueueItem.id)
        .where(
            QueueItem.queue_id == queue.id,
            QueueItem.done_action.is_(None),
            QueueItem.position > -1,
            queries.is_free(user_id=bob.id, now=NOW),
        )
        .order_by(QueueItem.position)
        .limit(1)
    )
    compiled = str(statement.compile(session.get_bind(), compile_kwargs={"literal_binds": True}))
    plan = " ".join(row[3] for row in session.execute(text(f"EXPLAIN QUERY PLAN {compiled}")))
    assert "ix_queue_items_queue_id_done_action_position" in plan
    assert "TEMP B-TREE" not in plan


def test_a_long_queue_is_written_at_once_and_its_end_is_as_near_as_its_start(
    session: Session, home: Home, pets: Dataset, bob: User
) -> None:
    queue = make_queue(session, home, pets)
    image_id = images_of(session, pets)[0].id
    rows = [
        {"queue_id": queue.id, "image_id": image_id, "position": place, "score": 0.0, "reason": "", "done_action": "x"}
        for place in range(6, 10_000)
    ]
    session.execute(insert(QueueItem), rows)
    session.execute(insert(QueueItem), [{**rows[0], "position": 10_000, "done_action": None}])

    assert leases.next_item(session, queue=queue, user=bob, now=NOW, after=5).position == 10_000


def test_a_promoted_run_replaces_the_automatic_queues_and_leaves_others(
    session: Session, home: Home, pets: Dataset, bob: User
) -> None:
    # cat cat dog dog owl owl; the second cat and the first owl are taken for dogs
    probs = [[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.1, 0.6, 0.3], [0.1, 0.7, 0.2], [0.0, 0.1, 0.9]]
    own = make_queue(session, home, pets)
    first = automatic_queues.rebuild_automatic(session, home, dataset=pets, run=make_run(session, home, pets, probs))
    assert [(queue.recipe, queue.title, queue.size) for queue in first] == [
        ("label_issues", "Label issues", 2),
        ("confusion", "Labelled cat, predicted dog", 1),
        ("confusion", "Labelled owl, predicted dog", 1),
        ("uncertain", "Uncertain", 6),
    ]

    decisions.decide(session, image=images_of(session, pets)[1], user=bob, verdict="confirm")
    second = automatic_queues.rebuild_automatic(session, home, dataset=pets, run=make_run(session, home, pets, probs))
    assert [(queue.recipe, queue.size) for queue in second] == [("label_issues", 1), ("confusion", 1), ("uncertain", 5)]
    assert [row.queue.id for row in queries.list_queues(session, pets.id)] == [
        *(queue.id for queue in reversed(second)),
        own.id,
    ]


def test_a_run_that_has_seen_everything_opens_only_the_uncertain_queue(
    session: Session, home: Home, pets: Dataset
) -> None:
    run = make_run(session, home, pets, [[0.2, 0.5, 0.3]] * 6, out_of_sample=False)
    assert [queue.recipe for queue in automatic_queues.rebuild_automatic(session, home, dataset=pets, run=run)] == [
        "uncertain"
    ]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"recipe": "magic"}, "label-issues, confusion, uncertain"),
        ({"recipe": "random", "limit": 0}, "at least one"),
        ({"recipe": "random", "colour": "red"}, "knows no “colour”; it takes seed, split"),
        ({"recipe": "random", "seed": "many"}, "whole number"),
        ({"recipe": "random", "split": "half"}, "not a split"),
        ({"recipe": "random", "split": "validation"}, "nothing to review"),
        ({"recipe": "near-duplicates"}, "nothing to review"),
    ],
)
def test_bad_requests_are_refused_and_leave_no_queue(
    session: Session, home: Home, pets: Dataset, kwargs: dict[str, object], message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        queues.build_queue(session, home, dataset=pets, **kwargs)
    assert queries.list_queues(session, pets.id, closed=True) == []


def test_a_recipe_without_a_run_says_how_to_get_one(session: Session, home: Home, pets: Dataset) -> None:
    with pytest.raises(NotFound, match="workbench train --dataset pets"):
        queues.build_queue(session, home, dataset=pets, recipe="uncertain")


def test_the_promoted_run_is_used_else_the_newest_that_is_done(session: Session, home: Home, pets: Dataset) -> None:
    runs = [make_run(session, home, pets, [[0.2, 0.5, 0.3]]) for _ in range(3)]
    runs[2].status = "failed"
    session.flush()
    assert queries.get_run(session, pets, None) is runs[1]
    pets.promoted_run_id = runs[0].id
    assert queries.get_run(session, pets, None) is runs[0]
    with pytest.raises(NotFound):
        queries.get_run(session, make_pets(session, name="other"), runs[0].id)


def test_leases_last_ten_minutes() -> None:
    assert timedelta(minutes=10) == leases.LEASE


@pytest.mark.parametrize(
    ("p_wrong", "expected"),
    [
        (None, None),
        ([float("nan")] * 3, None),
        ([0.5, float("nan"), float("nan")], None),
        ([0.5, 0.7, float("nan")], 1.8),
        ([0.5, 0.7, 0.3], 1.5),
    ],
)
def test_expected_hits_are_not_thinned_by_images_without_p_wrong(
    p_wrong: list[float] | None, expected: float | None
) -> None:
    found = queue_mixing.expect_hits(None if p_wrong is None else np.array(p_wrong, np.float32))
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-6))


def test_what_is_held_is_looked_up_by_its_ids(session: Session, home: Home, pets: Dataset, alice: User) -> None:
    """An index of the queue would be read from end to end, a million items of it with every decision."""
    queue = make_queue(session, home, pets)
    plans: list[str] = []

    def explain(_connection: object, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("SELECT queue_items"):
            plans.extend(row[3] for row in cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    event.listen(session.get_bind(), "before_cursor_execute", explain)
    try:
        queries.list_holdable(session, queue.id, item_ids=[1, 2], user_id=alice.id, now=NOW)
    finally:
        event.remove(session.get_bind(), "before_cursor_execute", explain)
    assert plans[0] == "SEARCH queue_items USING INTEGER PRIMARY KEY (rowid=?)"
