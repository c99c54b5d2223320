"""Learning from verdicts: what is due, what it changes, what the pages and queues get."""

import numpy as np
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.commands import call
from tests.conftest import make_pets
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Invalid
from workbench.models import Image, Job
from workbench.queries import datasets as dataset_queries
from workbench.services import datasets, decisions, learning, runs, users
from workbench.services.decisions import Line
from workbench.services.posteriors import find_posteriors, load_judged
from workbench.services.predictions import load_predictions
from workbench.worker.context import Context
from workbench.worker.learning import learn, learn_if_due

PER_CLASS = 60


@pytest.fixture
def judged(database: Database, home: Home) -> Context:
    """180 images in three classes and a promoted run with folds that disputes ten labels of each class."""
    with database.write() as session:
        user = users.ensure_admin(session)
        dataset = make_pets(session, per_class=PER_CLASS)
        other = {"cat": "dog", "dog": "owl", "owl": "cat"}
        mistakes = {f"{name}/{number}.png": other[name] for name in other for number in range(10)}
        run = add_run(session, home, dataset=dataset, user=user, mistakes=mistakes, folds=4)
        runs.promote(session, home, run)
    return Context(database, home)


def list_images(session: Session) -> list[Image]:
    return list(session.scalars(select(Image).order_by(Image.id)))


def settle(context: Context, *, first: int, last: int, wrong: str = "cat", verdict: str = "relabel") -> None:
    """Verdicts on the images first to last of each class: those of the class `wrong` are all dogs, others are right."""
    with context.database.write() as session:
        dataset = dataset_queries.get_dataset(session, "pets")
        user = users.ensure_user(session, "bob")
        dog = next(cls for cls in dataset.classes if cls.name == "dog")
        actions = []
        for image in list_images(session):
            name, number = image.path.removesuffix(".png").split("/")
            if first <= int(number) <= last:
                said = verdict if name == wrong else "confirm"
                class_id = {"relabel": dog.id, "confirm": image.label_id}.get(said)
                actions.append([Line(said, image_id=image.id, class_id=class_id)])
        decisions.submit_each(session, dataset=dataset, user=user, actions=actions)


def p_wrong_of(context: Context, name: str, *, since: int) -> list[float]:
    with context.database.read() as session:
        return [
            image.p_wrong or 0.0
            for image in list_images(session)
            if image.path.startswith(f"{name}/") and int(image.path.split("/")[1][:-4]) >= since
        ]


def test_verdicts_move_p_wrong_of_images_that_nobody_has_seen_by_their_class(judged: Context) -> None:
    before = p_wrong_of(judged, "cat", since=30)
    settle(judged, first=0, last=29)
    found = learn(judged, dataset="pets")
    assert (found["run"], found["verdicts"], found["judged"]) == (1, 90, 180)
    cats, owls = p_wrong_of(judged, "cat", since=30), p_wrong_of(judged, "owl", since=30)
    assert min(cats) > 0.8 > max(before)
    assert max(owls) < 0.2
    assert 55 < found["expected_wrong"] < 75  # about the cats


def test_what_was_learned_is_kept_and_is_one_belief(judged: Context) -> None:
    settle(judged, first=0, last=29)
    learn(judged, dataset="pets")
    kept = find_posteriors(judged.home, 1)
    said = load_predictions(judged.home, 1)
    assert kept is not None
    np.testing.assert_array_equal(kept.image_ids, said.image_ids)
    columns = np.repeat(np.arange(3), PER_CLASS)
    np.testing.assert_allclose(1 - kept.probs[np.arange(180), columns].astype(float), kept.p_wrong, atol=2e-3)
    assert set(kept.suggested_ids[:PER_CLASS].tolist()) == {said.class_ids[1]}  # every cat is a dog
    now = load_judged(judged.home, 1)
    np.testing.assert_array_equal(now.p_wrong, kept.p_wrong)
    np.testing.assert_array_equal(now.probs, said.probs)


def test_an_excluded_image_counts_as_wrongly_labelled(judged: Context) -> None:
    settle(judged, first=0, last=29, verdict="exclude")
    learn(judged, dataset="pets")
    assert min(p_wrong_of(judged, "cat", since=30)) > 0.8


def test_it_is_due_after_fifty_verdicts_and_again_after_fifty_more(judged: Context) -> None:
    settle(judged, first=0, last=15)
    assert learn_if_due(judged, dataset="pets") is None  # 48
    settle(judged, first=16, last=16)
    assert learn_if_due(judged, dataset="pets") is not None
    assert learn_if_due(judged, dataset="pets") is None
    settle(judged, first=17, last=40)
    found = learn_if_due(judged, dataset="pets")
    assert found is not None
    assert found["verdicts"] == 3 * 41


def test_workers_ask_for_it_once(judged: Context) -> None:
    def ask() -> int:
        with judged.database.write() as session:
            learning.ask_where_due(session, judged.home)
            return session.scalar(select(func.count()).select_from(Job).where(Job.kind == "learn")) or 0

    assert ask() == 0
    settle(judged, first=0, last=29)
    assert [ask(), ask()] == [1, 1]
    learn(judged, dataset="pets")
    with judged.database.write() as session:
        session.scalars(select(Job)).one().status = "done"
    assert ask() == 1


def test_without_a_promoted_run_there_is_nothing_to_correct(database: Database, home: Home) -> None:
    with database.write() as session:
        datasets.ensure_dataset(session, "empty")
    with pytest.raises(Invalid, match="has no promoted run"):
        learn(Context(database, home), dataset="empty")


def test_the_command_and_a_queue_built_after_it(
    judged: Context, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(judged, first=0, last=29)
    ends = ("--home", judged.home.root, "--json")
    queue = call(capsys, monkeypatch, "queue", "build", "label-issues", "--dataset", "pets", *ends).document
    answer = call(capsys, monkeypatch, "queue", "items", str(queue["queue"]), "--limit", "30", *ends)
    chosen = [item for item in answer.document["items"] if not item.get("random")]
    assert {(item["label"], item["suggested"]) for item in chosen} == {("cat", "dog")}  # it learned before
    answer = call(capsys, monkeypatch, "learn", "--dataset", "pets", *ends)
    assert answer.document["verdicts"] == 90
    assert set(answer.document) == {
        "dataset", "run", "verdicts", "random_verdicts", "shrinkage", "judged", "expected_wrong",
    }  # fmt: skip
