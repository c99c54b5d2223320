"""Queues that a worker computes: images whose labels would teach most, and those to label first of all."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from tests.commands import Answer, call
from tests.conftest import Browser, make_pets
from tests.test_queues import images_of, make_run
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Invalid, NothingToReview
from workbench.queries import datasets as dataset_queries
from workbench.queries import jobs as job_queries
from workbench.queries import queues as queries
from workbench.services import decisions, users
from workbench.services.predictions import Predictions, load_predictions, save_predictions
from workbench.services.queues import open_queue
from workbench.worker.choosing import plan_chosen
from workbench.worker.context import Context
from workbench.worker.handlers import handle

# of cat cat dog dog owl owl: sure of the first and the fifth, in doubt about the others
PROBS = [[0.9, 0.1, 0.0], [0.5, 0.4, 0.1], [0.4, 0.5, 0.1], [0.3, 0.6, 0.1], [0.0, 0.1, 0.9], [0.1, 0.3, 0.6]]


@pytest.fixture
def context(database: Database, home: Home) -> Context:
    return Context(database, home)


@pytest.fixture
def run_id(database: Database, home: Home) -> int:
    with database.write() as session:
        run = make_run(session, home, make_pets(session), PROBS, p_wrong=[0.1] * 6)
        give_features(home, run.id)
        return run.id


def give_features(home: Home, run_id: int) -> None:
    """The second and the third image look the same, all others differ."""
    said = load_predictions(home, run_id)
    features = np.eye(6, dtype=np.float16)
    features[2] = features[1]
    save_predictions(home, run_id, Predictions(**{**vars(said), "features": features}))


def choose(context: Context, **asked: object) -> tuple[list[int], list[str]]:
    """Places of the images in the data set, and the reasons, in the queue's order."""
    plan = plan_chosen(context, dataset="pets", **{"recipe": "active", "random": 0, **asked})
    with context.database.read() as session:
        first = images_of(session, dataset_queries.get_dataset(session, "pets"))[0].id
    return [row["image_id"] - first for row in plan.rows], [row["reason"] for row in plan.rows]


def test_the_most_doubtful_come_first_and_say_why(context: Context, run_id: int) -> None:
    places, reasons = choose(context, strategy="margin", limit=3)
    assert places == [1, 2, 3]
    assert reasons[0] == "The model hesitates between cat (0.50) and dog (0.40); labelled cat."


def test_the_default_takes_one_of_two_that_look_the_same(context: Context, run_id: int) -> None:
    places, reasons = choose(context, limit=3)
    assert len(places) == 3
    assert len({1, 2} & set(places)) == 1
    assert "; of the doubtful images like it this one, rare classes first; labelled" in reasons[0]


@pytest.mark.parametrize("strategy", ["margin_clusters", "entropy", "bald", "badge", "core-set", "typical"])
def test_every_strategy_chooses_and_says_why(context: Context, run_id: int, strategy: str) -> None:
    places, reasons = choose(context, strategy=strategy, limit=4)
    assert len(set(places)) == 4
    assert all(reason.endswith(".") and "{" not in reason for reason in reasons)


def test_the_same_is_chosen_again(context: Context, run_id: int) -> None:
    assert choose(context, limit=4) == choose(context, limit=4)


def test_budgets_by_the_class_that_the_run_predicts(context: Context, run_id: int) -> None:
    assert sorted(choose(context, per_class="owl:1, dog:1", strategy="margin")[0]) == [2, 5]
    assert sorted(choose(context, per_class="even", limit=3, strategy="margin")[0]) == [1, 2, 5]
    with pytest.raises(Invalid, match="write even, or CLASS:IMAGES"):
        choose(context, per_class="fish:3")


def test_unlabelled_images_are_chosen_from_where_there_are_any(
    context: Context, database: Database, run_id: int
) -> None:
    with database.write() as session:
        for image in images_of(session, dataset_queries.get_dataset(session, "pets"))[3:5]:
            image.label_id = image.base_label_id = None
    places, reasons = choose(context)
    assert sorted(places) == [3, 4]
    assert reasons[0].endswith("; not labelled.")
    assert sorted(choose(context, among="undecided")[0]) == [0, 1, 2, 3, 4, 5]


def test_what_was_decided_is_not_asked_again(context: Context, database: Database, run_id: int) -> None:
    with database.write() as session:
        admin = users.ensure_admin(session)
        for image in images_of(session, dataset_queries.get_dataset(session, "pets"))[:5]:
            decisions.decide(session, image=image, user=admin, verdict="confirm")
    assert choose(context)[0] == [5]
    with database.write() as session:
        last = images_of(session, dataset_queries.get_dataset(session, "pets"))[5]
        decisions.decide(session, image=last, user=users.ensure_admin(session), verdict="confirm")
    with pytest.raises(NothingToReview):
        choose(context)


def test_a_run_without_features_is_asked_for_doubt_only(context: Context, database: Database, home: Home) -> None:
    with database.write() as session:
        make_run(session, home, make_pets(session), PROBS)
    assert choose(context, strategy="margin", limit=1)[0] == [1]
    with pytest.raises(Invalid, match="came without features"):
        choose(context)


def test_a_frozen_split_is_left_out(context: Context, database: Database, run_id: int) -> None:
    with database.write() as session:
        dataset = dataset_queries.get_dataset(session, "pets")
        for place, image in enumerate(images_of(session, dataset)):
            image.split = "test" if place in (1, 2) else "train"
        dataset.frozen_split = "test"
    assert sorted(choose(context)[0]) == [0, 3, 4, 5]
    assert sorted(choose(context, force=True)[0]) == [0, 1, 2, 3, 4, 5]
    with pytest.raises(Invalid, match="test is frozen"):
        choose(context, split="test")


def test_a_share_is_drawn_at_random_and_the_limit_holds(context: Context, run_id: int) -> None:
    plan = plan_chosen(context, dataset="pets", recipe="active", strategy="margin", limit=2, random=50)
    assert (plan.size - plan.drawn, plan.drawn) == (2, 1)
    with context.database.write() as session:
        queue = open_queue(session, plan)
        assert [item.is_random for item in queries.list_ranked(session, queue.id, limit=None)] == [False, False, True]


def test_cold_start_needs_no_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Home, tmp_path: Path
) -> None:
    """Three kinds of picture, ten of each: the first three to label are one of each."""
    rng = np.random.default_rng(0)
    for kind in range(3):
        pattern = rng.integers(0, 200, (6, 6)).repeat(6, 0).repeat(6, 1)
        for number in range(10):
            noisy = pattern + rng.integers(0, 30, pattern.shape)
            place = tmp_path / "pictures" / f"kind{kind}" / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Picture.fromarray(noisy.astype(np.uint8)).save(place)

    def run(*arguments: object) -> Answer:
        return call(capsys, monkeypatch, *arguments, "--home", home.root)

    run("import", tmp_path / "pictures", "--dataset", "kinds")
    built = run("queue", "build", "cold-start", "--dataset", "kinds", "--limit", "3", "--json")
    assert built.document == {
        "queue": 1, "recipe": "cold_start", "size": 3, "random": 0, "expected_hits": None, "without": None,
    }  # fmt: skip
    items = run("queue", "items", "1", "--json").document["items"]
    assert {item["label"] for item in items} == {"kind0", "kind1", "kind2"}
    assert items[0]["reason"].startswith("One of each kind of picture, chosen without a model; labelled kind")


def test_the_job_opens_the_queue(context: Context, run_id: int) -> None:
    made = handle(context, "queue", {"dataset": "pets", "recipe": "active", "run": run_id, "limit": 2, "gold": 0})
    assert (made["recipe"], made["size"], made["without"]) == ("active", 2, None)
    with context.database.read() as session:
        assert queries.get_queue(session, made["queue"]).title == "To learn from"

    again = handle(context, "queue", {"dataset": "pets", "recipe": "active", "run": run_id, "limit": 2, "gold": 0})
    assert again == made  # a job that was killed at its very end is carried out twice


def test_a_lead_asks_for_it_in_the_browser(browser_as: Callable[[str], Browser], context: Context, run_id: int) -> None:
    lead = browser_as("lead")
    page = lead.get("/d/pets/").text
    assert "Images whose labels would teach the model most" in page

    asked = lead.post("/d/pets/queues/build", {"recipe": "active", "strategy": "margin", "limit": "2"})
    assert asked.status_code == 303
    assert "takes some seconds" in lead.get(asked.location).text
    with context.database.read() as session:
        (job,) = job_queries.list_open_jobs(session)
        assert (job.kind, job.params["strategy"], job.params["limit"]) == ("queue", "margin", 2)
    refused = lead.post("/d/pets/queues/build", {"recipe": "active", "per_class": "fish:3"})
    assert refused.status_code == 422
    assert "is no budget" in refused.text
