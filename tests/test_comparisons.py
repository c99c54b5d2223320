"""Two runs compared: paired, by the newest labels, on images that neither saw."""

import json

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.drawn import make_stripes
from workbench.config import Home
from workbench.errors import Invalid, NotFound
from workbench.models import Class, Dataset, Image, Run, User
from workbench.services import comparisons, datasets, decisions, evaluations, runs, users
from workbench.services.predictions import Predictions, save_predictions
from workbench.services.training_sets import TrainingSet, save_training_set


def add_run(
    session: Session, home: Home, dataset: Dataset, *, answers: dict[int, int], unseen: set[int] | None = None
) -> Run:
    """A finished run that is sure of one class for each image. answers: image id -> class id."""
    classes = list(session.scalars(select(Class.id).where(Class.dataset_id == dataset.id).order_by(Class.id)))
    run = runs.create_run(session, dataset=dataset, user=users.ensure_admin(session))
    runs.finish_run(run, metrics={}, seconds=1.0, images_per_second=1.0)
    ids = sorted(answers)
    columns = np.array([classes.index(answers[image_id]) for image_id in ids])
    said = Predictions(
        image_ids=np.array(ids, np.int64),
        probs=(0.8 * np.eye(len(classes))[columns] + 0.2 / len(classes)).astype(np.float16),
        out_of_sample=np.array([unseen is None or image_id in unseen for image_id in ids]),
        p_wrong=np.full(len(ids), 0.1, np.float32),
        suggested=columns.astype(np.int64),
        entropy=np.zeros(len(ids), np.float32),
        margin=np.zeros(len(ids), np.float32),
        features=np.zeros((len(ids), 2), np.float16),
        class_ids=np.array(classes, np.int64),
    )
    save_predictions(home, run.id, said)
    session.flush()
    return run


@pytest.fixture
def stripes(session: Session, home: Home) -> Dataset:
    return make_stripes(session, home, per_class=10)  # 2 of each class in test


def list_tested(session: Session, dataset: Dataset) -> list[Image]:
    query = select(Image).where(Image.dataset_id == dataset.id, Image.split == "test")
    return list(session.scalars(query.order_by(Image.id)))


def test_flips_accuracies_and_recalls(session: Session, home: Home, stripes: Dataset) -> None:
    images = list_tested(session, stripes)
    truth = {image.id: image.label_id for image in images}
    rows, blank = (datasets.get_class(session, stripes, name).id for name in ("rows", "blank"))
    ids = [image.id for image in images]  # rows rows columns columns blank blank
    run_a = add_run(session, home, stripes, answers={**truth, ids[0]: blank, ids[2]: rows})
    run_b = add_run(session, home, stripes, answers={**truth, ids[1]: blank, ids[2]: blank})

    found = comparisons.compare(session, home, run_a=run_a, run_b=run_b)

    assert (found["a"], found["b"], found["split"], found["n"]) == (run_a.id, run_b.id, "test", 6)
    assert found["flipped"] == {"a_right": [ids[1]], "b_right": [ids[0]], "both_wrong": [ids[2]]}
    assert found["a_accuracy"]["accuracy"] == found["b_accuracy"]["accuracy"] == pytest.approx(4 / 6)
    assert (found["difference"], found["p"]) == (0.0, 1.0)
    assert [(row["class"], row["n"], row["a_recall"], row["b_recall"]) for row in found["per_class"]] == [
        ("rows", 2, 0.5, 0.5),
        ("columns", 2, 0.5, 0.5),
        ("blank", 2, 1.0, 1.0),
    ]
    assert "no more than chance would make" in found["sentence"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_only_images_that_neither_saw_and_both_predicted_count(session: Session, home: Home, stripes: Dataset) -> None:
    truth = {image.id: image.label_id for image in list_tested(session, stripes)}
    ids = sorted(truth)
    run_a = add_run(session, home, stripes, answers=truth, unseen=set(ids) - {ids[0]})
    run_b = add_run(session, home, stripes, answers={key: truth[key] for key in ids[:5]})
    assert comparisons.compare(session, home, run_a=run_a, run_b=run_b)["n"] == 4


def test_images_whose_copies_taught_are_not_compared_on(session: Session, home: Home, stripes: Dataset) -> None:
    """A run told to leave no copy out is measured on them too; beside another run they would make it look better."""
    truth = {image.id: image.label_id for image in list_tested(session, stripes)}
    ids = sorted(truth)
    run_a = add_run(session, home, stripes, answers=truth)
    run_b = add_run(session, home, stripes, answers=truth, unseen=set(ids[2:]))
    run_b.config = {**run_b.config, "leave_out": "none"}
    everything = np.array(ids, np.int64)
    save_training_set(home, run_b.id, TrainingSet(trained=everything[:0], measured=everything, left_out=everything[:0]))
    assert evaluations.evaluate_run(session, home, run_b)["n"] == 6
    assert comparisons.compare(session, home, run_a=run_a, run_b=run_b)["n"] == 4


def test_the_newest_labels_decide(session: Session, home: Home, stripes: Dataset) -> None:
    images = list_tested(session, stripes)
    truth = {image.id: image.label_id for image in images}
    blank = datasets.get_class(session, stripes, "blank").id
    run_a = add_run(session, home, stripes, answers=truth)
    run_b = add_run(session, home, stripes, answers={**truth, images[0].id: blank})
    admin = users.ensure_admin(session)
    assert comparisons.compare(session, home, run_a=run_a, run_b=run_b)["difference"] == pytest.approx(-1 / 6)

    decisions.decide(session, image=images[0], user=admin, verdict="relabel", class_id=blank)
    decisions.decide(session, image=images[1], user=admin, verdict="exclude")

    found = comparisons.compare(session, home, run_a=run_a, run_b=run_b)
    assert (found["n"], found["difference"]) == (5, pytest.approx(1 / 5))
    assert evaluations.evaluate_run(session, home, run_a)["accuracy"] == pytest.approx(4 / 5)


def test_merged_and_new_classes_are_judged_as_they_are_now(session: Session, home: Home, stripes: Dataset) -> None:
    images = list_tested(session, stripes)
    rows, columns = (datasets.get_class(session, stripes, name) for name in ("rows", "columns"))
    run = add_run(session, home, stripes, answers={image.id: rows.id for image in images})
    admin = users.ensure_admin(session)
    datasets.merge_class(session, dataset=stripes, user=admin, cls=rows, into=columns)
    star = datasets.add_class(session, dataset=stripes, user=admin, name="star")
    decisions.decide(session, image=images[0], user=admin, verdict="relabel", class_id=star.id)

    found = evaluations.evaluate_run(session, home, run)

    assert found["classes"] == ["columns", "blank", "star"]
    assert found["confusion"] == [[3, 0, 0], [2, 0, 0], [1, 0, 0]]
    datasets.retire_class(session, dataset=stripes, user=admin, cls=star)
    assert evaluations.evaluate_run(session, home, run)["classes"] == ["columns", "blank"]


def test_what_cannot_be_compared_is_refused(session: Session, home: Home, stripes: Dataset, bob: User) -> None:
    truth = {image.id: image.label_id for image in list_tested(session, stripes)}
    run = add_run(session, home, stripes, answers=truth)
    seen = add_run(session, home, stripes, answers=truth, unseen=set())
    other = make_stripes(session, home, per_class=5, name="other")
    stranger = add_run(
        session, home, other, answers={image.id: image.label_id for image in list_tested(session, other)}
    )
    queued = runs.create_run(session, dataset=stripes, user=bob)

    with pytest.raises(Invalid, match="belong to two data sets"):
        comparisons.compare(session, home, run_a=run, run_b=stranger)
    with pytest.raises(Invalid, match="no image of the split “test” in common that neither saw"):
        comparisons.compare(session, home, run_a=run, run_b=seen)
    with pytest.raises(Invalid, match="is queued; only a run that is done"):
        comparisons.compare(session, home, run_a=run, run_b=queued)
    with pytest.raises(NotFound, match="no unseen labelled images in the split “validation”"):
        evaluations.evaluate_run(session, home, run, split="validation")


def test_a_clear_difference_is_said_to_be_more_than_chance() -> None:
    labels = np.zeros(1000, np.int64)
    a, b = labels.copy(), labels.copy()
    a[:100], b[100:130] = 1, 1
    found = comparisons.compare_answers(a, b, labels, image_ids=np.arange(1000))
    assert (found["difference"], found["low"] > 0.03, found["high"] < 0.11) == (0.07, True, True)
    assert comparisons.make_sentence(found, a=3, b=4, split="test") == (
        "On 1,000 images (test) run 4 gets 97.0% right and run 3 90.0%: +7.0 points, 95 % interval "
        f"{100 * found['low']:+.1f} to {100 * found['high']:+.1f}. Run 4 is better by more than chance (p = 1e-10)."
    )


def test_each_class_has_its_interval_and_a_p_for_many_questions() -> None:
    labels = np.repeat([1, 2], 100)
    a, b = labels.copy(), labels.copy()
    a[:30], b[100:105] = 2, 1
    found = comparisons.compare_answers(a, b, labels, image_ids=np.arange(200))
    assert found["verdict"] == "better"
    assert found["balanced_accuracy"]["difference"] == pytest.approx(0.125)
    assert found["balanced_accuracy"]["low"] < 0.125 < found["balanced_accuracy"]["high"]
    turned = comparisons.compare_answers(b, a, labels, image_ids=np.arange(200))
    assert (turned["verdict"], turned["difference"]) == ("worse", -0.125)
    assert comparisons.compare_answers(a, a, labels, image_ids=np.arange(200))["verdict"] == "tie"
