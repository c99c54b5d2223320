"""Every trap of the reference projects, rebuilt on purpose: caught, and named in one sentence. Clean runs: no alarm."""

import importlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from ml.augment import Augmentation, augment
from ml.predict import Model, load_model, predict
from tests.commands import call
from tests.drawn import make_stripes
from tests.elsewhere import Elsewhere, draw_probs, write_package
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.errors import NotFound
from workbench.models import Dataset, Image, Queue, Run
from workbench.queries import run_checks as check_queries
from workbench.queries import runs as queries
from workbench.services import datasets, decisions, users
from workbench.services.decisions import Line
from workbench.services.evaluations import Judged
from workbench.services.predictions import load_predictions, save_predictions
from workbench.services.run_checks import CHECKS, Outcome, check_run, report_checks
from workbench.services.run_checks.rows import SURE, Permutation, describe_order, find_permutation, is_unrelated
from workbench.services.saliency import describe_test, save_test
from workbench.services.training_sets import load_training_set
from workbench.worker.context import Context
from workbench.worker.external import import_predictions
from workbench.worker.handlers import handle
from workbench.worker.materials import gather, read_order, resolve_config
from workbench.worker.probing import probe_run
from workbench.worker.trainings import train

STRONG = Augmentation(flip=0.0, shift=0.2, rotation=40.0, zoom=0.3)
TINY = {"image_size": "16", "threads": "1", "batch_size": "16", "precision": "float32"}


@dataclass
class World:
    """A data set of 180 striped images, 36 of them in test, and what was trained on it."""

    home: Home
    database: Database

    @property
    def context(self) -> Context:
        return Context(self.database, self.home)

    def train(self, *, dataset: str = "stripes", epochs: int | None = 3, **more: Any) -> int:
        settings = {**TINY, **more.pop("settings", {})}
        return int(train(self.context, dataset=dataset, epochs=epochs, settings=settings, **more)["run"])

    def check(self, run: int, session: Session | None = None) -> dict[str, Outcome]:
        if session is not None:
            return check_run(session, self.home, queries.get_run(session, run))
        probe_run(self.context, run=run)
        with self.database.read() as reading:
            return check_run(reading, self.home, queries.get_run(reading, run))

    def found(self, run: int, session: Session | None = None) -> dict[str, str]:
        """Check -> sentence, of those that found something."""
        outcomes = self.check(run, session)
        return {name: outcome.sentence for name, outcome in outcomes.items() if outcome.status == "wrong"}

    @contextmanager
    def changed(self, run: int) -> Iterator[Session]:
        """Whatever is done to rows and to files of the run is undone afterwards."""
        folder, aside = self.home.run_folder(run), self.home.root / "aside"
        shutil.copytree(folder, aside)
        try:
            with self.database.write() as session:
                yield session
                session.rollback()
        finally:
            shutil.rmtree(folder)
            aside.rename(folder)

    def predict_as(self, run: int, prepare: Callable[[Model, np.ndarray], np.ndarray]) -> None:
        """Put what `prepare` says of the images in the place of the run's predictions."""
        with self.database.read() as session:
            order = read_order(session, self.home, run)
        images = gather(self.context, order, resolve_config(order)).images
        probs = prepare(load_model(self.home.run_folder(run) / "checkpoint.pt"), images)
        said = load_predictions(self.home, run)
        save_predictions(self.home, run, replace(said, probs=probs.astype(np.float16)))


def open_world(folder: Path) -> World:
    home = Home.at(folder / "home")
    world = World(home, open_database(home))
    with world.database.write() as session:
        make_stripes(session, home, per_class=60)
    return world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = open_world(tmp_path_factory.mktemp("checks"))
    yield world
    world.database.close()


@pytest.fixture(scope="module")
def run(world: World) -> int:
    """A clean run, the first."""
    return world.train()


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(write_package(tmp_path_factory.mktemp("package"))))
        importlib.invalidate_caches()
        yield


def bring(world: World, path: Path, elsewhere: Elsewhere, **more: Any) -> int:
    """The run that predictions from elsewhere become."""
    columns = more.pop("columns", {})
    claims = {key: str(value) for key, value in more.pop("claims", {}).items()}
    source = elsewhere.write(path / "said.csv", **columns)
    return int(import_predictions(world.context, dataset="stripes", source=str(source), claims=claims, **more)["run"])


# --- rows and columns (seeds 001, 002, threads) -----------------------------------------------------------------


def test_rows_shuffled_against_the_labels(world: World, tmp_path: Path) -> None:
    elsewhere = Elsewhere(world.database, "stripes", splits=("train", "validation", "test"))
    elsewhere.probs = np.random.default_rng(0).permutation(elsewhere.probs)
    found = world.found(bring(world, tmp_path, elsewhere))
    assert list(found) == ["order"]
    assert "the rows of one were shuffled and those of the other not" in found["order"]


def test_rows_in_another_order_than_the_labels_beside_them(world: World, tmp_path: Path) -> None:
    elsewhere = Elsewhere(world.database, "stripes")
    shuffled = [elsewhere.names[label] for label in np.random.default_rng(1).permutation(elsewhere.labels)]
    found = world.found(bring(world, tmp_path, elsewhere, columns={"label": shuffled}))
    assert list(found) == ["order"]
    assert "in another order than its names" in found["order"]


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ([2, 1, 0], "(reversed)"),
        ([1, 0, 2], "the column of columns means rows, the column of rows means columns"),
        ([1, 2, 0], "columns"),
    ],
)
def test_columns_in_another_order_than_the_classes(world: World, tmp_path: Path, order: list[int], words: str) -> None:
    elsewhere = Elsewhere(world.database, "stripes", right=0.9)
    elsewhere.probs = elsewhere.probs[:, order]
    found = world.found(bring(world, tmp_path, elsewhere))
    assert list(found) == ["columns"]
    assert words in found["columns"]
    assert "are right as they stand" in found["columns"]


def test_columns_in_the_order_of_the_alphabet_are_called_so() -> None:
    found = Permutation(np.array([3, 0, 1, 2]), right=0.9, given=0.1)  # the first class stands in the last column
    assert describe_order(found, ("surprise", "angry", "fear", "happy")).startswith("as in the alphabet; the column of")


def test_a_predicted_class_that_is_not_the_largest_probability(world: World, tmp_path: Path) -> None:
    elsewhere = Elsewhere(world.database, "stripes")
    said = [elsewhere.names[(index + 1) % 3] for index in elsewhere.probs.argmax(1)]
    found = world.found(bring(world, tmp_path, elsewhere, columns={"predicted": said}))
    assert list(found) == ["columns"]
    assert "names and columns stand in different orders" in found["columns"]


def test_one_class_for_everything(world: World, tmp_path: Path) -> None:
    elsewhere = Elsewhere(world.database, "stripes")
    elsewhere.probs[:] = [0.5, 0.3, 0.2]
    found = world.found(bring(world, tmp_path, elsewhere))
    assert list(found) == ["collapse"]
    assert found["collapse"].startswith("It says rows for 100.0% of the 36 images, of which 33.3% are rows")


# --- probabilities (seed 002) -----------------------------------------------------------------------------------


def test_sigmoids_are_no_probabilities(world: World, tmp_path: Path) -> None:
    elsewhere = Elsewhere(world.database, "stripes")
    elsewhere.probs = 1 / (1 + np.exp(-4 * (elsewhere.probs - 0.3)))
    found = world.found(bring(world, tmp_path, elsewhere))
    assert list(found) == ["probabilities"]
    assert "one sigmoid for each class" in found["probabilities"]


def test_scores_before_the_softmax_are_no_probabilities(world: World, tmp_path: Path) -> None:
    elsewhere = Elsewhere(world.database, "stripes")
    elsewhere.probs = np.log(elsewhere.probs)
    found = world.found(bring(world, tmp_path, elsewhere))
    assert list(found) == ["probabilities"]
    assert "scores before the softmax" in found["probabilities"]


def test_probabilities_of_images_seen_in_training_said_to_be_out_of_sample(world: World, tmp_path: Path) -> None:
    elsewhere = Elsewhere(world.database, "stripes", splits=("train", "test"), right=0.55)
    with world.database.read() as session:
        train_paths = set(session.scalars(select(Image.path).where(Image.split == "train")))
    seen = np.array([path in train_paths for path in elsewhere.paths])
    elsewhere.probs[seen] = draw_probs(elsewhere.labels[seen], 3, right=1.0, seed=4)
    found = world.found(bring(world, tmp_path, elsewhere, unseen=True))
    assert list(found) == ["in_sample"]
    assert "the model had seen what it predicts there" in found["in_sample"]


def test_trained_images_that_count_as_unseen(world: World, run: int) -> None:
    with world.changed(run):
        said = load_predictions(world.home, run)
        save_predictions(world.home, run, replace(said, out_of_sample=np.ones_like(said.out_of_sample)))
        assert "108 images that it was trained on count as never seen by it" in world.found(run)["in_sample"]


def test_labels_judged_by_a_model_that_knows_them_by_heart(world: World, run: int) -> None:
    with world.changed(run):
        said = load_predictions(world.home, run)
        assert np.isfinite(said.p_wrong).all(), "what it said while it learned judges the images that taught it"
        save_predictions(world.home, run, replace(said, witness=said.probs))
        assert "P(wrong) of 108 images rests on probabilities of a model" in world.found(run)["in_sample"]


# --- what images it is about (seeds 000, 001, 003, 004) ---------------------------------------------------------


def test_images_without_a_prediction(world: World, tmp_path: Path) -> None:
    elsewhere = Elsewhere(world.database, "stripes")
    kept = np.arange(24)
    elsewhere.paths, elsewhere.probs = [elsewhere.paths[n] for n in kept], elsewhere.probs[kept]
    found = world.found(bring(world, tmp_path, elsewhere))
    assert list(found) == ["coverage"]
    assert found["coverage"].startswith("12 of the 36 labelled images of test (33.3%) have no prediction")


def test_images_that_vanished_from_the_data_set(world: World, run: int) -> None:
    with world.changed(run) as session:
        source = check_queries.list_arrivals(session, 1)
        assert [each.present for each in source] == [180]
        session.execute(update(Dataset).values(promoted_run_id=None))
        session.connection().exec_driver_sql("UPDATE imports SET imported = 180")
        gone = session.scalars(select(Image.id).where(Image.split == "train").limit(5)).all()
        session.execute(delete(Image).where(Image.id.in_(gone)))
        assert world.found(run, session)["vanished"].startswith("5 images of the 180 that were imported are gone")


def test_another_number_of_images_claimed_than_there_are(world: World, tmp_path: Path) -> None:
    found = world.found(bring(world, tmp_path, Elsewhere(world.database, "stripes"), claims={"images": 170}))
    assert list(found) == ["vanished"]
    assert "10 vanished without a reason" in found["vanished"]


def test_a_copy_of_a_test_image_among_those_trained_on(world: World, run: int) -> None:
    with world.changed(run) as session:
        images = load_training_set(world.home, run)
        assert images is not None
        taught = session.get_one(Image, int(images.trained[0]))
        session.execute(
            update(Image).where(Image.id == int(images.measured[0])).values(pixel_sha256=taught.pixel_sha256)
        )
        assert "1 of the 36 images of test has a copy" in world.found(run, session)["copies"]


@pytest.mark.parametrize("by", ["name", "attribute"])
def test_a_split_made_after_augmentation(world: World, run: int, by: str) -> None:
    with world.changed(run) as session:
        images = load_training_set(world.home, run)
        assert images is not None
        taught, measured = (session.get_one(Image, int(each[0])) for each in (images.trained, images.measured))
        if by == "name":
            taught.path, measured.path = "rows/000_aug3.png", "rows/000_aug7.png"
        else:
            session.connection().exec_driver_sql(
                f"INSERT INTO attributes (image_id, name, value) VALUES ({taught.id}, 'parent', '{measured.path}')"
            )
        session.flush()
        found = world.found(run, session)
        assert list(found) == ["families"]
        assert found["families"].startswith("The split was made after augmentation: 1 of the 36 images")


def make_equal(session: Session, *, labels: int, count: int) -> list[Image]:
    """So many training images with equal pixels, of so many classes."""
    found: list[Image] = []
    for class_number in range(labels):
        query = select(Image).where(Image.split == "train", Image.path.startswith(("rows", "columns")[class_number]))
        found += session.scalars(query.order_by(Image.id).limit(count // labels)).all()
    for image in found:
        image.pixel_sha256 = "same"
    session.flush()
    return found


def test_one_picture_under_two_labels(world: World, run: int) -> None:
    with world.changed(run) as session:
        make_equal(session, labels=2, count=2)
        found = world.found(run, session)
        assert list(found) == ["conflicts"]
        assert found["conflicts"].startswith("1 picture stands in it under two labels")


def test_only_the_first_copy_of_three_removed(world: World, run: int) -> None:
    with world.changed(run) as session:
        make_equal(session, labels=1, count=3)[0].status = "excluded"
        session.flush()
        found = world.found(run, session)
        assert list(found) == ["half_removed"]
        assert "of 1 picture some copies are excluded and 2 still stand" in found["half_removed"]


def test_a_class_that_the_run_cannot_say(world: World, run: int) -> None:
    with world.changed(run) as session:
        dataset = session.get_one(Dataset, 1)
        strange = datasets.ensure_classes(session, dataset, ["stars"])["stars"]
        image = session.scalars(select(Image).where(Image.split == "test")).first()
        assert image is not None
        image.label_id = strange.id
        session.flush()
        assert "classes that it cannot say: stars (1)" in world.found(run, session)["classes"]


def test_a_column_for_a_class_that_is_not_there(world: World, tmp_path: Path) -> None:
    elsewhere = Elsewhere(world.database, "stripes")
    elsewhere.names = [*elsewhere.names, "contempt"]
    elsewhere.probs = np.concatenate([elsewhere.probs, np.zeros((36, 1))], axis=1)
    assert "contempt" in world.found(bring(world, tmp_path, elsewhere))["classes"]


def test_a_test_split_cleaned_with_a_models_flags(world: World, run: int) -> None:
    with world.changed(run) as session:
        dataset, admin = session.get_one(Dataset, 1), users.ensure_admin(session)
        queue = Queue(dataset_id=1, recipe="label_issues", title="Label issues", params={}, run_id=run)
        session.add(queue)
        session.flush()
        image = session.scalars(select(Image).where(Image.split == "test")).first()
        other = session.scalars(select(Image.label_id).where(Image.label_id != (image and image.label_id))).first()
        line = Line("relabel", image_id=image.id if image else 0, class_id=other)
        decisions.submit(session, dataset=dataset, user=admin, lines=[line], queue_id=queue.id)
        assert "1 label of test was changed by following what a model flagged" in world.found(run, session)["own_flags"]


def test_files_renamed_without_converting(world: World, run: int) -> None:
    with world.changed(run) as session:
        for image in session.scalars(select(Image).where(Image.split == "train")):
            image.path = image.path.replace(".png", ".jpg")
        session.flush()
        found = world.found(run, session)
        assert list(found) == ["endings"]
        assert "108 files of 180 are not what they are called (most are .jpg and hold PNG)" in found["endings"]


# --- figures (seeds 000, 002, 003, 004) -------------------------------------------------------------------------


def test_an_accuracy_kept_from_rows_in_another_order(world: World, run: int) -> None:
    with world.changed(run) as session:
        row = session.get_one(Run, run)
        shuffled = np.full((3, 3), 4)
        kept = json.loads(json.dumps(row.metrics))
        kept |= {"confusion": shuffled.tolist(), "accuracy": 1 / 3, "right": 12}
        for line in kept["per_class"]:
            line |= {"recall": 1 / 3, "right": 4, "predicted": 12}
        row.metrics = kept
        session.flush()
        found = world.found(run, session)
        assert "kept as 33.3% (n = 36)" in found["source"]
        assert "those of rows in another order than the labels" in found["source"]


def test_an_accuracy_beside_a_matrix_that_gives_another(world: World, run: int) -> None:
    with world.changed(run) as session:
        row = session.get_one(Run, run)
        row.metrics = {**(row.metrics or {}), "accuracy": 0.5}
        session.flush()
        assert "one number, two sources" in world.found(run, session)["source"]


def test_a_claimed_matrix_that_gives_another_accuracy_than_claimed(world: World, tmp_path: Path) -> None:
    """Seed 003: [[168, 12], [8, 172]] is .9444, the accuracy beside it .9389."""
    claims = {"accuracy": 0.9389, "n": 360, "confusion": [[168, 12], [8, 172]]}
    found = world.found(bring(world, tmp_path, Elsewhere(world.database, "stripes"), claims=claims))
    assert found["claims"].startswith("The matrix that came with it gives an accuracy of 0.9444")


def test_a_claim_that_its_own_table_contradicts(world: World, tmp_path: Path) -> None:
    claims = {"recall.rows": "72%", "accuracy": "3%"}
    found = world.found(bring(world, tmp_path, Elsewhere(world.database, "stripes"), claims=claims))
    assert found["claims"].startswith("2 figures claimed are not what the predictions give: recall.rows 0.72 (it is ")


def test_a_row_of_a_table_copied_from_another_run(world: World, tmp_path: Path) -> None:
    row = {"f1.rows": 0.4538, "f1.columns": 0.339, "f1.blank": 0.387}
    bring(world, tmp_path, Elsewhere(world.database, "stripes"), claims=row)
    other = Elsewhere(world.database, "stripes", right=0.6)
    found = world.found(bring(world, tmp_path, other, claims=row))
    assert "a row of the table was copied" in found["claims"]


def test_a_share_that_is_six_of_seven(world: World, tmp_path: Path) -> None:
    found = world.found(bring(world, tmp_path, Elsewhere(world.database, "stripes"), claims={"accuracy": 0.857143}))
    assert found["fractions"] == "accuracy 0.857143 is no share of 36 images; it is 6/7, as of 7 things."


def test_a_tie_called_a_win(world: World, tmp_path: Path, run: int) -> None:
    elsewhere = Elsewhere(world.database, "stripes")
    accuracy = float((elsewhere.probs.argmax(1) == elsewhere.labels).mean())
    claims = {"better_than.AlexNet": accuracy - 0.05, "better_than.chance": 0.1}
    found = world.found(bring(world, tmp_path, elsewhere, claims=claims))
    assert list(found) == ["ranking"]
    assert found["ranking"].startswith("It is said to be better than AlexNet, which is a tie: with 36 images")
    own = bring(world, tmp_path, elsewhere, claims={f"better_than.{run}": "true"})
    assert f"better than {run}, which is a tie" in world.found(own)["ranking"]


def test_files_that_are_named_and_not_there(world: World, tmp_path: Path, run: int) -> None:
    elsewhere = Elsewhere(world.database, "stripes")
    (tmp_path / "claims.json").write_text(json.dumps({"files": ["best_model.pt", "claims.json"]}))
    named = bring(world, tmp_path, elsewhere, claims_file=str(tmp_path / "claims.json"))
    assert world.found(named) == {"repeatable": "It cannot be had again: best_model.pt is missing."}
    with world.changed(run) as session:
        (world.home.run_folder(run) / "checkpoint.pt").unlink()
        assert f"its checkpoint (runs/{run}/checkpoint.pt) is missing" in world.found(run, session)["repeatable"]


# --- the model (seeds 000, 001, 002, 003, 004) ------------------------------------------------------------------


def test_predictions_of_another_model_than_the_one_kept(world: World, run: int) -> None:
    other = world.train(seed=7, epochs=1)
    with world.changed(run):
        shutil.copy(world.home.run_folder(other) / "checkpoint.pt", world.home.run_folder(run) / "checkpoint.pt")
        found = world.found(run)
        assert list(found) == ["model"]
        assert "not those of its checkpoint" in found["model"]


@pytest.mark.parametrize(
    ("mean", "std", "words"),
    [
        (lambda m, s: m + m * s, lambda s: s * s, "after normalising them twice"),
        (lambda m, s: m * 255, lambda s: s * 255, "after dividing them by 255"),
        (lambda m, s: m * 0, lambda s: s * 0 + 1, "without normalising them"),
    ],
)
def test_images_normalised_otherwise_than_in_training(world: World, run: int, mean: Any, std: Any, words: str) -> None:
    def predict_wrongly(model: Model, images: np.ndarray) -> np.ndarray:
        return predict(replace(model, mean=mean(model.mean, model.std), std=std(model.std)), images)[0]

    with world.changed(run):
        world.predict_as(run, predict_wrongly)
        assert words in world.found(run)["normalisation"]


def mirror(model: Model, images: np.ndarray) -> np.ndarray:
    chosen = np.random.default_rng(0).random(len(images)) < 0.5
    return np.where(chosen[:, None, None, None], images[..., ::-1], images)


def vary(model: Model, images: np.ndarray) -> np.ndarray:
    varied = augment(torch.from_numpy(images), STRONG, generator=torch.Generator().manual_seed(5))
    return varied.round().to(torch.uint8).numpy()


@pytest.mark.parametrize(
    ("prepare", "words"), [(mirror, "after mirroring some of them"), (vary, "after varying them at random")]
)
def test_images_augmented_when_they_are_measured(world: World, prepare: Any, words: str) -> None:
    settings = {f"augment.{name}": str(value) for name, value in asdict(STRONG).items()}
    run = world.train(settings=settings, epochs=1)
    with world.changed(run):
        world.predict_as(run, lambda model, images: predict(model, prepare(model, images))[0])
        assert words in world.found(run)["augmented"]


def test_a_model_that_draws_lots_when_it_predicts(world: World, networks: None) -> None:
    run = world.train(arch="restless", epochs=1)
    assert "Predicting the same images twice gives two answers" in world.found(run)["augmented"]


def test_a_layer_that_never_learns(world: World, networks: None) -> None:
    found = world.found(world.train(arch="frozen", epochs=1))
    assert "2 layers of 6 never learn: backbone.net.first.bias, backbone.net.first.weight" in found["frozen"]


def test_a_setting_that_does_nothing_and_a_run_that_says_the_same(world: World, run: int) -> None:
    idle = world.train(settings={"augment.erasing_size": "0.5", "decay": "0.5", "label_smoothing": "0"})
    sentence = world.found(idle)["settings"]
    assert sentence.startswith("augment.erasing_size=0.5, decay=0.5 do nothing")
    twin = world.train(settings={"augment.erasing_size": "0.5"})
    assert world.found(twin)["twins"].startswith(f"It gives the same predictions as run {run}, to the last digit")


def test_maps_that_mark_no_more_than_chance(world: World, run: int) -> None:
    """Seed 002: shapes misused, so that the map is none."""
    with world.changed(run) as session:
        own, random, other = np.random.default_rng(0).normal(0.1, 0.3, (3, 200))
        save_test(world.home, run, describe_test(own, random, other))
        assert world.found(run, session)["maps"].startswith("These maps fail their test")


@pytest.mark.parametrize(
    ("hidden", "settings", "check", "words"),
    [
        (("train",), {}, "masks", "The images are not masked alike"),
        (("train", "validation", "test"), {"mask": "eyes"}, "stacked_masks", "Masks are stacked"),
    ],
)
def test_masks(
    tmp_path: Path, hidden: tuple[str, ...], settings: dict[str, str], check: str, words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    world = open_world(tmp_path)
    hide_lower_half(world, hidden, monkeypatch)
    found = world.found(world.train(settings=settings, epochs=1))
    assert found[check].startswith(words)
    world.database.close()


def hide_lower_half(world: World, splits: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the images of these splits anew, their lower half black."""
    import io

    from PIL import Image as Picture

    from ml.images import inspect
    from workbench import storage

    with world.database.write() as session:
        for image in session.scalars(select(Image).where(Image.split.in_(splits))):
            data = storage.read_file(
                world.home, path=image.path, location=image.location, file_sha256=image.file_sha256
            )
            pixels = np.array(Picture.open(io.BytesIO(data)))
            pixels[8:] = 0
            target = io.BytesIO()
            Picture.fromarray(pixels).save(target, "PNG")
            facts = inspect(target.getvalue())
            storage.put_object(world.home, target.getvalue())
            image.file_sha256, image.pixel_sha256 = facts.file_sha256, facts.pixel_sha256


# --- no alarm on clean runs -------------------------------------------------------------------------------------

CLEAN = {
    "more epochs": {"epochs": 6},
    "folds": {"folds": 3, "epochs": 2},
    "from a run": {"from_run": 1, "seed": 2},
    "retrained": {"preset": "retrain", "epochs": None},
    "in colour": {"settings": {"channels": "3"}},
    "small images": {"settings": {"image_size": "12"}},
    "plain gradient descent": {"settings": {"optimizer": "sgd", "learning_rate": "0.05", "momentum": "0.9"}},
    "balanced": {"settings": {"class_weighting": "balanced", "label_smoothing": "0.05", "augment.erasing": "0.3"}},
    "in steps": {"settings": {"schedule": "step", "decay": "0.5", "decay_epochs": "2", "dropout": "0.2"}},
    "masked": {"settings": {"mask": "top"}},
    "every copy left in": {"settings": {"leave_out": "none"}, "seed": 9},
}
BUILT_ON_RUNS = {
    "head": {"arch": "head", "from_run": 1},
    "ensemble": {"arch": "ensemble", "settings": {"members": "1,2"}},
}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = open_world(tmp_path_factory.mktemp("clean"))
    assert (world.train(), world.train(seed=5)) == (1, 2)
    yield world
    world.database.close()


@pytest.mark.parametrize("name", CLEAN)
def test_no_alarm_on_a_clean_training(clean: World, name: str) -> None:
    outcomes = clean.check(clean.train(**CLEAN[name]))
    assert {check: outcome for check, outcome in outcomes.items() if outcome.status != "fine"} == {}


@pytest.mark.parametrize("name", BUILT_ON_RUNS)
def test_no_alarm_on_what_is_built_on_runs(clean: World, name: str) -> None:
    run = int(train(clean.context, dataset="stripes", **BUILT_ON_RUNS[name])["run"])
    outcomes = clean.check(run)
    assert [check for check, outcome in outcomes.items() if outcome.status != "fine"] == ["frozen"]
    assert outcomes["frozen"].status == "unchecked"


@pytest.mark.parametrize("right", [0.36, 0.5, 0.65, 0.75, 0.85, 0.9, 0.95, 1.0])
def test_no_alarm_on_clean_predictions_from_elsewhere(clean: World, tmp_path: Path, right: float) -> None:
    elsewhere = Elsewhere(clean.database, "stripes", splits=("train", "validation", "test"), right=right)
    labels = [elsewhere.names[label] for label in elsewhere.labels]
    said = [elsewhere.names[column] for column in elsewhere.probs.argmax(1)]
    run = bring(clean, tmp_path, elsewhere, columns={"label": labels, "predicted": said}, unseen=right < 0.9)
    assert clean.found(run) == {}


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_what_chance_makes_of_clean_predictions_is_no_alarm(classes: int) -> None:
    """500 models from nearly useless to nearly perfect, on small and uneven test sets."""
    rng = np.random.default_rng(classes)
    alarms = 0
    for number in range(500):
        shares = rng.dirichlet(np.full(classes, 2.0))
        labels = rng.choice(classes, size=int(rng.integers(30, 400)), p=shares)
        probs = draw_probs(labels, classes, right=float(rng.uniform(0.1, 0.98)), seed=number)
        judged = Judged("test", np.arange(len(labels)), probs, labels, tuple(range(classes)), ("a",) * classes)
        table = np.bincount(labels * classes + probs.argmax(1), minlength=classes**2).reshape(classes, classes)
        sure = float(probs.max(1).mean() - (probs.argmax(1) == labels).mean())
        alarms += find_permutation(judged) is not None or (is_unrelated(table) and sure > SURE)
    assert alarms == 0


# --- where it is said -------------------------------------------------------------------------------------------


def test_evaluate_names_what_it_found(
    world: World, run: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.changed(run):
        world.predict_as(run, lambda model, images: np.full((len(images), 3), (0.8, 0.1, 0.1)))
        found = call(capsys, monkeypatch, "evaluate", str(run), "--home", world.home.root, "--json").document["checks"]
        assert {each["check"] for each in found} == set(CHECKS)
        assert {"collapse", "model", "source"} <= {each["check"] for each in found if each["status"] == "wrong"}
        told = call(capsys, monkeypatch, "evaluate", str(run), "--home", world.home.root).out
        assert all(f"  ✗ {each['sentence']}" in told for each in found if each["status"] == "wrong")


def test_evaluate_says_when_nothing_is_found(
    clean: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = call(capsys, monkeypatch, "evaluate", "1", "--home", clean.home.root).out
    assert f"{len(CHECKS)} checks, nothing found." in told


def test_a_check_without_its_evidence_says_so(world: World, run: int) -> None:
    with world.changed(run) as session:
        (world.home.run_folder(run) / "probe.json").unlink()
        outcomes = world.check(run, session)
        unchecked = {name for name, outcome in outcomes.items() if outcome.status == "unchecked"}
        assert unchecked == {
            "model", "normalisation", "augmented", "settings", "frozen", "masks", "stacked_masks",
        }  # fmt: skip
        (world.home.run_folder(run) / "predictions.npz").unlink()
        assert world.found(run, session)["repeatable"] == (
            f"It cannot be had again: its predictions (runs/{run}/predictions.npz) is missing."
        )
    assert report_checks({"b": Outcome("fine", "b"), "a": Outcome("wrong", "a")}) == [
        {"check": "a", "status": "wrong", "sentence": "a"},
        {"check": "b", "status": "fine", "sentence": "b"},
    ]


def test_a_job_asks_the_model(world: World, run: int) -> None:
    with world.changed(run):
        probe = world.home.run_folder(run) / "probe.json"
        probe.unlink()
        assert handle(world.context, "probe", {"dataset": "stripes", "run": run}) == {"run": run, "probed": True}
        assert probe.exists()
        (world.home.run_folder(run) / "checkpoint.pt").unlink()
        with pytest.raises(NotFound, match="is gone or damaged"):
            handle(world.context, "probe", {"dataset": "stripes", "run": run})
