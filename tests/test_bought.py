"""What decisions bought: parts of the queues and the rest add up to the difference between the runs."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from tests.drawn import make_stripes
from workbench.config import Home
from workbench.db import open_database
from workbench.errors import NotFound
from workbench.models import Dataset, Image, Job, Queue
from workbench.queries import runs as queries
from workbench.services import bought, comparisons, datasets, decisions, users
from workbench.services.bought import OTHERS, Changes
from workbench.worker import buying, trainings
from workbench.worker.buying import weigh
from workbench.worker.context import Context

TINY: dict[str, Any] = {"image_size": 16, "threads": 1, "batch_size": 16, "precision": "float32"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """Run 1; then a queue in which two labels are confirmed and three changed, one of them back again, one label
    changed without a queue; run 2 is a head on run 1, promoted."""
    home = Home.at(tmp_path_factory.mktemp("bought") / "home")
    database = open_database(home)
    with database.write() as session:
        make_stripes(session, home, per_class=20)
    context = Context(database, home)
    trainings.train(context, dataset="stripes", epochs=2, settings=TINY)
    with database.write() as session:
        dataset = session.scalars(select(Dataset)).one()
        bob = users.ensure_user(session, "bob")
        queue = Queue(dataset_id=dataset.id, recipe="label_issues", title="Label issues", size=5)
        session.add(queue)
        session.flush()
        train = select(Image).where(Image.dataset_id == dataset.id, Image.split == "train").order_by(Image.id)
        images = list(session.scalars(train))
        blank = datasets.get_class(session, dataset, "blank").id
        others = [image for image in images if image.label_id != blank]
        for image in others[3:5]:
            decisions.decide(session, image=image, user=bob, verdict="confirm", queue_id=queue.id)
        for image in others[:3]:
            decisions.decide(session, image=image, user=bob, verdict="relabel", class_id=blank, queue_id=queue.id)
        decisions.undo_last(session, dataset=dataset, user=bob)
        decisions.decide(session, image=images[-1], user=bob, verdict="exclude")
    trainings.train(context, dataset="stripes", arch="head", from_run=1)
    with database.write() as session:
        session.get_one(Dataset, 1).promoted_run_id = 2
    yield context
    database.close()


def test_the_parts_and_the_rest_are_the_difference_that_the_comparison_shows(bench: Context) -> None:
    found = weigh(bench, dataset="stripes")

    with bench.database.read() as session:
        runs = [queries.get_run(session, number) for number in (1, 2)]
        compared = comparisons.compare(session, bench.home, run_a=runs[0], run_b=runs[1])
    assert (found["run"], found["against"], found["n"], found["split"]) == (2, 1, compared["n"], compared["split"])
    assert found["whole"] == {key: compared[key] for key in ("difference", "low", "high", "p")}
    total = sum(part["difference"] for part in found["parts"]) + found["rest"]["difference"]
    assert total == pytest.approx(compared["difference"], abs=1e-12)
    assert all(part["low"] <= part["difference"] <= part["high"] for part in (*found["parts"], found["rest"]))
    assert [(part["title"], part["decisions"], part["changed"]) for part in found["parts"]] == [
        ("Label issues", 4, 2), ("Outside of queues", 1, 1),
    ]  # fmt: skip
    assert found["sentence"].startswith("5 decisions changed 3 labels that run 2 learned from; on ")
    assert bought.load_bought(bench.home, 2) == found


def test_a_worker_asks_for_it_once_and_nothing_is_due_when_it_is_there(bench: Context) -> None:
    (bench.home.run_folder(2) / bought.FILE).unlink(missing_ok=True)
    with bench.database.write() as session:
        for _ in range(2):
            bought.ask_where_due(session, bench.home)
        jobs = list(session.scalars(select(Job).where(Job.kind == "bought")))
        assert [(job.params["dataset"], job.params["run"]) for job in jobs] == [("stripes", 2)]
        session.delete(jobs[0])
    weigh(bench, dataset="stripes")
    with bench.database.read() as session:
        assert bought.list_due(session, bench.home) == []


def test_a_first_run_bought_nothing(bench: Context) -> None:
    with pytest.raises(NotFound, match="No run before run 1 learned from fewer decisions"):
        weigh(bench, dataset="stripes", run=1)


def test_two_orders_share_what_two_queues_do_only_together() -> None:
    """Four test images: the first is right with the labels of both queues, the second with those of queue 8 alone."""
    none, both = np.zeros(4), np.array([1, 1, 0, 0])
    forward = [none, none, both]  # queue 7 first: it does nothing alone
    backward = [none, np.array([0, 1, 0, 0]), both]

    steps = bought._average((7, 8), forward, backward)

    assert {part: gain.tolist() for part, gain in steps.items()} == {7: [0.5, 0, 0, 0], 8: [0.5, 1, 0, 0]}


def test_labels_of_some_queues_alone() -> None:
    ids = np.arange(4)
    changes = Changes(ids, np.array([1, 1, 1, 0]), np.array([2, 2, 0, 3]), np.array([7, 8, 0, OTHERS]), (), {}, {})
    assert changes.labels_with([7]).tolist() == [2, 1, 1, 0]
    assert changes.labels_with([0, OTHERS]).tolist() == [1, 1, 0, 3]


def test_of_very_many_training_images_all_that_changed_stay_and_the_rest_keeps_its_weight() -> None:
    rows = np.arange(100_000)
    is_changed = rows % 20_000 == 7

    kept, weights = buying._thin(rows, is_changed)

    assert set(rows[is_changed]) <= set(kept)
    assert (len(kept), len(set(kept.tolist()))) == (buying.MOST_ROWS + 5, buying.MOST_ROWS + 5)
    assert weights.sum() == pytest.approx(100_000)
    assert set(weights[np.isin(kept, rows[is_changed])]) == {1.0}


def test_predictions_without_features_tell_the_whole_alone() -> None:
    assert bought._average((), [], []) == {}
