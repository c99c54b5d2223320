"""Predictions made elsewhere: files as people have them, what they become, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from tests.conftest import make_pets
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Invalid
from workbench.models import Image, Queue, Run
from workbench.services import datasets, runs
from workbench.services.prediction_files import read_claims, read_predictions
from workbench.services.predictions import load_predictions, nearest
from workbench.services.training_sets import load_training_set
from workbench.worker.context import Context
from workbench.worker.external import import_predictions

PATHS = [f"{name}/{number}.png" for name in ("cat", "dog", "owl") for number in range(4)]  # odd numbers are in test


@pytest.fixture
def context(database: Database, home: Home) -> Context:
    with database.write() as session:
        make_pets(session, per_class=4)
    return Context(database, home)


def write(folder: Path, text: str) -> Path:
    path = folder / "said.csv"
    path.write_text(text, encoding="utf-8")
    return path


def say(paths: list[str], header: str = "path,cat,dog,owl") -> str:
    """Each image is what its folder says, with 0.8."""
    rows = [f"{path},{','.join('0.8' if name in path else '0.1' for name in ('cat', 'dog', 'owl'))}" for path in paths]
    return "\n".join([header, *rows])


def bring(context: Context, source: Path, **more: Any) -> dict[str, Any]:
    return import_predictions(context, dataset="pets", source=str(source), **more)


def test_a_run_without_a_model(context: Context, tmp_path: Path) -> None:
    found = bring(context, write(tmp_path, say([*PATHS, "cat/99.png"])))
    assert (found["run"], found["classes"], found["matched"]) == (1, ["cat", "dog", "owl"], 12)
    assert (found["unknown"], found["unknown_paths"]) == (1, ["cat/99.png"])
    assert (found["test"]["accuracy"], found["test"]["n"], found["test"]["split"]) == (1.0, 6, "test")
    said, images = load_predictions(context.home, 1), load_training_set(context.home, 1)
    assert images is not None
    assert said.probs.sum(1) == pytest.approx(1, abs=1e-3)
    assert said.image_ids[said.out_of_sample].tolist() == images.measured.tolist()
    assert len(images.trained) == 6
    assert np.isnan(said.p_wrong[~said.out_of_sample]).all()
    assert nearest(said, int(said.image_ids[0]), 5) == []
    with context.database.read() as session:
        run = session.get_one(Run, 1)
        assert (run.arch, run.preset, run.status) == ("external", "imported", "done")
        assert run.config["import"]["file"] == "said.csv"


def test_unseen_images_count_as_out_of_sample(context: Context, tmp_path: Path) -> None:
    bring(context, write(tmp_path, say(PATHS)), unseen=True)
    said = load_predictions(context.home, 1)
    assert said.out_of_sample.all()
    assert np.isfinite(said.p_wrong).all()


def test_its_queues_open_when_it_is_promoted(context: Context, tmp_path: Path) -> None:
    wrong = say(PATHS).replace("cat/1.png,0.8,0.1,0.1", "cat/1.png,0.05,0.9,0.05")
    bring(context, write(tmp_path, wrong), unseen=True)
    with context.database.write() as session:
        runs.promote(session, context.home, session.get_one(Run, 1))
        queues = {queue.recipe: queue.size for queue in session.scalars(select(Queue))}
        assert queues["label_issues"] >= 1
        image = session.scalars(select(Image).where(Image.path == "cat/1.png")).one()
        assert (image.predicted and image.predicted.name) == "dog"


@pytest.mark.parametrize(
    "text",
    [
        say(PATHS, "File,p_cat,prob(dog),probability owl"),
        say([path.replace("/", "\\") for path in PATHS], "path,cat,dog,owl"),
        say([f"somewhere/data/{path}" for path in PATHS], "image,CAT,DOG,OWL").replace("somewhere/data/", ""),
    ],
)
def test_names_as_people_write_them(context: Context, tmp_path: Path, text: str) -> None:
    found = bring(context, write(tmp_path, text))
    assert (found["matched"], found["test"]["accuracy"]) == (12, 1.0)


def test_columns_in_any_order_and_words_for_emotions(database: Database, home: Home, tmp_path: Path) -> None:
    with database.write() as session:
        dataset = make_pets(session, per_class=4)
        classes = datasets.ensure_classes(session, dataset, ["cat", "dog", "owl"])
        for old, new in (("cat", "angry"), ("dog", "happy"), ("owl", "sad")):
            classes[old].name = new
    source = write(tmp_path, say(PATHS, "path,anger,happiness,sadness"))
    assert bring(Context(database, home), source)["classes"] == ["angry", "happy", "sad"]


def test_an_archive(context: Context, tmp_path: Path) -> None:
    probs = np.full((12, 3), 0.1)
    probs[np.arange(12), np.repeat([2, 1, 0], 4)] = 0.8
    np.savez(tmp_path / "said.npz", paths=np.array(PATHS), probs=probs, classes=np.array(["owl", "dog", "cat"]))
    assert bring(context, tmp_path / "said.npz")["test"]["accuracy"] == 1.0
    np.savez(tmp_path / "odd.npz", paths=np.array(PATHS), probs=probs[:5], classes=np.array(["owl", "dog", "cat"]))
    with pytest.raises(Invalid, match="needs probs of the shape"):
        bring(context, tmp_path / "odd.npz")
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    with pytest.raises(Invalid, match="no archive with the arrays"):
        bring(context, tmp_path / "broken.npz")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cat,dog,owl\n1,0,0", "no column path or file"),
        ("path,cat,dog,owl", "holds no predictions"),
        ("path,cat,dog,owl\ncat/1.png,much,0,0", "line 2: cat is no number"),
        ("path,cat,dog,owl\ncat/1.png,nan,0,0", "a probability for cat/1.png that is no finite number"),
        ("path,cat,dog,owl\ncat/1.png,1,0,0\ncat/1.png,0,1,0", "predicts cat/1.png twice"),
        ("path,0,1,2\ncat/1.png,1,0,0", "a column for each class, called by its name"),
        ("path,cat,dog,owl\nfish/1.png,1,0,0", "No path of the file is one of the data set's"),
        ("path,cat,dog,owl\ncat/0.png,1,0,0", "None of the 1 images of “said.csv” is a labelled one of test"),
    ],
)
def test_what_is_refused_leaves_nothing(context: Context, tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(Invalid, match=sentence):
        bring(context, write(tmp_path, text))
    with context.database.read() as session:
        assert session.get(Run, 1) is None
    assert not context.home.run_folder(1).exists()


def test_rows_of_zeros_say_nothing_and_scores_become_probabilities(tmp_path: Path) -> None:
    zeros = read_predictions(write(tmp_path, "path,cat,dog\na.png,0,0\nb.png,1,3"))
    assert zeros.normalise([0, 1]) == pytest.approx(np.array([[0.5, 0.5], [0.119203, 0.880797]]), abs=1e-6)
    plain = read_predictions(write(tmp_path, "path,cat,dog\na.png,0,0\nb.png,0.2,0.6"))
    assert plain.normalise([1, 0]) == pytest.approx(np.array([[0.5, 0.5], [0.75, 0.25]]))


def test_claims_from_pairs_and_files(tmp_path: Path) -> None:
    (tmp_path / "claims.json").write_text(
        '{"accuracy": 0.6, "f1": {"cat": "45.38 %"}, "files": ["claims.json", "gone.pt"]}'
    )
    found = read_claims(tmp_path / "claims.json", {"accuracy": "63.15%", "by": "them"}, beside=tmp_path / "said.csv")
    assert found == {"accuracy": 0.6315, "f1.cat": 0.4538, "by": "them", "missing_files": ["gone.pt"]}
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(Invalid, match="must hold a JSON object"):
        read_claims(tmp_path / "list.json", {}, beside=tmp_path)
    with pytest.raises(Invalid, match="no readable JSON file"):
        read_claims(tmp_path / "gone.json", {}, beside=tmp_path)
