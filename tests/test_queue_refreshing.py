"""Queues that follow the model and the verdicts: replaced, chosen anew, and nobody who works in them is disturbed."""

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from tests.conftest import Browser, make_pets
from tests.review_queues import BrowserAs
from tests.test_queues import images_of, make_run
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Invalid
from workbench.models import Dataset, Image, Queue, QueueItem, Run, User, utc_now
from workbench.queries import queues as queries
from workbench.services import automatic_queues, checks, decisions, leases, queue_plans, queue_refreshing, queues
from workbench.services.posteriors import Posteriors, save_posteriors
from workbench.services.predictions import load_predictions, save_predictions
from workbench.worker.process import close_left_queues

NOW = utc_now()
DOG = [0.1, 0.8, 0.1]


@pytest.fixture
def many(session: Session) -> Dataset:
    """Twenty cats, twenty dogs, twenty owls."""
    return make_pets(session, per_class=20, name="many")


def promote(session: Session, home: Home, dataset: Dataset, *, p_wrong: list[float] | None = None) -> Run:
    """A run that takes everything for a dog, promoted; its queues are open."""
    run = make_run(session, home, dataset, [DOG] * 60, p_wrong=p_wrong or np.linspace(0.9, 0.1, 60).tolist())
    dataset.promoted_run_id = run.id
    session.flush()
    automatic_queues.rebuild_automatic(session, home, dataset=dataset, run=run)
    return run


def teach(
    session: Session, home: Home, dataset: Dataset, run: Run, *, p_wrong: list[float], p_hit: list[float] | None = None
) -> None:
    """Verdicts taught another P(wrong); none for P(hit) as in files of old."""
    said = load_predictions(home, run.id)
    save_posteriors(
        home,
        run.id,
        Posteriors(
            image_ids=said.image_ids,
            probs=said.probs,
            p_wrong=np.array(p_wrong, np.float32),
            p_ambiguous=np.zeros(60, np.float32),
            suggested=said.suggested,
            class_ids=said.class_ids,
            decision_id=0,
            verdicts=50,
            random_verdicts=50,
            shrinkage=0.5,
            p_hit=np.array(p_hit or [], np.float32),
        ),
    )


def refresh(session: Session, home: Home, dataset: Dataset) -> queue_refreshing.Refreshed:
    return queue_refreshing.refresh(session, queue_refreshing.plan_refresh(session, home, dataset=dataset), now=NOW)


def open_queue_of(session: Session, dataset: Dataset, recipe: str) -> Queue:
    query = select(Queue).where(Queue.dataset_id == dataset.id, Queue.recipe == recipe, Queue.closed_at.is_(None))
    return session.scalars(query.order_by(Queue.id.desc())).first()


def items_of(session: Session, queue: Queue) -> list[QueueItem]:
    return queries.list_items(session, queue.id, limit=None)


# --- the random share --------------------------------------------------------------------------------------------


def test_a_queue_of_a_model_carries_images_that_chance_chose(session: Session, home: Home, many: Dataset) -> None:
    run = make_run(session, home, many, [DOG] * 60, p_wrong=np.linspace(0.9, 0.1, 60).tolist())
    queue = queues.build_queue(session, home, dataset=many, recipe="label_issues", run=run, limit=20, random=25)
    items = items_of(session, queue)
    ranked = queries.list_ranked(session, queue.id, limit=None)
    drawn = [item for item in items if item.is_random]

    assert (queue.size, len(drawn), len({item.image_id for item in items})) == (25, 5, 25)
    assert [item.is_random for item in ranked] == [False] * 20 + [True] * 5
    assert [item.p_wrong for item in ranked[:20]] == sorted((item.p_wrong for item in ranked[:20]), reverse=True)
    assert [item.is_random for item in items] != [item.is_random for item in ranked]  # reviewers meet them mixed in
    assert drawn[0].reason.startswith("Drawn at random, so that the rates stay honest; labelled ")
    assert queue.expected_hits == pytest.approx(sum(item.p_wrong for item in items), rel=1e-5)
    again = queue_plans.plan_queue(session, home, dataset=many, recipe="label_issues", run=run, limit=20, random=25)
    assert again.image_ids == [item.image_id for item in items]


def test_chance_chooses_from_all_images_whatever_the_model_thinks(session: Session, home: Home, many: Dataset) -> None:
    """Also from those that the recipe would have chosen, or the sample would speak of the others alone."""
    first, size = images_of(session, many)[0].id, 0
    counts = np.zeros(60)
    for seed in range(0, 60, 2):
        p_wrong = np.roll(np.linspace(0.9, 0.1, 60), seed).tolist()
        run = make_run(session, home, many, [DOG] * 60, p_wrong=p_wrong)
        plan = queue_plans.plan_queue(
            session, home, dataset=many, recipe="label_issues", run=run, limit=30, random=50, every=True
        )
        rows = [row for row in plan.rows if row["is_random"]]
        chosen = [row["image_id"] for row in plan.rows if not row["is_random"]]
        counts += np.bincount([(row["image_id"] - first - seed) % 60 for row in rows], minlength=60)
        size += len(rows)
        assert (len(rows), len(chosen), len({*plan.image_ids})) == (15, 30, 45)
    assert counts[:30].sum() / size == pytest.approx(0.5, abs=0.08)  # half of the images are the most suspicious half


@pytest.mark.parametrize(("recipe", "params"), [("random", {}), ("label_issues", {"random": 0})])
def test_no_share_where_chance_chose_already_or_none_is_wanted(
    session: Session, home: Home, many: Dataset, recipe: str, params: dict[str, Any]
) -> None:
    make_run(session, home, many, [DOG] * 60)
    plan = queue_plans.plan_queue(session, home, dataset=many, recipe=recipe, limit=30, **params)
    assert (plan.size, plan.drawn) == (30, 0)


# --- after another run is promoted -------------------------------------------------------------------------------


def test_cells_open_by_the_wrong_labels_to_be_expected(session: Session, home: Home, many: Dataset) -> None:
    """Twenty cats are taken for dogs and rightly labelled; five owls are, and are not."""
    probs = [DOG] * 20 + [[0.0, 1.0, 0.0]] * 20 + [DOG] * 5 + [[0.0, 0.0, 1.0]] * 15
    p_wrong = [0.1] * 20 + [0.0] * 20 + [0.9] * 5 + [0.0] * 15
    run = make_run(session, home, many, probs, p_wrong=p_wrong)
    cells = [
        (queue.params["cell"], queue.size, round(queue.expected_hits, 1))
        for queue in automatic_queues.rebuild_automatic(session, home, dataset=many, run=run)
        if queue.recipe == "confusion"
    ]
    assert [cell[:1] for cell in cells] == [("owl:dog",), ("cat:dog",)]
    assert cells[0][1:] == (5, 4.5)


def test_a_queue_on_which_somebody_works_outlives_the_next_promotion(
    session: Session, home: Home, many: Dataset, bob: User
) -> None:
    promote(session, home, many)
    old = open_queue_of(session, many, "label_issues")
    item = leases.next_item(session, queue=old, user=bob, now=NOW)
    promote(session, home, many)
    new = open_queue_of(session, many, "label_issues")

    left_open = [row.queue for row in queries.list_queues(session, many.id) if row.queue.run_id == old.run_id]
    assert (left_open, new.id != old.id) == ([old], True)
    assert automatic_queues.is_superseded(old, many)
    assert not automatic_queues.is_superseded(new, many)
    decisions.decide(session, image=item.image, user=bob, verdict="confirm", queue_id=old.id)
    following = leases.next_item(session, queue=old, user=bob, now=NOW, after=item.position)
    assert automatic_queues.close_superseded(session, now=NOW) == 0
    assert automatic_queues.close_superseded(session, now=following.lease_until) == 1
    assert (old.closed_at is None, new.closed_at) == (False, None)


def test_what_is_settled_while_queues_are_planned_does_not_enter_them(
    session: Session, home: Home, many: Dataset, bob: User
) -> None:
    run = make_run(session, home, many, [DOG] * 60, p_wrong=np.linspace(0.9, 0.1, 60).tolist())
    plans = automatic_queues.plan_automatic(session, home, dataset=many, run=run)
    image = images_of(session, many)[0]
    decisions.decide(session, image=image, user=bob, verdict="confirm")
    many.promoted_run_id = run.id
    for queue in automatic_queues.replace_automatic(session, plans=plans, now=NOW):
        items = items_of(session, queue)
        assert image.id not in [item.image_id for item in items]
        assert queue.size == len(items)


def say(browser: Browser, queue_id: int, *answers: dict[str, Any], holding: list[int], want: int = 2) -> dict[str, Any]:
    sent = browser.client.post(
        f"/d/many/queues/{queue_id}/answers",
        json={"answers": list(answers), "holding": holding, "want": want},
        headers={"X-CSRFToken": browser.token},
    )
    assert sent.status_code == 200
    found: dict[str, Any] = sent.get_json()
    return found


def confirm(item_id: int) -> dict[str, Any]:
    return {"action": uuid.uuid4().hex, "item": item_id, "kind": "decide", "verdict": "confirm", "revision": 0}


def test_a_reviewer_goes_on_while_a_run_is_promoted_and_the_queue_closes_behind_them(
    database: Database, home: Home, browser_as: BrowserAs
) -> None:
    with database.write() as session:
        dataset = make_pets(session, per_class=20, name="many")
        promote(session, home, dataset)
        queue_id = open_queue_of(session, dataset, "label_issues").id
    ann = browser_as("reviewer")
    first, second = (card["item"] for card in say(ann, queue_id, holding=[])["cards"])
    with database.write() as session:
        promote(session, home, session.get_one(Dataset, dataset.id))
    close_left_queues(database)  # as the worker does now and then

    found = say(ann, queue_id, confirm(first), holding=[second], want=1)
    assert [result["status"] for result in found["results"]] == ["saved"]
    assert (len(found["cards"]), found["lost"], found["ending"], found["done"]) == (1, [], "", 1)
    lead = browser_as("lead")
    assert "of an earlier run" in lead.get("/d/many/").get_data(as_text=True)

    with database.write() as session:  # the page was left an hour ago; its last answer comes when it is back
        for item in session.scalars(select(QueueItem).where(QueueItem.lease_user_id.is_not(None))):
            item.lease_until = utc_now() - timedelta(hours=1)
    close_left_queues(database)
    late = say(ann, queue_id, confirm(second), holding=[])
    assert ([result["status"] for result in late["results"]], late["cards"]) == (["saved"], [])
    assert "of an earlier run" not in lead.get("/d/many/").get_data(as_text=True)
    with database.read() as session:
        assert session.get_one(Queue, queue_id).closed_at is not None
        assert checks.check(session).ok


# --- after verdicts taught something -----------------------------------------------------------------------------


def test_open_items_follow_what_verdicts_taught(
    session: Session, home: Home, many: Dataset, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(automatic_queues.LIMITS, "label_issues", 20)
    run = promote(session, home, many)
    queue = open_queue_of(session, many, "label_issues")
    before = items_of(session, queue)
    scored = [item for item in before if not item.is_random]
    drawn = {item.image_id for item in before if item.is_random}
    decisions.decide(session, image=scored[0].image, user=bob, verdict="exclude", queue_id=queue.id)
    held = [item for item in leases.lease_items(session, queue=queue, user=bob, now=NOW, count=3) if not item.is_random]
    elsewhere = images_of(session, many)[59]  # the most suspicious by now, but settled elsewhere
    decisions.decide(session, image=elsewhere, user=bob, verdict="confirm")
    teach(session, home, many, run, p_wrong=np.linspace(0.1, 0.9, 60).tolist())
    staying = {scored[0].image_id, *(item.image_id for item in held)}
    places = {item.id: item.position for item in held}

    refresh(session, home, many)
    session.expire_all()
    items = items_of(session, queue)
    fresh = [item for item in items if not item.is_random and item.image_id not in staying]

    assert queue.size == len(items) == 20 + len(drawn)
    assert {item.image_id for item in items if item.is_random} == drawn
    assert {item.id: item.position for item in items if item.id in places} == places
    assert [item.image_id for item in fresh] == expected_order(session, many, but=staying | drawn | {elsewhere.id})
    assert elsewhere.id not in [item.image_id for item in fresh]
    p_of = dict(zip([image.id for image in images_of(session, many)], np.linspace(0.1, 0.9, 60), strict=True))
    assert [item.p_wrong for item in items if item.is_random and item not in held] == pytest.approx(
        [p_of[item.image_id] for item in items if item.is_random and item not in held]
    )
    told = sum(p_of[item.image_id] for item in items if item.done_action is None)
    assert queue.expected_hits == pytest.approx(queue.hits + told)
    assert leases.lease_items(session, queue=queue, user=bob, now=NOW, count=len(held)) == held
    assert checks.check(session).ok


def expected_order(session: Session, dataset: Dataset, *, but: set[int]) -> list[int]:
    """Those that the model takes for something else, the last of the data set first, to the queue's limit."""
    ids = [image.id for image in images_of(session, dataset) if image.id not in but]
    return list(reversed(ids))[: 20 - 1 - 3] if ids else []


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_cell_that_is_no_longer_worth_it_closes_unless_somebody_began_it(
    session: Session, home: Home, many: Dataset, bob: User, monkeypatch: pytest.MonkeyPatch, is_begun: bool
) -> None:
    monkeypatch.setattr(automatic_queues, "CELLS", 1)
    run = promote(session, home, many)
    (cell,) = [queue for queue in queries.list_automatic(session, many.id) if "cell" in queue.params]
    first, second, *_ = items_of(session, cell)
    assert cell.params["cell"] == "cat:dog"
    decisions.decide(session, image=first.image, user=bob, verdict="confirm", queue_id=cell.id if is_begun else None)
    teach(session, home, many, run, p_wrong=[0.1] * 40 + [0.9] * 20)
    done = refresh(session, home, many)
    assert (done.opened, done.closed) == ((1, 0) if is_begun else (1, 1))
    assert (cell.closed_at is None, second.done_action) == (is_begun, None)
    cells = [queue.params["cell"] for queue in queries.list_automatic(session, many.id) if "cell" in queue.params]
    assert cells == (["cat:dog", "owl:dog"] if is_begun else ["owl:dog"])


def test_a_queue_that_a_lead_closed_does_not_come_back(session: Session, home: Home, many: Dataset) -> None:
    run = promote(session, home, many)
    queues.close_queue(session, open_queue_of(session, many, "label_issues"))
    teach(session, home, many, run, p_wrong=[0.9] * 60)
    assert refresh(session, home, many).opened == 0
    assert open_queue_of(session, many, "label_issues") is None


def test_queues_built_by_hand_keep_their_images_and_learn_what_is_believed(
    session: Session, home: Home, many: Dataset
) -> None:
    run = promote(session, home, many)
    queue = queues.build_queue(session, home, dataset=many, recipe="label_issues", limit=5)
    before = [item.image_id for item in items_of(session, queue)]
    teach(session, home, many, run, p_wrong=[0.5] * 60)
    refresh(session, home, many)
    session.expire_all()
    items = items_of(session, queue)
    assert [item.image_id for item in items] == before
    assert ([item.p_wrong for item in items], queue.expected_hits) == ([0.5] * 5, 2.5)


def test_a_queue_promises_what_the_next_reviewer_will_change(session: Session, home: Home, many: Dataset) -> None:
    run = promote(session, home, many)
    by_hand = queues.build_queue(session, home, dataset=many, recipe="label_issues", limit=5)
    p_hit = np.linspace(0.2, 0.8, 60)
    p_of = dict(zip([image.id for image in images_of(session, many)], p_hit.tolist(), strict=True))
    session.execute(update(Image).values(p_wrong=0.9))  # as the worker does
    teach(session, home, many, run, p_wrong=[0.9] * 60, p_hit=p_hit.tolist())
    refresh(session, home, many)
    for queue in (by_hand, open_queue_of(session, many, "uncertain")):
        told = sum(p_of[item.image_id] for item in items_of(session, queue))
        assert queue.expected_hits == pytest.approx(told, rel=1e-5)
        assert [item.p_wrong for item in items_of(session, queue)] == pytest.approx([0.9] * queue.size)
    asked: list[tuple[str, dict[str, Any]]] = [
        ("uncertain", {}),
        ("random", {"limit": 7}),
        ("filter", {"label": "owl", "sort": "decided"}),
    ]
    for recipe, params in asked:
        plan = queue_plans.plan_queue(session, home, dataset=many, recipe=recipe, **params)
        assert plan.expected_hits == pytest.approx(sum(p_of[image_id] for image_id in plan.image_ids), rel=1e-5)


def test_nothing_is_written_for_a_run_that_is_no_longer_promoted(session: Session, home: Home, many: Dataset) -> None:
    assert refresh(session, home, many) == queue_refreshing.Refreshed(0, 0, 0)
    promote(session, home, many)
    plan = queue_refreshing.plan_refresh(session, home, dataset=many)
    promote(session, home, many)
    before = session.scalar(select(func.sum(QueueItem.id)))
    assert queue_refreshing.refresh(session, plan, now=NOW) == queue_refreshing.Refreshed(0, 0, 0)
    assert session.scalar(select(func.sum(QueueItem.id))) == before


# --- where opinions differ ---------------------------------------------------------------------------------------


def test_what_reviewers_settled_and_the_model_denies(session: Session, home: Home, pets: Dataset, bob: User) -> None:
    sure, unsure = [0.05, 0.9, 0.05], [0.3, 0.4, 0.3]
    run = make_run(session, home, pets, [sure, unsure, sure, sure, sure, sure], out_of_sample=[True] * 5 + [False])
    images = images_of(session, pets)
    for place in (0, 1, 2, 4, 5):
        decisions.decide(session, image=images[place], user=bob, verdict="confirm")
    plan = queue_plans.plan_queue(session, home, dataset=pets, recipe="contradicted", run=run)
    assert plan.image_ids == [images[0].id, images[4].id]
    assert plan.rows[0]["reason"] == "A model that has not seen it says dog (0.90); reviewers said cat."
    assert plan.expected_hits is None
    doubtful = queue_plans.plan_queue(session, home, dataset=pets, recipe="contradicted", run=run, least="0.3")
    assert doubtful.image_ids == [images[0].id, images[4].id, images[1].id]


def test_what_a_fold_and_the_model_itself_see_differently(session: Session, home: Home, pets: Dataset) -> None:
    """Of cat cat dog dog owl owl: while it learned the model said cat of all, in the middle of the two it is noted."""
    folds = np.array([[0.8, 0.2, 0], [0.1, 0.9, 0], [0.3, 0.7, 0], [0.1, 0.9, 0], [0.8, 0.2, 0], [0.1, 0.9, 0]])
    run = make_run(session, home, pets, folds.tolist(), out_of_sample=[True] * 5 + [False])
    said = load_predictions(home, run.id)
    with pytest.raises(Invalid, match="has no folds that could disagree"):
        queue_plans.plan_queue(session, home, dataset=pets, recipe="folds", run=run)
    own = np.array([[0.8, 0.2, 0], [0.9, 0.1, 0], [0.8, 0.2, 0], [0.1, 0.9, 0], [0.8, 0.2, 0], [0.9, 0.1, 0]])
    save_predictions(home, run.id, replace(said, witness=((folds + own) / 2).astype(np.float16)))
    plan = queue_plans.plan_queue(session, home, dataset=pets, recipe="folds", run=run)
    images = images_of(session, pets)
    assert plan.image_ids == [images[1].id, images[2].id]
    assert plan.rows[0]["reason"] == (
        "A fold that has not seen it says dog (0.90), the model, while it learned, cat (0.90); labelled cat."
    )


def test_a_run_without_folds_opens_cells_by_what_it_said_while_it_learned(
    session: Session, home: Home, pets: Dataset
) -> None:
    sure = [[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [0, 1.0, 0], [0, 0, 1.0], [0, 0, 1.0]]  # it knows them by heart
    run = make_run(session, home, pets, sure, out_of_sample=False, p_wrong=[0.1, 0.8, 0.1, 0.1, 0.1, 0.1])
    witness = np.array(sure, np.float16)
    witness[1] = [0.2, 0.7, 0.1]
    save_predictions(home, run.id, replace(load_predictions(home, run.id), witness=witness))
    plans = {plan.recipe: plan for plan in automatic_queues.plan_automatic(session, home, dataset=pets, run=run)}
    cell = plans["confusion"]
    assert (cell.title, cell.image_ids) == ("Labelled cat, predicted dog", [images_of(session, pets)[1].id])
    assert cell.rows[0]["reason"] == "Labelled cat, predicted dog with 0.70 while the model learned from it."


def test_what_reviewers_contradict_each_other_about(
    session: Session, home: Home, pets: Dataset, alice: User, bob: User
) -> None:
    carol = User(name="carol", role="reviewer")
    session.add(carol)
    session.flush()
    image: Image = images_of(session, pets)[3]
    decisions.decide(session, image=image, user=bob, verdict="confirm")
    decisions.decide(session, image=image, user=carol, verdict="relabel", class_id=images_of(session, pets)[0].label_id)
    plan = queue_plans.plan_queue(session, home, dataset=pets, recipe="disputed", opinions=3)
    assert (plan.image_ids, plan.rows[0]["reason"]) == (
        [image.id],
        "Reviewers contradict each other; labelled cat for now.",
    )
