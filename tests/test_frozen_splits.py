"""A frozen split: who freezes it, what may not move or read it, what is refused, forced and then marked."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.conftest import make_pets
from tests.drawn import draw_png, make_stripes
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Conflict, Forbidden, Frozen, Invalid
from workbench.models import Dataset, Decision, Image, Queue, QueueItem, Run, User
from workbench.queries import datasets as dataset_queries
from workbench.queries import queues as queue_queries
from workbench.queries import runs as run_queries
from workbench.services import (
    automatic_queues,
    bulk_decisions,
    cards,
    checks,
    comparisons,
    decisions,
    evaluations,
    freezing,
    queue_plans,
    queues,
    runs,
    splits,
    sweeps,
    users,
    verdict_files,
)  # fmt: skip
from workbench.services.decisions import Line
from workbench.services.predictions import load_predictions
from workbench.services.verdict_files import VerdictRow
from workbench.worker import trainings
from workbench.worker.context import Context
from workbench.worker.imports import import_source

TINY: dict[str, Any] = {"image_size": 16, "threads": 1, "batch_size": 16, "precision": "float32"}


def images_of(session: Session, dataset: Dataset, split: str) -> list[Image]:
    query = select(Image).where(Image.dataset_id == dataset.id, Image.split == split)
    return list(session.scalars(query.order_by(Image.id)))


@pytest.fixture
def run(session: Session, home: Home, pets: Dataset, alice: User) -> Run:
    """Finished, with folds; it takes two cats, one in train and one in test, for dogs."""
    wrong = {"cat/0.png": "dog", "cat/1.png": "dog"}
    return add_run(session, home, dataset=pets, user=alice, folds=2, mistakes=wrong)


def freeze(session: Session, dataset: Dataset, user: User) -> None:
    freezing.freeze(session, dataset=dataset, user=user, reason="from now on")


# --- freezing ---------------------------------------------------------------------------------------------------


def test_a_lead_freezes_test_and_the_log_says_so(session: Session, pets: Dataset, alice: User) -> None:
    freeze(session, pets, alice)
    assert pets.frozen_split == "test"
    line = session.scalars(select(Decision)).one()
    assert (line.kind, line.detail) == ("freeze", {"split": "test", "images": 3, "reason": "from now on"})
    assert checks.check(session, pets).ok
    with pytest.raises(Conflict, match="frozen already"):
        freeze(session, pets, alice)
    with pytest.raises(Invalid, match="not undone"):
        decisions.undo(session, dataset=pets, user=alice, action=line.action)
    with pytest.raises(Invalid, match="nothing of yours"):
        decisions.undo_last(session, dataset=pets, user=alice)


def test_unfreezing_needs_a_reason_that_stays(session: Session, pets: Dataset, alice: User) -> None:
    freeze(session, pets, alice)
    with pytest.raises(Invalid, match="Say why"):
        freezing.unfreeze(session, dataset=pets, user=alice, reason="  ")
    freezing.unfreeze(session, dataset=pets, user=alice, reason="twelve copies found")
    assert pets.frozen_split is None
    events = freezing.list_events(session, pets)
    assert [(event.kind, event.by, event.reason) for event in events] == [
        ("unfreeze", "alice", "twelve copies found"), ("freeze", "alice", "from now on"),
    ]  # fmt: skip
    with pytest.raises(Conflict, match="No split"):
        freezing.unfreeze(session, dataset=pets, user=alice, reason="again")
    assert checks.check(session, pets).ok


def test_only_leads_freeze_and_only_what_measures(session: Session, pets: Dataset, alice: User, bob: User) -> None:
    with pytest.raises(Forbidden):
        freeze(session, pets, bob)
    with pytest.raises(Invalid, match="that is test"):
        freezing.freeze(session, dataset=pets, user=alice, split="train")
    for image in images_of(session, pets, "test"):
        image.split = "train"
    session.flush()
    with pytest.raises(Invalid, match="no test or validation"):
        freeze(session, pets, alice)
    images_of(session, pets, "train")[0].split = "validation"
    session.flush()
    freeze(session, pets, alice)
    assert pets.frozen_split == "validation"


def test_a_row_that_does_not_say_what_the_log_says_is_found(session: Session, pets: Dataset, alice: User) -> None:
    freeze(session, pets, alice)
    pets.frozen_split = None
    session.flush()
    report = checks.check(session, pets)
    assert [difference.column for each in report.datasets for difference in each.differences] == ["frozen_split"]


# --- moves ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "to"), [("train", "test"), ("test", "train"), ("test", None)])
def test_no_image_moves_in_or_out(session: Session, pets: Dataset, alice: User, place: str, to: str | None) -> None:
    image = images_of(session, pets, place)[0]
    freeze(session, pets, alice)
    with pytest.raises(Invalid, match="test is frozen: no image may move"):
        decisions.submit(session, dataset=pets, user=alice, lines=[Line("split", image.id, detail={"split": to})])
    other = images_of(session, pets, "train")[1]
    decisions.submit(session, dataset=pets, user=alice, lines=[Line("split", other.id, detail={"split": "validation"})])
    assert other.split == "validation"


def test_an_undo_does_not_move_images_out_either(session: Session, pets: Dataset, alice: User) -> None:
    image = images_of(session, pets, "train")[0]
    lines = [Line("split", image.id, detail={"split": "test"})]
    action = decisions.submit(session, dataset=pets, user=alice, lines=lines)
    freeze(session, pets, alice)
    with pytest.raises(Invalid, match="no image may move"), session.begin_nested():
        decisions.undo(session, dataset=pets, user=alice, action=action)
    session.expire_all()
    assert image.split == "test"
    freezing.unfreeze(session, dataset=pets, user=alice, reason="to put it back")
    decisions.undo(session, dataset=pets, user=alice, action=action)
    assert image.split == "train"


def test_the_builder_keeps_a_frozen_split_or_refuses(session: Session, alice: User) -> None:
    dataset = make_pets(session, per_class=20)
    freeze(session, dataset, alice)
    before = {image.id for image in images_of(session, dataset, "test")}
    with pytest.raises(Invalid, match="--test-from-existing"):
        splits.build_split(session, dataset=dataset, user=alice, train=0.8, validation=0.1, test=0.1)
    splits.build_split(session, dataset=dataset, user=alice, train=0.8, validation=0.2, test=0.0, keep="test")
    assert {image.id for image in images_of(session, dataset, "test")} == before
    assert len(images_of(session, dataset, "validation")) == 6


def test_no_import_adds_images_to_a_frozen_split(database: Database, home: Home, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for split in ("train", "test"):
        for number in range(2):
            path = source / split / "rows" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(draw_png("rows", seed=10 * len(split) + number))
    context = Context(database, home)
    import_source(context, source=str(source), dataset="lines")
    with database.write() as session:
        dataset = dataset_queries.get_dataset(session, "lines")
        freezing.freeze(session, dataset=dataset, user=users.ensure_admin(session))
    for split in ("train", "test"):
        (source / split / "rows" / "9.png").write_bytes(draw_png("rows", seed=90 + len(split)))
    answer_ = import_source(context, source=str(source), dataset="lines")
    assert answer_["imported"] == 1
    assert [each["path"] for each in answer_["refused"]] == ["test/rows/9.png"]
    assert "test is frozen" in answer_["refused"][0]["reason"]
    import_source(context, source=str(source / "test"), dataset="lines", split="validation")


# --- a model's own flags ----------------------------------------------------------------------------------------


def test_queues_of_flags_leave_frozen_images_out(
    session: Session, home: Home, pets: Dataset, alice: User, run: Run
) -> None:
    freeze(session, pets, alice)
    for recipe, params in (("label_issues", {}), ("confusion", {"cell": "cat:dog"}), ("uncertain", {})):
        plan = queue_plans.plan_queue(session, home, dataset=pets, recipe=recipe, run=run, **params)
        assert plan.without == "test"
        frozen = {image.id for image in images_of(session, pets, "test")}
        assert frozen & set(plan.image_ids) == set()
        with pytest.raises(Invalid, match="random sample"):
            queue_plans.plan_queue(session, home, dataset=pets, recipe=recipe, run=run, split="test", **params)
    for plan in automatic_queues.plan_automatic(session, home, dataset=pets, run=run):
        assert frozen & set(plan.image_ids) == set()


def test_a_random_sample_of_the_frozen_split_may_be_reviewed(
    session: Session, home: Home, pets: Dataset, alice: User, bob: User, run: Run
) -> None:
    freeze(session, pets, alice)
    queue = queues.build_queue(session, home, dataset=pets, recipe="random", split="test")
    item = session.scalars(select(QueueItem).where(QueueItem.queue_id == queue.id)).first()
    assert item is not None
    answer(session, item, bob)
    assert (pets.own_flags, item.done_action is not None) == (None, True)


def test_freezing_takes_open_items_out_of_queues_of_flags(
    session: Session, home: Home, pets: Dataset, alice: User, run: Run
) -> None:
    queue = queues.build_queue(session, home, dataset=pets, recipe="uncertain", run=run)
    drawn = queues.build_queue(session, home, dataset=pets, recipe="random")
    first = session.scalars(
        select(QueueItem).join(Image).where(QueueItem.queue_id == queue.id, Image.split == "test")
    ).first()
    assert first is not None
    answer(session, first, alice)
    assert freezing.freeze(session, dataset=pets, user=alice) == 2
    rows = {row.queue.id: row for row in queue_queries.list_queues(session, pets.id)}
    assert (rows[queue.id].queue.size, rows[queue.id].done, rows[drawn.id].queue.size) == (4, 1, 6)
    assert checks.check(session, pets).ok


def answer(session: Session, item: QueueItem, user: User, *, forced: str = "", verdict: str = "exclude") -> str:
    action = decisions.new_action()
    assert cards.decide(session, item=item, user=user, answer=cards.Answer(verdict, forced=forced, action=action))
    return action


def build_forced(session: Session, home: Home, dataset: Dataset, run: Run) -> tuple[Queue, QueueItem]:
    """A queue of flags that holds images of the frozen split, and the first of those."""
    plan = queue_plans.plan_queue(session, home, dataset=dataset, recipe="label_issues", run=run, force=True)
    queue = queues.open_queue(session, plan)
    query = select(QueueItem).join(Image).where(QueueItem.queue_id == queue.id, Image.split == dataset.frozen_split)
    return queue, session.scalars(query).one()


def test_a_card_on_a_frozen_image_is_refused_until_forced(
    session: Session, home: Home, pets: Dataset, alice: User, run: Run
) -> None:
    freeze(session, pets, alice)
    _, item = build_forced(session, home, pets, run)
    with pytest.raises(Frozen, match="own flags"):
        answer(session, item, alice)
    assert session.get_one(Image, item.image_id).status == "active"

    action = answer(session, item, alice, forced="a broken file")

    line = session.scalars(select(Decision).where(Decision.action == action)).one()
    assert line.detail == {"forced": {"split": "test", "reason": "a broken file"}}
    assert pets.own_flags == {"test": {"since": line.id, "images": 1, "reason": "a broken file"}}
    assert checks.check(session, pets).ok
    decisions.undo(session, dataset=pets, user=alice, action=action)
    assert pets.own_flags is None
    decisions.redo_last(session, dataset=pets, user=alice)
    assert pets.own_flags is not None
    assert checks.check(session, pets).ok


def test_a_sweep_over_frozen_images_is_refused_until_forced(
    session: Session, home: Home, pets: Dataset, alice: User, run: Run
) -> None:
    freeze(session, pets, alice)
    queue, item = build_forced(session, home, pets, run)
    image = session.get_one(Image, item.image_id)
    asked: dict[str, Any] = {
        "user": alice, "cls": dataset_queries.list_classes(session, pets.id)[1], "marks": {item.id: ""},
        "revisions": {item.id: image.revision}, "action": decisions.new_action(),
    }  # fmt: skip
    with pytest.raises(Frozen):
        sweeps.settle(session, pets, queue, **asked)
    assert sweeps.settle(session, pets, queue, **asked, forced="all dogs, plainly").number == 1
    assert (pets.own_flags or {})["test"]["images"] == 1


def test_many_images_chosen_by_what_a_model_says_are_refused_until_forced(
    session: Session, pets: Dataset, alice: User
) -> None:
    freeze(session, pets, alice)
    ids = [image.id for split in ("train", "test") for image in images_of(session, pets, split)]
    plan = bulk_decisions.plan(session, dataset=pets, verdict="exclude", image_ids=ids)
    asked: dict[str, Any] = {"dataset": pets, "user": alice, "stamp": plan.stamp}
    with pytest.raises(Frozen, match="3 of these images"):
        bulk_decisions.apply(session, plan, **asked, by_flags=True)
    bulk_decisions.apply(session, plan, **asked, by_flags=True, forced="blank")
    lines = list(session.scalars(select(Decision).where(Decision.kind == "exclude")))
    assert sum(line.detail is not None for line in lines) == 3
    assert (pets.own_flags or {})["test"]["images"] == 3


def test_a_file_of_verdicts_on_the_frozen_split_is_for_what_chance_drew(
    session: Session, home: Home, pets: Dataset, alice: User
) -> None:
    freeze(session, pets, alice)
    rows = [VerdictRow(2, "cat/1.png", "exclude", (), ""), VerdictRow(3, "cat/0.png", "confirm", (), "")]
    with pytest.raises(Frozen):
        verdict_files.decide_rows(session, dataset=pets, user=alice, rows=rows)
    verdict_files.decide_rows(session, dataset=pets, user=alice, rows=rows[1:])  # in train
    queues.build_queue(session, home, dataset=pets, recipe="random", split="test")
    verdict_files.decide_rows(session, dataset=pets, user=alice, rows=rows)
    assert pets.own_flags is None


def test_a_file_of_verdicts_can_be_forced(session: Session, pets: Dataset, alice: User) -> None:
    freeze(session, pets, alice)
    rows = [VerdictRow(2, "cat/1.png", "exclude", (), "seen"), VerdictRow(3, "cat/0.png", "confirm", (), "")]
    verdict_files.decide_rows(session, dataset=pets, user=alice, rows=rows, forced="listed by cleanlab")
    assert (pets.own_flags or {})["test"]["reason"] == "listed by cleanlab"
    assert checks.check(session, pets).ok


def test_the_mark_is_on_every_number_that_follows(
    session: Session, home: Home, pets: Dataset, alice: User, run: Run
) -> None:
    assert evaluations.evaluate_run(session, home, run)["cleaned_with_own_flags"] is False
    freeze(session, pets, alice)
    _, item = build_forced(session, home, pets, run)
    answer(session, item, alice, forced="a broken file")
    later = add_run(session, home, dataset=pets, user=alice)
    assert evaluations.evaluate_run(session, home, run)["cleaned_with_own_flags"] is True
    assert comparisons.compare(session, home, run_a=run, run_b=later)["cleaned_with_own_flags"] is True
    assert [each.config["evaluation"]["cleaned_with_own_flags"] for each in (run, later)] == [False, True]


# --- training ---------------------------------------------------------------------------------------------------


def test_no_training_chooses_its_epoch_by_a_frozen_validation_split(session: Session, home: Home, alice: User) -> None:
    dataset = make_stripes(session, home, splits=("train", "train", "validation"), name="lines")
    freeze(session, dataset, alice)
    for patience in (2, "2"):
        with pytest.raises(Invalid, match="stop early"):
            runs.create_run(session, dataset=dataset, user=alice, overrides={"patience": patience})
    created = runs.create_run(session, dataset=dataset, user=alice, overrides={"patience": 0})
    assert created.config["evaluation"] == {"split": "validation", "frozen": True, "cleaned_with_own_flags": False}


def train(context: Context, **asked: Any) -> dict[str, Any]:
    settings = {**TINY, **asked.pop("settings", {})}
    return trainings.train(context, **{"dataset": "stripes", "epochs": 1, "settings": settings, **asked})


@pytest.fixture
def context(database: Database, home: Home) -> Context:
    return Context(database, home)


def test_a_training_reads_a_frozen_validation_split_only_to_be_measured(database: Database, context: Context) -> None:
    with database.write() as session:
        dataset = make_stripes(session, context.home, splits=("train", "train", "validation"))
        freezing.freeze(session, dataset=dataset, user=users.ensure_admin(session))
    answer_ = train(context, folds=2)
    assert (answer_["counts"]["validation"], answer_["counts"]["evaluated"]) == (0, answer_["test"]["n"])
    lines = (context.home.run_folder(answer_["run"]) / "metrics.jsonl").read_text()
    assert '"validation_loss": null' in lines
    said = load_predictions(context.home, answer_["run"])
    with database.read() as session:
        frozen = {image.id for image in session.scalars(select(Image).where(Image.split == "validation"))}
        marked = session.scalars(select(Image.p_wrong).where(Image.split == "validation"))
        assert set(marked) == {None}
    in_frozen = np.isin(said.image_ids, sorted(frozen))
    assert np.isnan(said.p_wrong[in_frozen]).all()
    assert not np.isnan(said.p_wrong[~in_frozen]).any()


def test_a_training_does_not_begin_from_one_that_knows_the_frozen_split(database: Database, context: Context) -> None:
    with database.write() as session:
        dataset, admin = make_stripes(session, context.home), users.ensure_admin(session)
    first = train(context)["run"]
    with database.write() as session:
        dataset = dataset_queries.get_dataset(session, "stripes")
        splits.build_split(session, dataset=dataset, user=admin, train=0.6, validation=0.2, test=0.2, seed=5)
        freezing.freeze(session, dataset=dataset, user=admin)
    with pytest.raises(Invalid, match="which is frozen; start from another run"):
        train(context, from_run=first)
    with database.read() as session:
        assert run_queries.get_run(session, 2).status == "failed"


def test_a_list_of_own_images_is_kept_with_the_run(database: Database, context: Context) -> None:
    with database.write() as session:
        make_stripes(session, context.home)
    number = train(context)["run"]
    assert Path(context.home.run_folder(number) / "images.npz").exists()
