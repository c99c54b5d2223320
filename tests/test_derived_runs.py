"""Heads on runs and ensembles of runs: what they are fitted on, what they say, what is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import select

from ml.checkpoints import read_checkpoint
from ml.predict import load_model
from tests.drawn import make_stripes
from workbench import storage
from workbench.config import Home
from workbench.db import open_database
from workbench.errors import Invalid, NotFound
from workbench.models import Image, User
from workbench.queries import datasets as dataset_queries
from workbench.queries import runs as queries
from workbench.services import datasets, decisions, runs, users
from workbench.services.architectures import list_families
from workbench.services.predictions import load_predictions
from workbench.services.training_descriptions import describe_training
from workbench.services.training_requests import command_of
from workbench.services.training_sets import find_training_set
from workbench.worker import predicting, trainings
from workbench.worker.context import Context

TINY: dict[str, Any] = {"image_size": 16, "threads": 1, "batch_size": 16, "precision": "float32"}


def train(context: Context, **asked: Any) -> dict[str, Any]:
    return trainings.train(context, **{"dataset": "stripes", **asked})


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """Runs 1 and 2 with folds, run 3 without; 4 a head on run 1, 5 the mean of 1 and 2, 6 of 1 and 3."""
    home = Home.at(tmp_path_factory.mktemp("derived") / "home")
    database = open_database(home)
    with database.write() as session:
        make_stripes(session, home)
    context = Context(database, home)
    for seed, folds in ((0, 2), (1, 2), (2, 0)):
        train(context, epochs=1, seed=seed, folds=folds, settings=TINY)
    train(context, arch="head", from_run=1)
    train(context, arch="ensemble", settings={"members": "1,2"})
    train(context, arch="ensemble", settings={"members": "1, 3"})
    yield context
    database.close()


# --- heads ------------------------------------------------------------------------------------------------------


def test_a_head_leaves_the_network_as_it_was(bench: Context) -> None:
    with bench.database.read() as session:
        run = queries.get_run(session, 4)
        assert (run.arch, run.status, run.from_run_id, run.epochs_done) == ("head", "done", 1, 1)
        training = run.config["training"]
        assert (training["arch"], training["image_size"], training["epochs"]) == ("compact", 16, 1)
    base, own = (read_checkpoint(bench.home.run_folder(number) / "checkpoint.pt")["model"] for number in (1, 4))
    assert list(base) == list(own)
    changed = {name for name in base if not torch.equal(base[name], own[name])}
    assert changed == {"head.weight", "head.bias"}


def test_a_head_s_predictions_are_its_checkpoint_s(bench: Context) -> None:
    said = load_predictions(bench.home, 4)
    model = load_model(bench.home.run_folder(4) / "checkpoint.pt")
    with bench.database.read() as session:
        images = [session.get_one(Image, image_id) for image_id in said.image_ids.tolist()[:5]]
        paths = [storage.object_path(bench.home, each.file_sha256) for each in images]
    answers = [predicting.predict_source(bench, run=4, source=str(path))["images"][0] for path in paths]
    stored = said.probs[:5].astype(np.float32)
    np.testing.assert_allclose([list(each["probabilities"].values()) for each in answers], stored, atol=2e-3)
    assert model.config.hidden == 0


def test_a_head_is_out_of_sample_where_its_network_is(bench: Context) -> None:
    base, own = (load_predictions(bench.home, number) for number in (3, 4))
    np.testing.assert_array_equal(own.out_of_sample, base.out_of_sample)
    with bench.database.read() as session:
        first, second = (find_training_set(session, bench.home, queries.get_run(session, number)) for number in (1, 4))
        np.testing.assert_array_equal(first.trained, second.trained)
        np.testing.assert_array_equal(first.measured, second.measured)


def test_features_are_kept_and_made_again_if_lost(bench: Context) -> None:
    kept = bench.home.root / "features" / "1.npz"
    assert kept.exists()
    before = load_predictions(bench.home, 4)
    kept.unlink()
    answer = train(bench, arch="head", from_run=1)
    again = load_predictions(bench.home, answer["run"])
    np.testing.assert_array_equal(again.probs, before.probs)
    assert kept.exists()
    kept.write_bytes(b"no archive")
    answer = train(bench, arch="head", from_run=1)
    np.testing.assert_array_equal(load_predictions(bench.home, answer["run"]).probs, before.probs)


def test_a_head_takes_settings_and_data_steps(bench: Context) -> None:
    asked = {"hidden": "8", "label_smoothing": 0.2, "class_weighting": "balanced", "max_per_class": "9"}
    answer = train(bench, arch="head", from_run=4, settings=asked)
    assert answer["counts"]["trained"] == 27
    model = load_model(bench.home.run_folder(answer["run"]) / "checkpoint.pt")
    assert (model.config.hidden, model.config.label_smoothing, model.config.arch) == (8, 0.2, "compact")
    with bench.database.read() as session:
        assert queries.get_run(session, answer["run"]).config["overrides"] == {
            "hidden": "8", "label_smoothing": 0.2, "class_weighting": "balanced",
        }  # fmt: skip


def test_a_head_learns_from_new_labels(tmp_path: Path) -> None:
    """Every label of one class is changed to another: the head follows, the network stays."""
    home = Home.at(tmp_path / "home")
    database = open_database(home)
    with database.write() as session:
        dataset = make_stripes(session, home)
        admin = users.ensure_admin(session)
        context = Context(database, home)
    train(context, epochs=6, settings=TINY)
    with database.write() as session:
        dataset, user = dataset_queries.get_dataset(session, "stripes"), session.get_one(User, admin.id)
        blank = datasets.get_class(session, dataset, "blank")
        for image in session.scalars(select(Image).where(Image.path.like("rows/%"))):
            decisions.decide(session, image=image, user=user, verdict="relabel", class_id=blank.id)
    answer = train(context, arch="head")  # on the promoted run
    with database.read() as session:
        run = queries.get_run(session, answer["run"])
        assert run.from_run_id == 1
        classes = [cls["name"] for cls in run.config["classes"]]
    assert classes == ["columns", "blank"]
    assert answer["test"]["accuracy"] > answer["test"]["baseline"]["accuracy"]
    database.close()


# --- ensembles --------------------------------------------------------------------------------------------------


def test_an_ensemble_is_the_mean_of_its_members(bench: Context) -> None:
    one, two, both = (load_predictions(bench.home, number) for number in (1, 2, 5))
    np.testing.assert_allclose(both.probs, (one.probs.astype(np.float32) + two.probs) / 2, atol=2e-3)
    assert both.out_of_sample.all()  # both members have folds
    assert np.isfinite(both.p_wrong).all()
    with bench.database.read() as session:
        run = queries.get_run(session, 5)
        assert (run.arch, run.from_run_id, run.epochs_done, run.config["members"]) == ("ensemble", None, 0, [1, 2])
        assert (run.seconds > 0, run.config["overrides"]) == (True, {})
        assert run.config["training"]["arch"] == "ensemble"


def test_an_ensemble_knows_what_its_members_know(bench: Context) -> None:
    with bench.database.read() as session:
        members = [find_training_set(session, bench.home, queries.get_run(session, number)) for number in (1, 3)]
        own = find_training_set(session, bench.home, queries.get_run(session, 6))
        assert [each.id for each in queries.list_ancestors(session, queries.get_run(session, 6))] == [1, 3]
    np.testing.assert_array_equal(own.trained, np.union1d(members[0].trained, members[1].trained))
    said = load_predictions(bench.home, 6)
    np.testing.assert_array_equal(said.out_of_sample, ~np.isin(said.image_ids, own.trained))  # run 3 has no folds


def test_an_ensemble_predicts_other_images(bench: Context) -> None:
    said = load_predictions(bench.home, 6)
    row = int(np.flatnonzero(said.out_of_sample)[0])
    with bench.database.read() as session:
        image = session.get_one(Image, int(said.image_ids[row]))
        path = storage.object_path(bench.home, image.file_sha256)
    found = predicting.predict_source(bench, run=6, source=str(path))["images"][0]
    np.testing.assert_allclose(list(found["probabilities"].values()), said.probs[row], atol=2e-3)


def test_the_row_is_asked_for_alike_and_gone_on_with(bench: Context) -> None:
    """Two ensembles of other members are two requests."""
    with bench.database.read() as session:
        dataset = dataset_queries.get_dataset(session, "stripes")
        user = session.scalars(select(User)).first()
        assert user is not None
        drafts = [
            runs.draft_run(session, dataset=dataset, user=user, arch="ensemble", overrides={"members": members})
            for members in ("1,2", [2, 1], "1,2,3")
        ]
    assert [draft.config["members"] for draft in drafts] == [[1, 2], [2, 1], [1, 2, 3]]


# --- what is said of them ---------------------------------------------------------------------------------------


def test_pages_and_commands_say_what_they_stand_on(bench: Context) -> None:
    with bench.database.read() as session:
        dataset = dataset_queries.get_dataset(session, "stripes")
        head, mean = (queries.get_run(session, number) for number in (4, 5))
        assert command_of(dataset, head) == (
            "workbench train --dataset stripes --arch head --preset quick --seed 0 --from 1"
        )
        assert command_of(dataset, mean) == (
            "workbench train --dataset stripes --arch ensemble --preset quick --seed 0 --set members=1,2"
        )
        said = dict(describe_training(head.config))
        assert said["Learned"].startswith("a linear head on the features of run 1, by L-BFGS, labels smoothed by 0.1")
        assert "Varied" not in said
        assert describe_training(mean.config)[0] == ("Average of", "the probabilities of runs 1, 2")


# --- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"arch": "head", "from_run": 5}, "Run 5 averages other runs and has no network of its own to start from"),
        ({"arch": "compact", "from_run": 5}, "Run 5 averages other runs and has no network of its own"),
        ({"arch": "head", "from_run": 1, "folds": 3}, "A head has no folds"),
        (
            {"arch": "head", "from_run": 1, "settings": {"learning_rate": 0.1}},
            "A head has no setting “learning_rate”, it would do nothing; it has hidden, label_smoothing",
        ),
        ({"arch": "head", "from_run": 1, "epochs": 3}, "A head has no setting “epochs”"),
        ({"arch": "ensemble"}, "An ensemble names its members: members=3,5,7"),
        ({"arch": "ensemble", "settings": {"members": "1,one"}}, "An ensemble names its members"),
        ({"arch": "ensemble", "settings": {"members": "1,1"}}, "An ensemble averages 2 to 50 different runs, not 1"),
        ({"arch": "ensemble", "settings": {"members": "1,5"}}, "Run 5 averages other runs; name runs with a network"),
        (
            {"arch": "ensemble", "settings": {"members": "1,2", "hidden": 3}},
            "An ensemble has no setting “hidden”, it would do nothing; it has members",
        ),
        ({"arch": "ensemble", "folds": 2, "settings": {"members": "1,2"}}, "An ensemble trains nothing"),
        ({"arch": "ensemble", "settings": {"members": "1,2", "max_per_class": 5}}, "An ensemble trains nothing"),
        ({"arch": "compact", "settings": {"members": "1,2"}}, "Only an ensemble has members"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(bench: Context, asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Invalid, match=sentence):
        train(bench, **asked)


def test_a_member_that_is_not_there_is_named(bench: Context) -> None:
    with pytest.raises(NotFound, match="There is no run 77"):
        train(bench, arch="ensemble", settings={"members": "1,77"})


def test_both_are_listed_with_what_they_stand_on() -> None:
    assert [each.name for each in list_families()["On runs that are done"]] == ["head", "ensemble"]
