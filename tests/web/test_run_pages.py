"""Runs: the list, the form, a run that waits, trains, failed or is done, a cell of its matrix, promoting it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import event, select

from tests.conftest import Browser, make_pets
from tests.trained_runs import add_run, write_curves
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Invalid
from workbench.models import Class, Dataset, Image, Job, Queue, Run, Vote, utc_now
from workbench.services import jobs, runs, users
from workbench.services.training_requests import TrainingRequest
from workbench.web.training_forms import parse_training

BrowserAs = Callable[[str], Browser]
CHOSEN = ("preset", "vary", "balance", "schedule", "from_run")  # from a list, so never typed
MISTAKES = {"cat/1.png": "dog", "cat/3.png": "dog", "owl/1.png": "cat", "cat/0.png": "owl"}


@pytest.fixture
def trained(database: Database, home: Home) -> int:
    """The id of a promoted run on pets, eight images of each class, that errs on three of the twelve test images."""
    with database.write() as session:
        dataset = make_pets(session, per_class=8)
        alice = users.ensure_user(session, "alice", role="lead")
        run = add_run(session, home, dataset=dataset, user=alice, mistakes=MISTAKES)
        runs.promote(session, home, run)
        return run.id


def add_open_run(database: Database, *, status: str = "queued", with_job: bool = True) -> int:
    with database.write() as session:
        dataset = session.scalars(select(Dataset)).one()
        alice = users.ensure_user(session, "alice", role="lead")
        run = runs.create_run(session, dataset=dataset, user=alice)
        if status == "running":
            runs.start_run(run, training={"epochs": 10})
        if with_job:
            job = jobs.enqueue(session, kind="train", user=alice, dataset=dataset, run=run.id)
            job.status = status
        return run.id


def get_job(database: Database) -> Job:
    with database.read() as session:
        return session.scalars(select(Job).order_by(Job.id.desc())).first() or pytest.fail("no job")


def get_status(database: Database, run_id: int) -> str:
    with database.read() as session:
        return session.get_one(Run, run_id).status


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            statements.append(statement)

    event.listen(database.reader, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(database.reader, "before_cursor_execute", note)


# --- the list


def test_a_stranger_gets_404(app: Flask) -> None:
    assert app.test_client().get("/d/pets/runs").status_code == 404


def test_the_empty_list_says_what_fills_it(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        session.add(Dataset(name="bare"))
        make_pets(session)
    assert "Import images" in browser_as("lead").get("/d/bare/runs").get_data(as_text=True)
    assert "Train the first model" in browser_as("lead").get("/d/pets/runs").get_data(as_text=True)
    viewer = browser_as("viewer").get("/d/pets/runs").get_data(as_text=True)
    assert "A lead can train a model." in viewer
    assert "/runs/new" not in viewer


def test_the_list_shows_accuracy_with_interval_and_the_promoted_run(browser_as: BrowserAs, trained: int) -> None:
    page = browser_as("viewer").get("/d/pets/runs").get_data(as_text=True)
    assert "75.0 %" in page
    assert "[46.8, 91.1] · n 12 test" in page
    assert "✓ promoted" in page
    assert 'aria-label="Accuracy 75.0%, 95 % interval 46.8% to 91.1%"' in page


def test_the_list_costs_the_same_for_one_and_three_runs(
    browser_as: BrowserAs, database: Database, trained: int
) -> None:
    viewer = browser_as("viewer")
    with counted(database) as one:
        viewer.get("/d/pets/runs")
    add_open_run(database)
    add_open_run(database, status="running")
    with counted(database) as three:
        page = viewer.get("/d/pets/runs").get_data(as_text=True)
    assert page.count("<strong>Run ") == 3
    assert len(one) == len(three)


def test_the_list_goes_on_after_a_page(
    browser_as: BrowserAs, database: Database, trained: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.web.runs.PER_PAGE", 1)
    newest = add_open_run(database)
    viewer = browser_as("viewer")
    assert f"before={newest}" in viewer.get("/d/pets/runs").get_data(as_text=True)
    older = viewer.get(f"/d/pets/runs?before={newest}").get_data(as_text=True)
    assert f"Run {trained}" in older
    assert "Older runs" not in older


# --- the form


def test_the_form_is_for_leads_and_says_what_folds_cost(browser_as: BrowserAs, trained: int) -> None:
    assert browser_as("reviewer").get("/d/pets/runs/new").status_code == 403
    assert browser_as("reviewer").post("/d/pets/runs").status_code == 403
    page = browser_as("lead").get("/d/pets/runs/new").get_data(as_text=True)
    assert "4 folds take about four times as long" in page
    assert '<option value="resnet18">' in page
    assert f"Run {trained} (compact, quick) took 1 min 1 s." in page


def test_asking_makes_a_run_and_its_job(browser_as: BrowserAs, database: Database, trained: int) -> None:
    form = {"arch": "compact", "preset": "quick", "folds": "3", "epochs": "2", "balance": "weigh", "vary": "unmirrored"}
    answer = browser_as("lead").post("/d/pets/runs", form)
    job = get_job(database)
    assert (answer.status_code, answer.location) == (303, f"/d/pets/runs/{job.params['run']}")
    assert (job.kind, job.status, job.params["dataset"]) == ("train", "queued", "pets")
    with database.read() as session:
        run = session.get_one(Run, job.params["run"])
        assert run.config["overrides"] == {"class_weighting": "balanced", "flip": False, "epochs": 2}
        assert (run.config["folds"], run.config["promote"], run.status) == (3, False, "queued")


@pytest.mark.parametrize(
    ("field", "typed", "says"),
    [
        ("epochs", "many", "A whole number from 1 to 10,000."),
        ("folds", "1", "0 for none, or 2 to 20."),
        ("seed", "-3", "A whole number from 0 to"),
        ("arch", "resnet19", "There is no architecture “resnet19”"),
        ("preset", "slow", "There is no preset “slow”"),
        ("vary", "wildly", "Choose one of these."),
        ("balance", "evenly", "Choose one of these."),
        ("schedule", "stairs", "Choose one of these."),
        ("learning_rate", "much", "A number from 1e-08 to 100."),
        ("augment.shear", "61", "A number from 0 to 60."),
        ("max_per_class", "-1", "A whole number from 0 to 1,000,000."),
        ("from_run", "99", "There is no run 99"),
    ],
)
def test_what_cannot_be_used_is_said_beside_what_was_typed(
    browser_as: BrowserAs, database: Database, trained: int, field: str, typed: str, says: str
) -> None:
    answer = browser_as("lead").post("/d/pets/runs", {"preset": "quick", "arch": "compact", "folds": "0", field: typed})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert says in page
    assert field in CHOSEN or f'value="{typed}"' in page
    with database.read() as session:
        assert [run.id for run in session.scalars(select(Run))] == [trained]


def test_one_class_cannot_be_trained_on(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        make_pets(session)
        for cls in session.scalars(select(Class).where(Class.name != "cat")):
            cls.retired = True
    answer = browser_as("lead").post("/d/pets/runs", {"folds": "0"})
    assert answer.status_code == 422
    assert "Training needs images of two classes at least" in answer.get_data(as_text=True)


def test_an_empty_form_is_the_preset() -> None:
    assert parse_training({}) == TrainingRequest(folds=0, promote=False)
    assert parse_training({"vary": "none", "patience": "5", "promote": "on"}).overrides == {
        "patience": 5,
        "augment": dict.fromkeys(("flip", "shift", "rotation", "zoom", "brightness", "contrast", "erasing"), 0.0),
    }
    with pytest.raises(Invalid) as refused:
        parse_training({"epochs": "0", "seed": "٣"})
    assert set(refused.value.fields) == {"epochs", "seed"}


def test_the_form_asks_for_data_steps_and_settings() -> None:
    typed = {
        "balance": "draw", "flagged": "drop", "flagged_by": "3", "flagged_from": "0.8", "targets": "votes",
        "max_per_class": "500", "augment.shear": "12.5", "schedule": "plateau", "decay_epochs": "2", "channels": "1",
        "compile": "on", "from_run": "2", "arch": "resnet18", "seed": "7",
    }  # fmt: skip
    asked = parse_training(typed)
    assert (asked.arch, asked.from_run, asked.seed) == ("resnet18", 2, 7)
    assert asked.overrides == {
        "sampling": "balanced", "flagged": "drop", "flagged_by": 3, "flagged_from": 0.8, "targets": "votes",
        "max_per_class": 500, "augment.shear": 12.5, "schedule": "plateau", "decay_epochs": 2, "channels": "1",
        "compile": True,
    }  # fmt: skip


def test_what_the_data_set_has_not_got_is_not_offered(browser_as: BrowserAs, database: Database, home: Home) -> None:
    with database.write() as session:
        make_pets(session)
    page = browser_as("lead").get("/d/pets/runs/new").get_data(as_text=True)
    for absent in ("Retrain", "Start from", 'name="flagged"', 'name="targets"'):
        assert absent not in page


def test_retraining_flags_and_votes_are_offered_where_there_are_any(
    browser_as: BrowserAs, database: Database, trained: int
) -> None:
    with database.write() as session:
        run = session.get_one(Run, trained)
        run.config = {**run.config, "folds": 4}
        image = session.scalars(select(Image)).first() or pytest.fail("no image")
        session.add(Vote(image_id=image.id, option="cat", class_id=image.label_id, count=3))
    lead = browser_as("lead")
    page = lead.get("/d/pets/runs/new").get_data(as_text=True)
    for offered in (f"run {trained} goes on with the labels", "Start from", 'name="flagged"', 'name="targets"'):
        assert offered in page
    form = {"preset": "retrain", "folds": "4", "flagged": "weigh", "flagged_by": str(trained), "targets": "votes"}
    assert lead.post("/d/pets/runs", form).status_code == 303
    with database.read() as session:
        run = session.get_one(Run, get_job(database).params["run"])
        assert (run.from_run_id, run.config["folds"]) == (trained, 0)
        assert run.config["data_steps"]["flagged_by"] == trained


# --- while it trains


def test_a_queued_run_waits_and_can_be_cancelled(browser_as: BrowserAs, database: Database, trained: int) -> None:
    run_id = add_open_run(database)
    lead = browser_as("lead")
    page = lead.get(f"/d/pets/runs/{run_id}").get_data(as_text=True)
    assert "is queued" in page
    assert "Waiting" in page
    assert lead.post(f"/d/pets/runs/{run_id}/cancel").status_code == 303
    assert (get_status(database, run_id), get_job(database).status) == ("cancelled", "cancelled")
    assert "was cancelled" in lead.get(f"/d/pets/runs/{run_id}").get_data(as_text=True)
    assert lead.post(f"/d/pets/runs/{run_id}/cancel").status_code == 409


def test_a_running_run_shows_how_far_it_is_and_its_curves(
    browser_as: BrowserAs, database: Database, home: Home, trained: int
) -> None:
    run_id = add_open_run(database, status="running")
    write_curves(home, run_id, epochs=3, of=10)
    with database.write() as session:
        job = session.scalars(select(Job)).one()
        job.done, job.total, job.message = 300, 1000, "Epoch 4 of 10"
        job.started_at = utc_now() - timedelta(seconds=90)
    viewer = browser_as("viewer")
    page = viewer.get(f"/d/pets/runs/{run_id}").get_data(as_text=True)
    assert "30 %" in page
    assert "Epoch 4 of 10 · about 3 min 30 s left" in page
    assert "Accuracy: training from 25.0 % to 75.0 %; validation from 20.0 % to 60.0 %." in page
    assert "Cancel" not in page  # not for a viewer

    block = viewer.get(f"/d/pets/runs/{run_id}/live", htmx=True).get_data(as_text=True)
    assert '<div id="live"' in block
    assert "<html" not in block
    line = viewer.get(f"/d/pets/runs/{run_id}/progress", htmx=True).get_data(as_text=True)
    assert line.lstrip().startswith(f'<div class="run_progress" id="run_{run_id}_progress"')

    with database.write() as session:
        session.get_one(Run, run_id).status = "failed"
    over = viewer.get(f"/d/pets/runs/{run_id}/live", htmx=True)
    assert over.headers["HX-Redirect"] == f"/d/pets/runs/{run_id}"
    assert viewer.get(f"/d/pets/runs/{run_id}/progress", htmx=True).headers["HX-Redirect"] == "/d/pets/runs"


def test_a_run_from_the_command_line_is_shown_without_a_job(
    browser_as: BrowserAs, database: Database, trained: int
) -> None:
    run_id = add_open_run(database, status="running", with_job=False)
    lead = browser_as("lead")
    assert "The curves begin with the first epoch." in lead.get(f"/d/pets/runs/{run_id}").get_data(as_text=True)
    assert lead.post(f"/d/pets/runs/{run_id}/cancel").status_code == 409


def test_a_failed_run_says_why_and_is_tried_again(browser_as: BrowserAs, database: Database, trained: int) -> None:
    run_id = add_open_run(database, status="running")
    with database.write() as session:
        runs.fail_run(session.get_one(Run, run_id), error="There is no memory left; set a smaller batch_size.")
        job = session.scalars(select(Job)).one()
        job.status, job.log = "failed", "Traceback <here>"
    lead = browser_as("lead")
    page = lead.get(f"/d/pets/runs/{run_id}").get_data(as_text=True)
    assert "There is no memory left; set a smaller batch_size." in page
    assert "Traceback &lt;here&gt;" in page
    assert lead.post(f"/d/pets/runs/{run_id}/retry").location == f"/d/pets/runs/{run_id}"
    assert (get_status(database, run_id), get_job(database).status) == ("queued", "queued")
    assert lead.post(f"/d/pets/runs/{run_id}/retry").status_code == 409
    assert lead.post(f"/d/pets/runs/{trained}/retry").status_code == 409


def test_a_job_that_died_ends_the_run_for_the_reader(browser_as: BrowserAs, database: Database, trained: int) -> None:
    run_id = add_open_run(database, status="running")
    with database.write() as session:
        job = session.scalars(select(Job)).one()
        job.status, job.error = "failed", "The worker died several times."
    assert "The worker died several times." in browser_as("viewer").get(f"/d/pets/runs/{run_id}").get_data(as_text=True)


# --- what came out


def test_a_done_run_says_its_number_with_all_that_it_needs(browser_as: BrowserAs, trained: int) -> None:
    page = browser_as("viewer").get(f"/d/pets/runs/{trained}").get_data(as_text=True)
    assert "[46.8, 91.1] · n 12 test · chance 33.3 %" in page
    assert "always “cat”" in page
    assert "Promote" not in page
    assert "Review these" not in page  # a viewer only looks


def test_the_training_part_says_how_it_came_about(browser_as: BrowserAs, home: Home, trained: int) -> None:
    viewer = browser_as("viewer")
    page = viewer.get(f"/d/pets/runs/{trained}/training").get_data(as_text=True)
    assert "While it trained" in page
    assert "of 24: 12 trained on, 12 measured on (test), 2 left out" in page
    assert "2 images of train have a pixel-identical copy" in page
    assert "need a run with folds" in page
    assert "workbench train --dataset pets --arch compact --preset quick --seed 0" in page
    assert f'<a href="/d/pets/runs/{trained}/training" aria-current="page">Training</a>' in page
    (home.run_folder(trained) / "metrics.jsonl").unlink()
    assert "While it trained" not in viewer.get(f"/d/pets/runs/{trained}/training").get_data(as_text=True)


def test_the_parts_of_a_run_that_is_not_done_lead_to_its_page(
    browser_as: BrowserAs, database: Database, trained: int
) -> None:
    run_id = add_open_run(database)
    answer = browser_as("viewer").get(f"/d/pets/runs/{run_id}/training")
    assert (answer.status_code, answer.location) == (303, f"/d/pets/runs/{run_id}")


def test_the_matrix_links_to_its_cells_and_the_worst_comes_first(browser_as: BrowserAs, trained: int) -> None:
    page = browser_as("lead").get(f"/d/pets/runs/{trained}").get_data(as_text=True)
    assert f'href="/d/pets/runs/{trained}/cell?true=cat&amp;predicted=dog"' in page
    assert page.index("Review these 2") < page.index("Review it")
    assert page.count('alt="Labelled cat, predicted dog"') == 2
    assert "50.0 %" in page  # the recall of cat


def test_the_queues_of_a_promoted_run_are_announced(browser_as: BrowserAs, database: Database, trained: int) -> None:
    with database.read() as session:
        queues = list(session.scalars(select(Queue)))
    page = browser_as("viewer").get(f"/d/pets/runs/{trained}").get_data(as_text=True)
    assert f"<strong>{len(queues)} queues opened</strong>, about" in page


def test_a_cell_shows_its_images_and_builds_its_queue(browser_as: BrowserAs, database: Database, trained: int) -> None:
    lead = browser_as("lead")
    page = lead.get(f"/d/pets/runs/{trained}/cell?true=cat&predicted=dog").get_data(as_text=True)
    assert "Labelled cat, predicted dog" in page
    assert "2 images of test" in page
    assert page.count("<li>") == 2
    with database.read() as session:
        cat, dog = (session.scalars(select(Class).where(Class.name == name)).one().id for name in ("cat", "dog"))
    assert f"/d/pets/images?class={cat}&amp;predicted={dog}&amp;split=test" in page
    answer = lead.post(
        "/d/pets/queues/build", {"recipe": "confusion", "run": trained, "cell": "cat:dog", "split": "test"}
    )
    assert answer.status_code == 303
    with database.read() as session:
        assert session.scalars(select(Queue).order_by(Queue.id.desc())).first().size == 2  # type: ignore[union-attr]
    empty = lead.get(f"/d/pets/runs/{trained}/cell?true=dog&predicted=owl").get_data(as_text=True)
    assert "No image here now" in empty
    assert lead.get(f"/d/pets/runs/{trained}/cell?true=cat&predicted=fish").status_code == 404


def test_a_cell_follows_the_newest_labels(browser_as: BrowserAs, database: Database, trained: int) -> None:
    with database.write() as session:
        dog = session.scalars(select(Class).where(Class.name == "dog")).one()
        image = session.scalars(select(Image).where(Image.path == "cat/1.png")).one()
        image.label_id = image.base_label_id = dog.id
    viewer = browser_as("viewer")
    cell = viewer.get(f"/d/pets/runs/{trained}/cell?true=cat&predicted=dog").get_data(as_text=True)
    assert "1 image of test" in cell
    page = viewer.get(f"/d/pets/runs/{trained}").get_data(as_text=True)
    assert "By the newest labels: 83.3 %" in page


def test_a_better_run_is_set_against_the_champion_and_promoted(
    browser_as: BrowserAs, database: Database, home: Home, trained: int
) -> None:
    with database.write() as session:
        dataset = session.scalars(select(Dataset)).one()
        alice = users.ensure_user(session, "alice", role="lead")
        better = add_run(session, home, dataset=dataset, user=alice, folds=4).id
    lead = browser_as("lead")
    page = lead.get(f"/d/pets/runs/{better}").get_data(as_text=True)
    assert f"On 12 images (test) run {better} gets 100.0% right and run {trained} 75.0%" in page
    assert f"/d/pets/compare?a={trained}&amp;b={better}" in page
    assert "Not one image of this split was predicted wrong." in page
    training = lead.get(f"/d/pets/runs/{better}/training").get_data(as_text=True)
    assert "by a model that had not seen it (4 folds)" in training
    assert browser_as("reviewer").post(f"/d/pets/runs/{better}/promote").status_code == 403
    assert lead.post(f"/d/pets/runs/{better}/promote").location == f"/d/pets/runs/{better}"
    with database.read() as session:
        assert session.scalars(select(Dataset)).one().promoted_run_id == better
    assert "✓ promoted" in lead.get(f"/d/pets/runs/{better}").get_data(as_text=True)


def test_a_run_whose_predictions_are_gone_keeps_its_numbers(browser_as: BrowserAs, home: Home, trained: int) -> None:
    (home.run_folder(trained) / "predictions.npz").unlink()
    page = browser_as("lead").get(f"/d/pets/runs/{trained}").get_data(as_text=True)
    assert "75.0 %" in page
    assert "The predictions of this run are gone" in page


def test_a_run_of_another_data_set_is_not_found(browser_as: BrowserAs, database: Database, trained: int) -> None:
    with database.write() as session:
        make_pets(session, name="others")
    assert browser_as("viewer").get(f"/d/others/runs/{trained}").status_code == 404
