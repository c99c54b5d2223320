"""Any sweep, undone, leaves the data set as it was; redone, as the sweep left it; sent again, it counts once."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.conftest import make_pets
from tests.review_queues import add_queue
from workbench.db import Database
from workbench.models import Class, Image, Queue, QueueItem, utc_now
from workbench.services import checks, decisions, sweeps, users

MARKS = st.lists(st.sampled_from(["", "", "", "1", "2", "3", "later", "exclude"]), min_size=12, max_size=12)


def read_state(session: Session) -> list[Any]:
    """Everything a sweep can change but revisions, which only grow."""
    session.expire_all()
    images = [
        (image.id, image.label_id, image.status, image.label_source, image.disputed, image.decided_at)
        for image in session.scalars(select(Image).order_by(Image.id))
    ]
    items = [
        (item.id, item.done_action, item.hit) for item in session.scalars(select(QueueItem).order_by(QueueItem.id))
    ]
    return [images, items, [(queue.id, queue.done, queue.hits) for queue in session.scalars(select(Queue))]]


@pytest.mark.parametrize("suggest", ["dog", None])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(MARKS, min_size=1, max_size=3))
def test_sweep_and_undo(database: Database, suggest: str | None, rounds: list[list[str]]) -> None:
    with database.write() as session:
        bob = users.ensure_user(session, "bob", role="reviewer")
        dataset = make_pets(session, per_class=4)
        queue = add_queue(session, dataset, suggest=suggest)
        class_ids = [cls.id for cls in session.scalars(select(Class).where(Class.dataset_id == dataset.id))]
        states, actions = [read_state(session)], []
        for marks in rounds:
            grid = sweeps.make_sweep(session, dataset, queue, user=bob, now=utc_now())
            if not grid.cells or grid.cls is None:
                break
            said = {
                cell.item.id: str(class_ids[int(mark) - 1]) if mark.isdigit() else mark
                for cell, mark in zip(grid.cells, marks, strict=False)
            }
            asked: dict[str, Any] = {
                "user": bob, "cls": grid.cls, "marks": said, "action": grid.action,
                "revisions": {cell.item.id: cell.image.revision for cell in grid.cells},
            }  # fmt: skip
            settled = sweeps.settle(session, dataset, queue, **asked)
            assert (settled.number, settled.left) == (
                len([mark for mark in said.values() if mark != "later"]),
                len([mark for mark in said.values() if mark == "later"]),
            )
            if not settled.number:
                break
            states.append(read_state(session))
            actions.append(grid.action)
            assert sweeps.settle(session, dataset, queue, **asked) == settled
            assert read_state(session) == states[-1]
        for action, before in zip(reversed(actions), reversed(states[:-1]), strict=True):
            assert decisions.undo_last(session, dataset=dataset, user=bob) == action
            assert read_state(session) == before
        for after in states[1:]:
            decisions.redo_last(session, dataset=dataset, user=bob)
            assert read_state(session) == after
        assert checks.check_dataset(session, dataset).differences == ()
        session.rollback()
