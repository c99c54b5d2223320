"""What curation bought and what retraining bought: steps on the same images that add up to the whole."""

import json

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.drawn import make_stripes
from tests.test_comparisons import add_run, list_tested
from workbench.config import Home
from workbench.errors import Invalid
from workbench.models import Dataset, Image, Job, Run, User
from workbench.services import controls, datasets, decisions, gains, runs, versions
from workbench.services.comparisons import judge_pair
from workbench.worker.materials import read_order


@pytest.fixture
def stripes(session: Session, home: Home) -> Dataset:
    return make_stripes(session, home, per_class=10)  # 2 of each class in test


def truth_of(session: Session, dataset: Dataset) -> dict[int, int]:
    return {image.id: image.label_id or 0 for image in list_tested(session, dataset)}


def set_recipe(run: Run, **overrides: object) -> Run:
    run.config = {**run.config, "overrides": overrides}
    return run


def relabel(session: Session, dataset: Dataset, user: User, path: str, name: str) -> int:
    """The image whose label is changed."""
    image = session.scalars(select(Image).where(Image.dataset_id == dataset.id, Image.path == path)).one()
    class_id = datasets.get_class(session, dataset, name).id
    decisions.decide(session, image=image, user=user, verdict="relabel", class_id=class_id)
    return image.id


def list_train(session: Session, dataset: Dataset) -> list[Image]:
    query = select(Image).where(Image.dataset_id == dataset.id, Image.split == "train")
    return list(session.scalars(query.order_by(Image.id)))


@pytest.fixture
def history(session: Session, home: Home, stripes: Dataset, bob: User) -> tuple[Run, Run, Run]:
    """Two runs with a review session between them, and the control. Of six test images: run 1 gets two right by the
    labels of its day and three by today's, the control four, run 2 six; one label of test was put right."""
    truth, ids = truth_of(session, stripes), sorted(truth_of(session, stripes))
    rows, columns = (datasets.get_class(session, stripes, name).id for name in ("rows", "columns"))
    wrong = {image_id: columns if truth[image_id] == rows else rows for image_id in ids}
    first = {**wrong, **{image_id: truth[image_id] for image_id in ids[:2]}, ids[5]: rows}
    run_a = set_recipe(add_run(session, home, stripes, answers=first), epochs=2)
    changed = session.get_one(Image, ids[5])
    relabel(session, stripes, bob, changed.path, "rows")
    relabel(session, stripes, bob, list_train(session, stripes)[0].path, "blank")
    now = {**truth, ids[5]: rows}
    run_b = set_recipe(add_run(session, home, stripes, answers=now), epochs=5)
    between = {**now, ids[3]: wrong[ids[3]], ids[4]: wrong[ids[4]]}
    control = set_recipe(add_run(session, home, stripes, answers=between), epochs=5)
    control.content_hash, control.decision_id = run_a.content_hash, run_a.decision_id
    session.flush()
    return run_a, control, run_b


def test_three_steps_add_up_to_the_whole(session: Session, home: Home, history: tuple[Run, Run, Run]) -> None:
    run_a, control, run_b = history
    parting = controls.part(session, run_a, run_b)
    assert (parting.kind, parting.control) == ("control", control)

    found = gains.explain_gain(session, home, judge_pair(session, home, run_a=run_a, run_b=run_b), parting=parting)

    assert (found["n"], found["changed"], found["left_out"], found["control"]) == (6, 1, 0, control.id)
    assert {part["part"]: round(6 * part["difference"]) for part in found["parts"]} == {
        "labels": 1, "retraining": 1, "curation": 2, "whole": 4,
    }  # fmt: skip
    *steps, whole = found["parts"]
    assert sum(step["difference"] for step in steps) == pytest.approx(whole["difference"], abs=1e-12)
    assert all(part["low"] <= part["difference"] <= part["high"] for part in found["parts"])
    table = {
        row["run"]: (round(6 * row["then"]["accuracy"]), round(6 * row["now"]["accuracy"])) for row in found["table"]
    }
    assert table == {run_a.id: (2, 3), control.id: (3, 4), run_b.id: (5, 6)}
    assert [round(6 * each["difference"]) for each in found["models"]] == [3, 3]
    assert found["sentence"].startswith(
        f"By the labels as they were for the older run, run {run_a.id} gets 33.3% right; "
        f"by today's run {run_b.id} gets 100.0%: +66.7 ["
    )
    assert "better labels to judge by, +16.7" in found["sentence"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_without_a_control_the_model_is_one_step(
    session: Session, home: Home, stripes: Dataset, history: tuple[Run, Run, Run]
) -> None:
    run_a, control, run_b = history
    control.status = "failed"
    parting = controls.part(session, run_a, run_b)
    assert (parting.kind, parting.control, parting.waiting, parting.obstacle) == ("none", None, None, "")
    found = gains.explain_gain(session, home, judge_pair(session, home, run_a=run_a, run_b=run_b), parting=parting)
    assert {part["part"]: round(6 * part["difference"]) for part in found["parts"]} == {
        "labels": 1,
        "model": 3,
        "whole": 4,
    }
    assert "the model, curated labels and retraining together" in found["sentence"]
    assert [row["run"] for row in found["table"]] == [run_a.id, run_b.id]


def test_equal_settings_leave_curation_and_equal_labels_leave_retraining(
    session: Session, home: Home, history: tuple[Run, Run, Run]
) -> None:
    run_a, control, run_b = history
    for pair, kind, parts in (
        ((control, run_b), "settings", ["labels", "curation", "whole"]),
        ((run_a, control), "labels", ["labels", "retraining", "whole"]),
    ):
        parting = controls.part(session, *pair)
        assert parting.kind == kind
        judged = judge_pair(session, home, run_a=pair[0], run_b=pair[1])
        found = gains.explain_gain(session, home, judged, parting=parting)
        assert [part["part"] for part in found["parts"]] == parts
        assert len(found["table"]) == 2


def test_labels_are_those_of_then_and_images_without_one_are_left_out(
    session: Session, home: Home, stripes: Dataset, bob: User
) -> None:
    truth, images = truth_of(session, stripes), list_tested(session, stripes)
    decisions.decide(session, image=images[0], user=bob, verdict="exclude")
    run_a = add_run(session, home, stripes, answers=truth)
    decisions.decide(session, image=images[0], user=bob, verdict="restore")
    decisions.decide(session, image=images[1], user=bob, verdict="exclude")
    rows, columns = (datasets.get_class(session, stripes, name) for name in ("rows", "columns"))
    datasets.merge_class(session, dataset=stripes, user=bob, cls=rows, into=columns)
    run_b = add_run(session, home, stripes, answers=truth)
    pair = judge_pair(session, home, run_a=run_a, run_b=run_b)
    parting = controls.part(session, run_a, run_b)
    found = gains.explain_gain(session, home, pair, parting=parting)
    assert (found["n"], found["left_out"], found["changed"]) == (4, 1, 0)  # a merge changes no label
    assert parting.kind == "settings"
    assert [row["now"]["accuracy"] for row in found["table"]] == [1.0, 1.0]


# --- the control ------------------------------------------------------------------------------------------------


def test_a_control_has_the_settings_of_the_second_and_the_labels_of_the_first(
    session: Session, home: Home, stripes: Dataset, bob: User, history: tuple[Run, Run, Run]
) -> None:
    run_a, old, run_b = history
    old.status = "cancelled"
    run_b.config = {**run_b.config, "seed": 7, "folds": 4, "promote": True, "training": {"epochs": 5}, "counts": {}}

    control = controls.ask_for_control(session, dataset=stripes, user=bob, run_a=run_a, run_b=run_b)

    assert (control.status, control.arch, control.preset, control.created_by_id) == (
        "queued",
        "compact",
        "quick",
        bob.id,
    )
    asked = {key: control.config[key] for key in ("overrides", "seed", "folds", "promote")}
    assert asked == {"overrides": {"epochs": 5}, "seed": 7, "folds": 0, "promote": False}
    assert not {"training", "counts"} & set(control.config)
    assert control.content_hash == versions.content_hash(session, stripes, run_a.decision_id) == run_a.content_hash
    job = session.scalars(select(Job)).one()
    assert (job.kind, job.params) == ("train", {"dataset": "stripes", "run": control.id})
    first = list_train(session, stripes)[0]
    order = read_order(session, home, control.id)
    (row,) = (row for row in order.rows if row.image_id == first.id)
    assert (row.label, first.label.name if first.label else None) == ("rows", "blank")
    waiting = controls.part(session, run_a, run_b)
    assert (waiting.kind, waiting.waiting) == ("none", control)
    assert controls.ask_for_control(session, dataset=stripes, user=bob, run_a=run_a, run_b=run_b) is control


def test_what_cannot_be_a_control_is_said(
    session: Session, home: Home, stripes: Dataset, bob: User, history: tuple[Run, Run, Run]
) -> None:
    run_a, control, run_b = history
    with pytest.raises(Invalid, match=f"run {control.id} tells settings and labels apart already"):
        controls.ask_for_control(session, dataset=stripes, user=bob, run_a=run_a, run_b=run_b)
    control.status = "failed"
    run_b.arch = "external"
    with pytest.raises(Invalid, match="was not trained here"):
        controls.ask_for_control(session, dataset=stripes, user=bob, run_a=run_a, run_b=run_b)
    run_b.arch = "compact"
    run_b.config = {**run_b.config, "evaluation": {"split": "validation"}}
    assert controls.part(session, run_a, run_b).obstacle.startswith("The two were measured on different splits")
    run_b.config = {**run_b.config, "evaluation": run_a.config["evaluation"]}
    rows, columns = (datasets.get_class(session, stripes, name) for name in ("rows", "columns"))
    datasets.merge_class(session, dataset=stripes, user=bob, cls=rows, into=columns)
    assert (
        controls.part(session, run_a, run_b).obstacle
        == f"Classes that run {run_a.id} knew were merged or retired since."
    )


def test_the_settings_that_differ_are_listed(session: Session, home: Home, stripes: Dataset) -> None:
    run_a, run_b = (add_run(session, home, stripes, answers=truth_of(session, stripes)) for _ in range(2))
    assert controls.list_differences(run_a, run_b) == []
    run_a.config = {**run_a.config, "training": {"epochs": 2, "flip": True, "augment": {"shift": 0.1}, "threads": 1}}
    run_b.config = {**run_b.config, "training": {"epochs": 5, "flip": False, "augment": {"shift": 0.0}, "threads": 2}}
    run_b.from_run_id = run_a.id
    found = controls.list_differences(run_a, run_b)
    assert [(each.name, each.a, each.b) for each in found] == [
        ("starts from", "nothing", f"run {run_a.id}"),
        ("epochs", "2", "5"),
        ("flip", "yes", "no"),
        ("augment shift", "0.1", "0"),
    ]
    assert runs.PRESETS[0] == run_a.preset
