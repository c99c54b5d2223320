"""Decisions and posterior told apart by three runs with the same settings."""

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.conftest import make_pets
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.errors import Invalid
from workbench.models import Dataset, Image, Job, Run
from workbench.services import decisions, users
from workbench.services.decisions import Line
from workbench.services.posterior_gains import ask_for_missing, find_trio, part_gain

TAUGHT = {"data_steps": {"targets": "posterior", "posterior_by": 1, "keep_shares": 0.75}}


def plant(session: Session, home: Home, *, mistakes: list[dict[str, str]]) -> tuple[Dataset, list[Run]]:
    """A run on the labels as they came, then one decision, then two runs on that, the last taught the posterior."""
    pets, admin = make_pets(session, per_class=20), users.ensure_admin(session)
    decisions.submit(session, dataset=pets, user=admin, lines=[Line("import", detail={"import": 1})])
    found = [add_run(session, home, dataset=pets, user=admin, mistakes=mistakes[0])]
    images = {image.path: image for image in session.scalars(select(Image))}
    decisions.decide(session, image=images["cat/0.png"], user=admin, verdict="relabel", class_id=2)
    decisions.decide(session, image=images["cat/1.png"], user=admin, verdict="confirm")
    for said in mistakes[1:]:
        run = add_run(session, home, dataset=pets, user=admin, mistakes={**said, "cat/0.png": "cat"})
        found.append(run)
    found[-1].config = {**found[-1].config, **TAUGHT}
    session.flush()
    return pets, found


WRONG = {"cat/1.png": "dog", "cat/3.png": "dog", "dog/1.png": "owl"}


def test_the_steps_add_up_and_name_their_runs(session: Session, home: Home) -> None:
    first = dict(WRONG)
    second = {path: WRONG[path] for path in ("cat/3.png", "dog/1.png")}
    third = {"dog/1.png": "owl"}
    _, runs = plant(session, home, mistakes=[first, second, third])
    trio = find_trio(session, runs[2])
    assert trio is not None
    assert [each.id for each in trio.done.values()] == [1, 2, 3]
    gain = part_gain(session, home, trio)
    steps = {step["step"]: step for step in gain["all"]["steps"]}
    n = gain["all"]["n"]
    assert n == 30
    assert steps["decisions"]["difference"] == pytest.approx(1 / n)
    assert steps["posterior"]["difference"] == pytest.approx(1 / n)
    assert steps["whole"]["difference"] == pytest.approx(2 / n)
    assert steps["whole"]["balanced"]["difference"] == pytest.approx(2 / n)
    assert gain["runs"] == {"before": 1, "decided": 2, "taught": 3}
    assert gain["reviewed"]["n"] == 1  # cat/1.png: the only one of the split that was decided on
    assert gain["reviewed"]["rates"]["before"]["accuracy"] == 0
    assert gain["reviewed"]["rates"]["taught"]["accuracy"] == 1


def test_a_run_that_was_taught_labels_has_nothing_to_part(session: Session, home: Home) -> None:
    pets, runs = plant(session, home, mistakes=[{}, {}])
    assert find_trio(session, runs[0]) is None
    with pytest.raises(Invalid, match="Run 1 was not taught the posterior"):
        ask_for_missing(session, dataset=pets, user=users.ensure_admin(session), run=runs[0])


def test_what_is_missing_is_trained_once(session: Session, home: Home) -> None:
    pets, runs = plant(session, home, mistakes=[{}, {}])
    runs[0].config = {**runs[0].config, "overrides": {"epochs": 9}}  # other settings: it parts nothing
    admin = users.ensure_admin(session)
    trio = find_trio(session, runs[1])
    assert trio is not None
    assert (trio.before, trio.decided) == (None, None)
    made = ask_for_missing(session, dataset=pets, user=admin, run=runs[1])
    asked: list[Any] = [(each.decision_id, each.config["data_steps"]["targets"], each.config["folds"]) for each in made]
    assert asked == [(runs[1].decision_id, "labels", 0), (1, "labels", 0)]
    assert len(list(session.scalars(select(Job).where(Job.kind == "train")))) == 2
    assert ask_for_missing(session, dataset=pets, user=admin, run=runs[1]) == []
    again = find_trio(session, runs[1])
    assert again is not None
    assert len(again.waiting) == 2
