"""The parts of a finished run's page: measures, calibration, groups, what became of the images."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import select

from tests.conftest import Browser, make_pets
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.models import Attribute, Dataset, Image, Run, Vote
from workbench.services import users
from workbench.services.training_sets import TrainingSet, save_training_set

BrowserAs = Callable[[str], Browser]


@pytest.fixture
def trained(database: Database, home: Home) -> int:
    """A run that errs on three of the twelve test images; owls have an attribute of their own."""
    with database.write() as session:
        dataset = make_pets(session, per_class=8)
        alice = users.ensure_user(session, "alice", role="lead")
        wrong = {"cat/1.png": "dog", "cat/3.png": "dog", "owl/1.png": "cat"}
        run = add_run(session, home, dataset=dataset, user=alice, mistakes=wrong)
        for image in session.scalars(select(Image).order_by(Image.id)):
            fur = "none" if image.path.startswith("owl") else "some <fur>"
            session.add(Attribute(image_id=image.id, name="fur", value=fur))
        return run.id


def read(browser_as: BrowserAs, run_id: int, part: str, *, status: int = 200) -> str:
    answer = browser_as("viewer").get(f"/d/pets/runs/{run_id}/{part}")
    assert answer.status_code == status
    return re.sub(r"<[^>]+>", " ", answer.get_data(as_text=True)).replace("\n", " ")


def squeeze(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_every_measure_has_its_interval_its_baseline_and_its_n(browser_as: BrowserAs, trained: int) -> None:
    page = squeeze(read(browser_as, trained, "measures"))
    assert "On 12 images of test that it was not trained on." in page
    assert "75.0 % [46.8, 91.1] 33.3 % 12" in page
    assert "Top 2 the label is among its two most probable classes 91.7 % [64.6, 98.5] 66.7 % 12" in page
    assert "always saying “cat”, the most frequent class" in page
    assert "Cross-entropy to the votes" not in page
    assert (
        "dog 4 66.7 % [30.0, 90.3] 100.0 % [51.0, 100.0] 75.0 % [40.9, 92.9]" in page
    )  # precision, recall, specificity
    assert "dog 4 6 +2" in page  # labelled, predicted


def test_votes_are_measured_where_there_are_some(browser_as: BrowserAs, database: Database, trained: int) -> None:
    with database.write() as session:
        image = session.scalars(select(Image).where(Image.path == "dog/1.png")).one()
        session.add(Vote(image_id=image.id, option="dog", class_id=image.label_id, count=10))
    assert "they alone have 0.000 0.223 – 0.000 1" in squeeze(read(browser_as, trained, "measures"))


def test_copies_are_told_in_a_line_of_the_overview(
    browser_as: BrowserAs, database: Database, home: Home, trained: int
) -> None:
    viewer = browser_as("viewer")
    overview = viewer.get(f"/d/pets/runs/{trained}").get_data(as_text=True)
    assert f'hx-get="/d/pets/runs/{trained}/copies" hx-trigger="load"' in overview
    assert "No image of test has a known copy" in squeeze(read(browser_as, trained, "copies"))
    with database.write() as session:
        run = session.get_one(Run, trained)
        run.config = {**run.config, "leave_out": "none"}
        own = {image.path: image for image in session.scalars(select(Image))}
        own["cat/1.png"].pixel_sha256 = own["cat/0.png"].pixel_sha256
        ids = {split: [image.id for image in own.values() if image.split == split] for split in ("train", "test")}
        lists = TrainingSet(np.array(sorted(ids["train"])), np.array(sorted(ids["test"])), np.array([], np.int64))
        save_training_set(home, trained, lists)
    line = squeeze(read(browser_as, trained, "copies"))
    assert "1 image of test has a copy among those it was trained on (1 exact, 0 near)" in line
    assert "0.0 % [0.0, 79.3] right on them, 81.8 % [52.3, 94.9] on the other 11" in line
    (home.run_folder(trained) / "predictions.npz").unlink()
    assert "It cannot be said what copies do" in read(browser_as, trained, "copies")


def test_changed_labels_are_said_beside_the_number_of_the_time(
    browser_as: BrowserAs, database: Database, trained: int
) -> None:
    with database.write() as session:
        image = session.scalars(select(Image).where(Image.path == "cat/1.png")).one()
        image.label_id = (image.label_id or 0) + 1
    for part in ("measures", "calibration"):
        page = read(browser_as, trained, part)
        assert "By the newest labels, which changed since the training: then it was 75.0 % of 12." in page
    assert "83.3 %" in read(browser_as, trained, "measures")


def test_calibration_says_whether_it_is_as_sure_as_it_is_right(browser_as: BrowserAs, trained: int) -> None:
    page = squeeze(read(browser_as, trained, "calibration"))
    assert "It is as sure as it is right, as far as 12 images can tell." in page
    assert "There are too few images to fit a temperature on." in page
    drawn = browser_as("viewer").get(f"/d/pets/runs/{trained}/calibration").get_data(as_text=True)
    assert 'aria-label="As it says: 12 images about 80% sure: 75% right."' in drawn


def test_a_run_that_is_too_sure_is_shown_with_its_temperature(
    browser_as: BrowserAs, database: Database, home: Home
) -> None:
    with database.write() as session:
        dataset = make_pets(session, per_class=80)
        wrong = {f"{name}/{number}.png": "cat" for name in ("dog", "owl") for number in range(1, 70, 2)}
        alice = users.ensure_user(session, "alice", role="lead")
        run_id = add_run(session, home, dataset=dataset, user=alice, mistakes=wrong).id
    page = squeeze(read(browser_as, run_id, "calibration"))
    assert "surer than it is right on average" in page
    assert "it makes the run less sure. Fitted crosswise: each fifth of the images" in page


def test_groups_are_told_apart_with_their_tests(browser_as: BrowserAs, trained: int) -> None:
    page = squeeze(read(browser_as, trained, "groups"))
    assert "No group by “fur” differs from the rest by more than chance (2 comparisons" in page
    assert "some &lt;fur&gt; 8 75.0 % [40.9, 92.9]" in page
    against = squeeze(read(browser_as, trained, "groups?by=fur&against=none"))
    assert "Against “none”" in against
    source = squeeze(read(browser_as, trained, "groups?by=label+source"))
    assert "All images have one value of “label source”" in source
    assert "Nothing to group by here" in read(browser_as, trained, "groups?by=clear+votes")


def test_what_cannot_be_grouped_by_is_said(browser_as: BrowserAs, trained: int) -> None:
    assert "has a value for “age”" in read(browser_as, trained, "groups?by=age", status=422)
    assert "has no value “blue”" in read(browser_as, trained, "groups?by=fur&against=blue", status=422)


def test_every_stage_says_what_became_of_its_images(browser_as: BrowserAs, database: Database, trained: int) -> None:
    with database.write() as session:
        session.scalars(select(Image).where(Image.path == "dog/1.png")).one().status = "excluded"
    page = squeeze(read(browser_as, trained, "training"))
    assert "Images of test now 12 11 tested on, 1 excluded" in page


@pytest.mark.parametrize("part", ["measures", "calibration", "groups", "training"])
def test_a_run_without_its_predictions_keeps_its_pages(
    browser_as: BrowserAs, home: Home, trained: int, part: str
) -> None:
    (home.run_folder(trained) / "predictions.npz").unlink()
    assert f"Run {trained}" in read(browser_as, trained, part)


@pytest.mark.parametrize("part", ["measures", "calibration", "groups"])
def test_a_part_of_a_run_that_is_not_done_leads_to_its_page(
    browser_as: BrowserAs, database: Database, trained: int, part: str
) -> None:
    with database.write() as session:
        session.get_one(Run, trained).metrics = None
        assert session.scalars(select(Dataset)).one().name == "pets"
    answer = browser_as("viewer").get(f"/d/pets/runs/{trained}/{part}")
    assert (answer.status_code, answer.location) == (303, f"/d/pets/runs/{trained}")
