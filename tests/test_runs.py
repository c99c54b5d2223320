"""Training as a service: what it is given, what it leaves, how it ends."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.drawn import add_image, draw_png, make_stripes
from workbench import __version__
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.errors import Cancelled, Conflict, Invalid, NotFound
from workbench.models import Dataset, Image, Import, Queue, Run, User
from workbench.queries import datasets as dataset_queries
from workbench.queries import runs as queries
from workbench.services import datasets, decisions, evaluations, runs, users, versions
from workbench.services.predictions import load_predictions
from workbench.worker import materials, trainings
from workbench.worker.context import Context

# one thread: with two, torch's threads wait for each other when other tests run beside
TINY: dict[str, Any] = {"image_size": 16, "threads": 1, "batch_size": 16, "precision": "float32"}


def train(context: Context, **asked: Any) -> dict[str, Any]:
    settings = {**TINY, **asked.pop("settings", {})}
    return trainings.train(context, **{"dataset": "stripes", "epochs": 2, "settings": settings, **asked})


def read_losses(home: Home, run_id: int) -> list[float]:
    lines = (home.run_folder(run_id) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["train_loss"] for line in lines]


def get_dataset(session: Session) -> Dataset:
    return dataset_queries.get_dataset(session, "stripes")


@pytest.fixture
def context(database: Database, home: Home) -> Context:
    return Context(database, home)


@pytest.fixture
def stripes(database: Database, home: Home) -> None:
    with database.write() as session:
        make_stripes(session, home)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Context, dict[str, Any]]]:
    """A data set with a wrong label in train and one in test, trained on with folds. Read only."""
    home = Home.at(tmp_path_factory.mktemp("trained") / "home")
    database = open_database(home)
    with database.write() as session:
        dataset = make_stripes(session, home)
        rows, columns = (datasets.get_class(session, dataset, name) for name in ("rows", "columns"))
        for path, wrong in (("rows/000.png", columns), ("columns/004.png", rows)):
            image = session.scalars(select(Image).where(Image.path == path)).one()
            image.first_label_id = image.base_label_id = image.label_id = wrong.id  # as the import said
    context = Context(database, home)
    yield context, train(context, epochs=10, folds=3)
    database.close()


def test_the_answer_and_the_row_say_the_same(trained: tuple[Context, dict[str, Any]]) -> None:
    context, answer = trained
    with context.database.read() as session:
        run = queries.get_run(session, answer["run"])
        assert (run.status, run.arch, run.epochs_done, run.error) == ("done", "compact", 10, "")
        assert run.content_hash == versions.content_hash(session, get_dataset(session))
        assert run.metrics is not None
        assert answer["test"] == {key: run.metrics[key] for key in answer["test"]}
        assert (run.seconds > 0, run.images_per_second is not None) == (True, True)
        assert run.config["training"]["image_size"] == 16
    assert (answer["test"]["split"], answer["test"]["n"]) == ("test", 12)
    assert answer["test"]["accuracy"] > answer["test"]["baseline"]["accuracy"]
    assert answer["counts"] == {
        "images": 60, "unreadable": 0, "unreadable_paths": [], "not_usable": 0, "leaked": 0, "inherited": 0,
        "trained": 36, "validation": 12, "evaluated": 12, "variants": 0, "dropped": 0, "weighed": 0,
        "capped": 0, "by_votes": 0,
    }  # fmt: skip


def test_evaluating_again_gives_the_numbers_of_the_training(trained: tuple[Context, dict[str, Any]]) -> None:
    context, answer = trained
    with context.database.read() as session:
        run = queries.get_run(session, answer["run"])
        assert run.metrics is not None
        found = evaluations.evaluate_run(session, context.home, run)
        for key in ("n", "accuracy", "low", "high", "macro_f1", "log_loss", "ece", "confusion", "classes"):
            assert found[key] == run.metrics[key], key


def test_with_folds_every_image_has_an_out_of_sample_prediction(trained: tuple[Context, dict[str, Any]]) -> None:
    context, answer = trained
    said = load_predictions(context.home, answer["run"])
    assert said.out_of_sample.all()
    assert np.isfinite(said.p_wrong).all()
    assert said.probs.shape == (60, 3)
    np.testing.assert_allclose(np.linalg.norm(said.features.astype(np.float32), axis=1), 1, atol=1e-2)


def test_the_planted_wrong_labels_are_the_most_suspicious(trained: tuple[Context, dict[str, Any]]) -> None:
    context, answer = trained
    said = load_predictions(context.home, answer["run"])
    with context.database.read() as session:
        worst = said.image_ids[np.argsort(-said.p_wrong)[:2]].tolist()
        images = [session.get_one(Image, image_id) for image_id in worst]
        names = {cls.id: cls.name for cls in dataset_queries.list_classes(session, get_dataset(session).id)}
        assert {image.path for image in images} == {"rows/000.png", "columns/004.png"}
        for image in images:
            row = said.find(image.id)
            assert row is not None
            assert names[int(said.suggested_ids[row])] == image.path.partition("/")[0]


def test_the_first_run_is_promoted_and_opens_queues(trained: tuple[Context, dict[str, Any]]) -> None:
    context, answer = trained
    assert (answer["promoted"], answer["first"]) == (True, True)
    said = load_predictions(context.home, answer["run"])
    with context.database.read() as session:
        dataset = get_dataset(session)
        assert dataset.promoted_run_id == answer["run"]
        images = session.scalars(select(Image).order_by(Image.id)).all()
        assert [image.predicted_id for image in images] == said.predicted_ids.tolist()
        assert [image.confidence for image in images] == pytest.approx(said.confidence.tolist())
        assert [image.p_wrong for image in images] == pytest.approx(said.p_wrong.tolist())
        recipes = set(session.scalars(select(Queue.recipe).where(Queue.automatic, Queue.closed_at.is_(None))))
        assert {"label_issues", "uncertain"} <= recipes


def test_the_folder_holds_what_the_design_names(trained: tuple[Context, dict[str, Any]]) -> None:
    context, answer = trained
    folder = context.home.run_folder(answer["run"])
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.pt", "config.json", "dynamics.npz", "images.npz", "lock", "metrics.jsonl", "predictions.npz",
        "probe.json",
    ]  # fmt: skip
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 10


def test_a_run_knows_which_program_trained_it(trained: tuple[Context, dict[str, Any]]) -> None:
    context, answer = trained
    with context.database.read() as session:
        known = queries.get_run(session, answer["run"]).config["program"]
    assert (known["workbench"], known["torch"]) == (__version__, torch.__version__)
    assert re.fullmatch("[0-9a-f]{12}", known["ml"])


def test_without_folds_images_trained_on_are_in_sample_but_their_labels_are_judged(
    stripes: None, context: Context
) -> None:
    answer = train(context)
    said = load_predictions(context.home, answer["run"])
    with context.database.read() as session:
        rows = versions.states_at(session, get_dataset(session))
    in_train = np.array([row.split == "train" for row in rows])
    np.testing.assert_array_equal(said.out_of_sample, ~in_train)
    assert np.isfinite(said.p_wrong).all()
    np.testing.assert_array_equal(said.judging[~in_train], said.probs[~in_train])
    assert (said.judging[in_train] != said.probs[in_train]).any(1).all()  # by what it said while it learned


def test_only_usable_images_teach_and_all_are_predicted(stripes: None, context: Context) -> None:
    with context.database.write() as session:
        dataset, admin = get_dataset(session), users.ensure_admin(session)
        blank, rows = (datasets.get_class(session, dataset, name) for name in ("blank", "rows"))
        images = {image.path: image for image in session.scalars(select(Image))}
        decisions.decide(session, image=images["rows/000.png"], user=admin, verdict="exclude")
        decisions.decide(
            session, image=images["rows/001.png"], user=admin, verdict="ambiguous", class_ids=[blank.id, rows.id]
        )
        datasets.retire_class(session, dataset=dataset, user=admin, cls=blank)

    answer = train(context)

    assert (answer["counts"]["trained"], answer["counts"]["evaluated"]) == (12 + 10, 8)
    assert answer["counts"]["not_usable"] == 22
    said = load_predictions(context.home, answer["run"])
    assert said.probs.shape == (60, 2)
    assert said.out_of_sample.sum() == 60 - 22


def test_copies_of_images_measured_on_are_left_out_of_training(stripes: None, context: Context) -> None:
    with context.database.write() as session:
        dataset, source = get_dataset(session), session.get_one(Import, 1)
        rows = datasets.get_class(session, dataset, "rows")
        data = draw_png("rows", seed=4)  # rows/004.png stands in test
        image = add_image(
            session, context.home, dataset, source, path="copy.png", data=data, label_id=rows.id, split="train"
        )
        image_id = image.id

    answer = train(context)

    assert (answer["counts"]["leaked"], answer["counts"]["trained"]) == (1, 36)
    said = load_predictions(context.home, answer["run"])
    assert said.out_of_sample[said.find(image_id)]


@pytest.mark.parametrize("folds", [0, 2])
def test_a_copy_of_an_image_trained_on_is_not_called_unseen(stripes: None, context: Context, folds: int) -> None:
    with context.database.write() as session:
        dataset, source = get_dataset(session), session.get_one(Import, 1)
        data = draw_png("rows", seed=0)  # rows/000.png stands in train
        add_image(session, context.home, dataset, source, path="copy.png", data=data, label_id=None, split=None)
    answer = train(context, epochs=1, folds=folds)
    said = load_predictions(context.home, answer["run"])
    assert said.out_of_sample[-1] == bool(folds)
    if folds:  # predicted by the model of its copy's fold
        np.testing.assert_array_equal(said.probs[-1], said.probs[0])


@pytest.mark.parametrize(
    ("splits", "split"),
    [(("train", "validation"), "validation"), ((None,), runs.HELD_OUT), (("train",), runs.HELD_OUT)],
)
def test_what_a_run_is_measured_on_without_a_test_split(
    context: Context, splits: tuple[str | None, ...], split: str
) -> None:
    with context.database.write() as session:
        make_stripes(session, context.home, splits=splits)
    answer = train(context, epochs=1)
    counts = answer["counts"]
    assert (answer["test"]["split"], answer["test"]["n"]) == (split, counts["evaluated"])
    assert counts["trained"] + counts["evaluated"] == 60
    if split == runs.HELD_OUT:
        with context.database.read() as session:
            rows = versions.states_at(session, get_dataset(session))
        assert counts["evaluated"] == sum(runs.is_held_out(row.pixel_sha256) for row in rows) > 0


def test_about_15_percent_are_held_out() -> None:
    assert sum(runs.is_held_out(f"{number:064x}") for number in range(10_000)) == pytest.approx(1500, abs=120)


def test_a_run_trains_on_the_version_that_it_names(stripes: None, context: Context) -> None:
    with context.database.write() as session:
        dataset, admin = get_dataset(session), users.ensure_admin(session)
        asked = {"overrides": {**TINY, "epochs": 1}, "seed": 3}
        run_id = runs.create_run(session, dataset=dataset, user=admin, **asked).id
        for image in session.scalars(select(Image).where(Image.split == "train").limit(5)).all():
            decisions.decide(session, image=image, user=admin, verdict="exclude")

    answer = train(context, run=run_id)

    assert (answer["run"], answer["counts"]["trained"], answer["epochs"]) == (run_id, 36, 1)
    assert train(context, run=run_id)["test"] == answer["test"]  # asked again: the same run


def test_equal_requests_give_equal_runs_and_other_seeds_do_not(stripes: None, context: Context) -> None:
    first, second, other = train(context), train(context), train(context, seed=1)
    assert [first["run"], second["run"], other["run"]] == [1, 2, 3]
    assert first["test"] == second["test"] != other["test"]
    np.testing.assert_array_equal(*(load_predictions(context.home, number).probs for number in (1, 2)), strict=True)
    assert (second["promoted"], second["first"]) == (False, False)


def test_promoting_a_later_run_replaces_the_columns_and_the_queues(stripes: None, context: Context) -> None:
    train(context)
    with context.database.write() as session:
        source, dataset = session.get_one(Import, 1), get_dataset(session)
        data = draw_png("rows", seed=999)
        add_image(session, context.home, dataset, source, path="late.png", data=data, label_id=None, split=None)
    answer = train(context, epochs=6, seed=1, promote=True)
    assert (answer["promoted"], answer["first"]) == (True, False)
    with context.database.write() as session:
        assert session.scalars(select(Image.predicted_id).where(Image.path == "late.png")).one() is not None

        runs.promote(session, context.home, queries.get_run(session, 1))

        late = session.scalars(select(Image).where(Image.path == "late.png")).one()
        assert (late.predicted_id, late.confidence, late.p_wrong) == (None, None, None)
        assert get_dataset(session).promoted_run_id == 1
        open_of = session.scalars(select(Queue.run_id).where(Queue.automatic, Queue.closed_at.is_(None)).distinct())
        assert open_of.all() == [1]


def test_a_run_may_start_from_another_and_is_not_measured_on_what_that_one_knows(
    stripes: None, context: Context
) -> None:
    train(context, epochs=6)
    with context.database.write() as session:
        dataset, admin = get_dataset(session), users.ensure_admin(session)
        moved = session.scalars(select(Image).where(Image.path == "rows/000.png")).one()
        line = decisions.Line("split", moved.id, detail={"split": "test"})
        decisions.submit(session, dataset=dataset, user=admin, lines=[line])

    still: dict[str, Any] = {"epochs": 1, "settings": {"learning_rate": 1e-6}}  # the weights stay what they were
    answer = train(context, from_run=1, **still)

    assert (answer["counts"]["inherited"], answer["test"]["n"]) == (1, 12)
    cold = train(context, **still)
    losses = [read_losses(context.home, each["run"])[0] for each in (answer, cold)]
    assert losses[0] < 0.8 * losses[1]
    said = load_predictions(context.home, answer["run"])
    assert said.out_of_sample.sum() == 24
    with pytest.raises(Invalid, match="another architecture or image size"):
        train(context, epochs=1, from_run=1, arch="squeezenet1_1", settings={"image_size": 32})


def test_progress_counts_up_to_its_total(stripes: None, database: Database, home: Home) -> None:
    seen: list[tuple[int, int, str]] = []
    context = Context(database, home, lambda done, total, message: seen.append((done, total, message)))
    train(context, folds=2)
    counted = [(done, total) for done, total, _ in seen if total]
    assert counted == sorted(counted)
    assert len({total for _, total in counted}) == 1
    assert counted[-1][0] == counted[-1][1]
    assert {message for _, _, message in seen} >= {"Epoch 2 of 2", "Fold 2 of 2", "Reading images: 0 of 60"}


def test_cancel_ends_the_run_and_the_next_request_begins_anew(stripes: None, database: Database, home: Home) -> None:
    def stop(done: int, total: int, message: str) -> None:
        if message.startswith("Epoch 2"):
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        train(Context(database, home, stop))

    with database.read() as session:
        run = queries.get_run(session, 1)
        assert (run.status, run.finished_at is not None, runs.is_alive(home, 1)) == ("cancelled", True, False)
    assert train(Context(database, home))["run"] == 2


def test_a_run_left_running_is_gone_on_with(stripes: None, database: Database, home: Home) -> None:
    undisturbed = train(Context(database, home), folds=2)

    def die(done: int, total: int, message: str) -> None:
        if message.startswith("Fold 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Context(database, home, die), folds=2)
    with database.read() as session:
        assert (queries.get_run(session, 2).status, runs.is_alive(home, 2)) == ("running", False)

    answer = train(Context(database, home), folds=2)

    assert (answer["run"], answer["test"]) == (2, undisturbed["test"])
    first, second = (load_predictions(home, number) for number in (1, 2))
    np.testing.assert_array_equal(first.probs, second.probs)
    np.testing.assert_array_equal(first.p_wrong, second.p_wrong)


def test_a_run_left_running_on_another_version_is_not_gone_on_with(
    stripes: None, database: Database, home: Home
) -> None:
    def die(done: int, total: int, message: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Context(database, home, die))
    with database.write() as session:
        image = session.get_one(Image, 1)
        decisions.decide(session, image=image, user=users.ensure_admin(session), verdict="exclude")
    assert train(Context(database, home))["run"] == 2


def test_a_run_that_is_being_trained_is_not_trained_twice(stripes: None, database: Database, home: Home) -> None:
    refusals: list[str] = []

    def meddle(done: int, total: int, message: str) -> None:
        if not refusals:
            for asked in ({}, {"run": 1}):
                with pytest.raises(Conflict) as refused:
                    train(Context(database, home), **asked)
                refusals.append(str(refused.value))

    train(Context(database, home, meddle))
    assert refusals == [
        "Run 1 is training just this right now; wait for it or cancel it.",
        "Run 1 is being trained right now; wait for it or cancel it.",
    ]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"arch": "resnet19"}, "no architecture “resnet19”; did you mean resnet18"),
        ({"preset": "fast"}, "no preset “fast”; use quick, standard, thorough, retrain"),
        ({"folds": 1}, "Folds are 0"),
        ({"seed": -1}, "seed"),
        ({"settings": {"learning_rat": "1"}}, "no setting 'learning_rat'"),
        ({"settings": {"learning_rate": "much"}}, "learning_rate must be a number"),
        ({"dataset": "cats"}, "no data set “cats”"),
        ({"from_run": 7}, "no run 7"),
    ],
)
def test_a_bad_request_is_refused_and_leaves_no_run(
    stripes: None, context: Context, asked: dict[str, Any], sentence: str
) -> None:
    with pytest.raises((Invalid, NotFound), match=sentence):
        train(context, **asked)
    with context.database.read() as session:
        assert session.scalars(select(Run)).all() == []


def test_a_data_set_without_enough_to_learn_is_refused(context: Context) -> None:
    with context.database.write() as session:
        datasets.ensure_dataset(session, "stripes")
    with pytest.raises(Invalid, match="stripes has no images yet"):
        train(context)
    with context.database.write() as session:
        make_stripes(session, context.home, classes=("rows",))
    with pytest.raises(Invalid, match="images of two classes at least; stripes has images of rows only"):
        train(context)
    with context.database.write() as session:
        make_stripes(session, context.home, name="measured", splits=("test",))
    with pytest.raises(Invalid, match="train split of measured holds images of fewer than two classes"):
        train(context, dataset="measured")


def test_files_that_vanished_are_counted_and_if_all_did_the_run_fails(stripes: None, context: Context) -> None:
    objects = sorted(path for path in context.home.objects.rglob("*") if path.is_file())
    with context.database.read() as session:
        lost = session.get_one(Image, 1)
        path = context.home.objects / lost.file_sha256[:2] / lost.file_sha256[2:]
    path.unlink()
    answer = train(context)
    assert (answer["counts"]["unreadable"], answer["counts"]["unreadable_paths"]) == (1, ["rows/000.png"])
    assert len(load_predictions(context.home, 1).image_ids) == 59

    for each in objects:
        each.unlink(missing_ok=True)
    with pytest.raises(Invalid, match=r"Fewer than two classes have images left to train on \(60 could not be read\)"):
        train(context)
    with context.database.read() as session:
        run = queries.get_run(session, 2)
        assert (run.status, run.error[:12]) == ("failed", "Fewer than t")


def test_a_training_that_diverges_fails_with_a_sentence(stripes: None, context: Context) -> None:
    with pytest.raises(Invalid, match="set a lower learning_rate"):
        train(context, epochs=6, settings={"learning_rate": 100, "optimizer": "sgd", "warmup": 0})
    with context.database.read() as session:
        assert queries.get_run(session, 1).status == "failed"


def test_colour_images_are_trained_in_colour(context: Context) -> None:
    with context.database.write() as session:
        make_stripes(session, context.home, colour=True)
    train(context, epochs=1)
    with context.database.read() as session:
        assert queries.get_run(session, 1).config["training"]["channels"] == 3


@pytest.mark.parametrize(
    ("sides", "preset", "size"),
    [
        ([8], "quick", 32),
        ([48], "quick", 48),
        ([50], "quick", 64),
        ([224], "quick", 96),
        ([224], "standard", 128),
        ([48, 48, 400], "quick", 48),
    ],
)
def test_the_default_size_follows_the_median(sides: list[int], preset: str, size: int) -> None:
    assert materials.default_size([(side, side // 2, "L") for side in sides], preset=preset) == size


def test_grey_stays_grey() -> None:
    assert materials.default_channels([(1, 1, "L"), (1, 1, "I;16")]) == 1
    assert materials.default_channels([(1, 1, "L"), (1, 1, "RGB")]) == 3


def test_a_run_is_asked_for_by_somebody(session: Session, home: Home, bob: User) -> None:
    dataset = make_stripes(session, home, per_class=5)
    run = runs.create_run(session, dataset=dataset, user=bob, folds=5, overrides={"epochs": 3})
    assert (run.status, run.created_by_id, run.preset) == ("queued", bob.id, "quick")
    assert run.config == {
        "overrides": {"epochs": 3},
        "folds": 5,
        "seed": 0,
        "promote": False,
        "classes": [{"id": 1, "name": "rows"}, {"id": 2, "name": "columns"}, {"id": 3, "name": "blank"}],
        "leave_out": "exact",
        "data_steps": {
            "flagged": "keep",
            "flagged_by": 0,
            "flagged_from": 0.5,
            "max_per_class": 0,
            "fill_per_class": 0,
            "targets": "labels",
            "posterior_by": 0,
            "keep_shares": 0.75,
        },
        "evaluation": {"split": "test", "frozen": False, "cleaned_with_own_flags": False},
    }
    assert not Path(home.run_folder(run.id)).exists()
