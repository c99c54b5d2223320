"""What is done to the images that teach: asked for, carried out, recorded, gone on with after a kill."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.drawn import make_stripes
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Invalid
from workbench.models import Dataset, Image, Run, Vote
from workbench.queries import datasets as dataset_queries
from workbench.queries import runs as queries
from workbench.services import datasets, decisions, runs, training_requests, users
from workbench.services.coverage import measure_coverage
from workbench.services.data_steps import DataSteps, describe_steps, list_settings, parse_steps, steps_of
from workbench.services.predictions import load_predictions
from workbench.services.training_sets import load_training_set
from workbench.worker import trainings
from workbench.worker.context import Context
from workbench.worker.materials import Material, gather, read_order, resolve_config

TINY: dict[str, Any] = {"image_size": 16, "threads": 1, "batch_size": 16, "precision": "float32"}


@pytest.fixture
def context(database: Database, home: Home) -> Context:
    with database.write() as session:
        make_stripes(session, home)
    return Context(database, home)


def train(context: Context, **asked: Any) -> dict[str, Any]:
    settings = {**TINY, **asked.pop("settings", {})}
    return trainings.train(context, **{"dataset": "stripes", "epochs": 1, "settings": settings, **asked})


def get_dataset(session: Session) -> Dataset:
    return dataset_queries.get_dataset(session, "stripes")


def ask(context: Context, **overrides: Any) -> int:
    with context.database.write() as session:
        dataset, admin = get_dataset(session), users.ensure_admin(session)
        return runs.create_run(session, dataset=dataset, user=admin, overrides={**TINY, **overrides}).id


def gather_for(context: Context, run_id: int) -> Material:
    with context.database.read() as session:
        order = read_order(session, context.home, run_id)
    return gather(context, order, resolve_config(order))


def count_taught(material: Material) -> list[int]:
    return np.bincount(material.labels[material.training], minlength=3).tolist()


def vote(context: Context, path: str, **counts: int) -> None:
    with context.database.write() as session:
        dataset = get_dataset(session)
        image = session.scalars(select(Image).where(Image.path == path)).one()
        known = {cls.name: cls.id for cls in dataset_queries.list_classes(session, dataset.id)}
        for option, count in counts.items():
            session.merge(Vote(image_id=image.id, option=option, class_id=known.get(option), count=count))


def row_of(material: Material, path: str) -> int:
    return next(index for index, row in enumerate(material.rows) if row.path == path)


# --- asking -----------------------------------------------------------------------------------------------------


def test_steps_are_parted_from_settings_of_the_training() -> None:
    steps, rest = parse_steps({"max_per_class": "12", "flagged_from": "0.7", "epochs": 3, "targets": "votes"})
    assert steps == DataSteps(max_per_class=12, flagged_from=0.7, targets="votes")
    assert rest == {"epochs": 3}
    assert list_settings(steps) == {"max_per_class": 12, "flagged_from": 0.7, "targets": "votes"}
    assert parse_steps(list_settings(steps)) == (steps, {})


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"targets": "raters"}, "targets is one of labels, votes, posterior, not “raters”."),
        ({"flagged": "hide"}, "flagged is one of keep, weigh, drop, not “hide”."),
        ({"max_per_class": "many"}, "max_per_class must be a whole number, not “many”."),
        ({"max_per_class": -1}, "max_per_class is 0 (no bound) to 1,000,000."),
        ({"max_per_class": 5, "fill_per_class": 6}, "fill_per_class may not be more than max_per_class."),
        ({"flagged_from": 0}, "flagged_from is a P(wrong), above 0 and at most 1."),
        ({"flagged_from": "nan"}, "flagged_from is a P(wrong), above 0 and at most 1."),
        ({"targets": "votes"}, "stripes has no votes; import some with --votes, or train on labels."),
        ({"flagged": "drop"}, "No run with folds is there yet to flag images: train one with --folds 4."),
    ],
)
def test_steps_that_cannot_be_done_are_refused_and_leave_no_run(
    context: Context, asked: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Invalid) as refused:
        train(context, settings=asked)
    assert str(refused.value) == sentence
    with context.database.read() as session:
        assert session.scalars(select(Run)).all() == []


def test_flags_need_a_run_that_did_not_learn_them(context: Context) -> None:
    train(context)
    with pytest.raises(Invalid, match="Run 1 was trained without folds, so it has no P"):
        ask(context, flagged="weigh", flagged_by=1)


def test_the_promoted_run_flags_or_the_newest_with_folds(context: Context) -> None:
    asked = {"folds": 2, "settings": {"image_size": 8}}
    train(context, **asked)
    train(context, promote=True, settings={"image_size": 8})
    with context.database.write() as session:
        dataset, admin = get_dataset(session), users.ensure_admin(session)
        dataset.promoted_run_id = 2
        run = runs.create_run(session, dataset=dataset, user=admin, overrides={"flagged": "drop"})
        assert steps_of(run).flagged_by == 1


def test_runs_are_alike_only_with_equal_steps(context: Context) -> None:
    vote(context, "rows/000.png", rows=1)

    def die(done: int, total: int, message: str) -> None:
        raise KeyboardInterrupt

    stopped = Context(context.database, context.home, die)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, settings={"max_per_class": 5})
    assert train(context, settings={"max_per_class": 6})["run"] == 2
    assert train(context, settings={"max_per_class": "5"})["run"] == 1


# --- carried out ------------------------------------------------------------------------------------------------


def test_a_cap_takes_the_same_images_for_a_seed_and_leaves_the_measured_alone(context: Context) -> None:
    first, second = (gather_for(context, ask(context, max_per_class=5)) for _ in range(2))
    assert count_taught(first) == [5, 5, 5]
    assert first.training.tolist() == second.training.tolist()
    assert (first.count()["trained"], first.count()["capped"], len(first.evaluation)) == (15, 21, 12)
    with context.database.write() as session:
        dataset, admin = get_dataset(session), users.ensure_admin(session)
        asked = {"overrides": {**TINY, "max_per_class": 5}, "seed": 1}
        other = runs.create_run(session, dataset=dataset, user=admin, **asked).id
    assert gather_for(context, other).training.tolist() != first.training.tolist()


def test_a_cap_above_what_there_is_changes_nothing(context: Context) -> None:
    assert count_taught(gather_for(context, ask(context, max_per_class=12))) == [12, 12, 12]


def test_rare_classes_are_filled_with_variants_that_know_their_parents(context: Context) -> None:
    with context.database.write() as session:
        admin = users.ensure_admin(session)
        for image in session.scalars(select(Image).where(Image.path.like("rows/%"), Image.split == "train").limit(9)):
            decisions.decide(session, image=image, user=admin, verdict="exclude")
    material = gather_for(context, ask(context, fill_per_class=12))

    assert count_taught(material) == [12, 12, 12]
    assert (material.count()["trained"], material.count()["variants"], len(material.rows)) == (27, 9, 60)
    assert material.images.shape == (69, 1, 16, 16)
    parents = material.parents
    assert sorted(np.bincount(parents)[np.unique(parents)].tolist()) == [3, 3, 3]  # each of the three images alike
    np.testing.assert_array_equal(material.labels[60:], material.labels[parents])
    np.testing.assert_array_equal(material.groups[60:], material.groups[parents])
    assert set(parents.tolist()) <= set(material.taught.tolist())
    assert all((material.images[60 + place] != material.images[row]).any() for place, row in enumerate(parents))


def test_variants_are_recorded_stay_with_their_parents_in_folds_and_are_not_predicted(context: Context) -> None:
    answer = train(context, settings={"fill_per_class": 15}, folds=2)
    said = load_predictions(context.home, answer["run"])
    assert (len(said.image_ids), answer["counts"]["variants"], answer["counts"]["trained"]) == (60, 9, 36)
    assert said.out_of_sample.all()
    kept = load_training_set(context.home, answer["run"])
    assert kept is not None
    assert (len(kept.trained), len(kept.parents)) == (36, 9)
    assert set(kept.parents.tolist()) <= set(kept.trained.tolist())


def test_votes_teach_their_shares_where_no_reviewer_decided(context: Context) -> None:
    vote(context, "rows/000.png", rows=6, columns=3, blank=1, unknown=5)
    vote(context, "rows/001.png", columns=4)
    vote(context, "rows/002.png", unknown=4)
    vote(context, "rows/005.png", blank=4)
    vote(context, "rows/004.png", blank=4)  # of test
    with context.database.write() as session:
        image = session.scalars(select(Image).where(Image.path == "rows/005.png")).one()
        decisions.decide(session, image=image, user=users.ensure_admin(session), verdict="confirm")
    material = gather_for(context, ask(context, targets="votes"))

    assert material.targets is not None
    expected = {"000": [0.6, 0.3, 0.1], "001": [0, 1, 0], "002": [1, 0, 0], "005": [1, 0, 0], "006": [1, 0, 0]}
    for name, shares in expected.items():
        assert material.targets[row_of(material, f"rows/{name}.png")].tolist() == pytest.approx(shares)
    assert material.count()["by_votes"] == 2
    assert material.labels[row_of(material, "rows/001.png")] == 0  # the hard label stays, to balance and measure


def test_votes_for_a_merged_class_count_for_what_it_became(context: Context) -> None:
    vote(context, "rows/000.png", rows=1, columns=1, blank=2)
    with context.database.write() as session:
        dataset, admin = get_dataset(session), users.ensure_admin(session)
        blank, columns = (datasets.get_class(session, dataset, name) for name in ("blank", "columns"))
        datasets.merge_class(session, dataset=dataset, user=admin, cls=blank, into=columns)
    material = gather_for(context, ask(context, targets="votes"))
    assert material.targets is not None
    assert material.targets[row_of(material, "rows/000.png")].tolist() == [0.25, 0.75]


def test_votes_that_change_while_a_run_is_interrupted_do_not_change_what_it_learns(context: Context) -> None:
    vote(context, "rows/000.png", rows=1, columns=1)
    undisturbed = train(context, settings={"targets": "votes"}, epochs=2)

    def die(done: int, total: int, message: str) -> None:
        if message.startswith("Epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Context(context.database, context.home, die), settings={"targets": "votes"}, epochs=2)
    vote(context, "rows/000.png", rows=9, columns=1)
    resumed = train(context, settings={"targets": "votes"}, epochs=2)
    assert resumed["run"] == 2
    assert resumed["test"] == undisturbed["test"]
    np.testing.assert_array_equal(*(load_predictions(context.home, number).probs for number in (1, 2)), strict=True)


def test_flagged_images_are_dropped_or_weighed_but_not_those_a_reviewer_decided_on(context: Context) -> None:
    train(context, folds=2)
    said = load_predictions(context.home, 1)
    with context.database.write() as session:
        image_ids = [image.id for image in session.scalars(select(Image).where(Image.split == "train"))]
        doubts = {image_id: float(said.p_wrong[said.find(image_id)]) for image_id in image_ids}
        worst = max(doubts, key=doubts.__getitem__)
        image = session.get_one(Image, worst)
        decisions.decide(session, image=image, user=users.ensure_admin(session), verdict="confirm")
    bound = sorted(doubts.values())[-5]
    wanted = {image_id for image_id, p_wrong in doubts.items() if p_wrong >= bound} - {worst}

    dropped = gather_for(context, ask(context, flagged="drop", flagged_from=bound))
    weighed = gather_for(context, ask(context, flagged="weigh"))

    taught = {dropped.rows[row].image_id for row in dropped.training}
    assert set(image_ids) - taught == wanted
    assert (dropped.count()["dropped"], dropped.weights) == (len(wanted), None)
    assert weighed.weights is not None
    assert (len(weighed.training), weighed.count()["weighed"]) == (36, sum(each > 0 for each in doubts.values()) - 1)
    for row in weighed.training:
        image_id = weighed.rows[row].image_id
        expected = 1.0 if image_id == worst else 1 - doubts[image_id]
        assert weighed.weights[row] == pytest.approx(expected)


def test_a_run_with_every_step_trains_and_says_what_was_done(context: Context) -> None:
    vote(context, "rows/000.png", rows=1, columns=1)
    train(context, folds=2)
    steps = {"flagged": "weigh", "max_per_class": 10, "fill_per_class": 10, "targets": "votes"}
    more = {"sampling": "balanced", "schedule": "plateau", "augment.shear": 10}
    answer = train(context, settings={**steps, **more}, folds=2)
    with context.database.read() as session:
        run = queries.get_run(session, answer["run"])
        assert steps_of(run) == DataSteps(**steps, flagged_by=1)
        assert run.config["training"]["augment"]["shear"] == 10
        command = training_requests.command_of(get_dataset(session), run)
        assert describe_steps(run.config) == [
            f"{answer['counts']['weighed']} images weighed 1 - P(wrong) by run 1.",
            "At most 10 images of a class taught, drawn by the seed: 6 did not.",
            "Classes with fewer than 10 images were filled up with 0 augmented variants, each kept with its parent.",
            f"{answer['counts']['by_votes']} images taught the shares of their votes, the others their label.",
        ]
        used = next(stage for stage in measure_coverage(session, context.home, run) if stage.name == "Usable images")
        assert {part.words: part.n for part in used.parts} == {
            "trained on": 30, "measured on": 12, "watched while it trained (validation)": 12,
            "more than the most of a class": 6,
        }  # fmt: skip
    for words in ("--set flagged=weigh", "--set flagged_by=1", "--set targets=votes", "--set max_per_class=10"):
        assert words in command


def test_a_run_from_before_there_were_steps_did_none(context: Context) -> None:
    answer = train(context)
    with context.database.write() as session:
        run = queries.get_run(session, answer["run"])
        run.config = {key: value for key, value in run.config.items() if key != "data_steps"}
    with context.database.read() as session:
        run = queries.get_run(session, answer["run"])
        assert (steps_of(run), describe_steps(run.config)) == (DataSteps(), [])


def test_two_classes_train_like_many(database: Database, home: Home) -> None:
    with database.write() as session:
        make_stripes(session, home, classes=("rows", "columns"))
    answer = train(Context(database, home), epochs=6, settings={"sampling": "balanced"}, folds=2)
    assert (answer["test"]["n"], answer["test"]["baseline"]["accuracy"]) == (8, 0.5)
    assert load_predictions(home, answer["run"]).probs.shape == (40, 2)


# --- retraining -------------------------------------------------------------------------------------------------


def test_retraining_starts_from_the_promoted_run_and_sees_as_it_saw(context: Context) -> None:
    train(context, arch="compact", settings={"image_size": 24, "flip": False})
    with context.database.write() as session:
        dataset, admin = get_dataset(session), users.ensure_admin(session)
        asked = {"min_steps": 0, "threads": 1}
        run = runs.create_run(session, dataset=dataset, user=admin, preset="retrain", overrides=asked)
        assert (run.arch, run.from_run_id) == ("compact", 1)
        run_id = run.id
    with context.database.read() as session:
        config = resolve_config(read_order(session, context.home, run_id))
    assert (config.image_size, config.channels, config.flip, config.epochs) == (24, 1, False, 1)
    answer = trainings.train(context, dataset="stripes", run=run_id)
    assert answer["test"]["n"] == 12
    with context.database.read() as session:
        assert queries.get_run(session, run_id).from_run_id == 1


def test_retraining_needs_a_run_and_no_folds(context: Context) -> None:
    with pytest.raises(Invalid, match="No run is promoted yet; train one first"):
        train(context, preset="retrain")
    train(context)
    with pytest.raises(Invalid, match="Folds start from nothing"):
        train(context, preset="retrain", folds=2)


def test_retraining_of_the_same_again_gives_the_same_bits(context: Context) -> None:
    train(context, epochs=2)
    first, second = (train(context, preset="retrain", from_run=1) for _ in range(2))
    assert first["test"] == second["test"]
    np.testing.assert_array_equal(*(load_predictions(context.home, number).probs for number in (2, 3)), strict=True)
