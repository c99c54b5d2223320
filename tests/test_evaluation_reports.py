"""What stands beside the measures: votes, temperature scaling, copies, coverage; each against an independent count."""

import json

import numpy as np
import pytest
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sqlalchemy import select

from tests.conftest import make_pets
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.models import Dataset, Image, Import, Run, Vote
from workbench.services import coverage, temperatures, users
from workbench.services.evaluation_reports import report_evaluation
from workbench.services.evaluations import judge
from workbench.services.measures import list_log_losses, measure_calibration
from workbench.services.temperatures import cross_fit, fit_temperature, scale
from workbench.services.vote_measures import measure_votes


def draw(count: int, *, seed: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are true when sharpness is 1, and too sure above."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.ones(4) * 0.7, size=count)
    labels = (true.cumsum(1) < rng.random((count, 1))).sum(1)
    sharp = true**sharpness
    return sharp / sharp.sum(1, keepdims=True), labels


# --- temperature


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose logits are its input."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Given":
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, x: np.ndarray) -> np.ndarray:
        return x

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.classes_[x.argmax(1)]


def test_the_temperature_equals_that_of_scikit_learn() -> None:
    probs, labels = draw(400, seed=1, sharpness=2.0)
    logits = np.log(np.maximum(probs, 6e-8))
    theirs = CalibratedClassifierCV(FrozenEstimator(Given().fit(logits, labels)), method="temperature")
    expected = theirs.fit(logits, labels).predict_proba(logits)

    found = fit_temperature(probs, labels)

    assert found == pytest.approx(2.0, abs=0.4)
    assert scale(probs, found) == pytest.approx(expected, abs=2e-3)
    ours, others = (list_log_losses(each, labels).mean() for each in (scale(probs, found), expected))
    assert ours <= others + 1e-9
    step = [list_log_losses(scale(probs, found * (1 + move)), labels).mean() for move in (-1e-3, 0, 1e-3)]
    assert step[1] <= min(step)


def test_scaling_mends_what_is_too_sure_and_leaves_what_is_true() -> None:
    probs, labels = draw(3000, seed=2, sharpness=2.5)
    folds = np.arange(3000) % 5
    before, after = measure_calibration(probs, labels), measure_calibration(cross_fit(probs, labels, folds), labels)
    assert before["ece"] > 4 * after["ece"]
    assert after["ece_low"] == 0.0
    assert fit_temperature(*draw(3000, seed=3, sharpness=1.0)) == pytest.approx(1.0, abs=0.1)
    assert scale(probs, 1.0) == pytest.approx(probs, abs=1e-6)


def test_no_image_is_scaled_by_a_temperature_that_it_helped_to_fit() -> None:
    probs, labels = draw(60, seed=4, sharpness=2.0)
    folds = np.arange(60) % 3
    changed = labels.copy()
    changed[folds == 0] = (changed[folds == 0] + 1) % 4
    own, other = cross_fit(probs, labels, folds), cross_fit(probs, changed, folds)
    assert np.array_equal(own[folds == 0], other[folds == 0])
    assert not np.array_equal(own[folds == 1], other[folds == 1])


# --- votes


def test_cross_entropy_to_the_votes_equals_that_of_scipy() -> None:
    rng = np.random.default_rng(5)
    probs, counts = rng.dirichlet(np.ones(3), size=50), rng.integers(0, 6, (50, 3))
    counts[7] = 0
    voted = counts.sum(1) > 0
    shares = counts[voted] / counts[voted].sum(1, keepdims=True)
    entropies = stats.entropy(shares, axis=1)
    expected = entropies + stats.entropy(shares, probs[voted], axis=1)

    found = measure_votes(probs, counts)

    assert found is not None
    assert found["n"] == voted.sum() < 50
    assert found["cross_entropy"] == pytest.approx(expected.mean(), abs=1e-9)
    assert found["floor"] == pytest.approx(entropies.mean(), abs=1e-9)
    assert found["baseline"] == pytest.approx(stats.entropy(shares.mean(0)), abs=1e-9)
    low, high = stats.norm.interval(0.95, loc=expected.mean(), scale=stats.sem(expected))
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=1e-9)
    assert measure_votes(probs, np.zeros((50, 3), np.int64)) is None
    one_vote = measure_votes(probs[:1], np.array([[0, 2, 0]]))
    assert one_vote is not None
    assert (one_vote["cross_entropy"], one_vote["low"]) == (pytest.approx(-np.log(probs[0, 1])), None)


# --- a run with all of it


@pytest.fixture
def run_id(database: Database, home: Home) -> int:
    with database.write() as session:
        dataset = make_pets(session, per_class=40)
        alice = users.ensure_user(session, "alice", role="lead")
        source = session.scalars(select(Import)).one()
        source.found, source.imported, source.refused, source.known, source.dropped = 131, 120, 4, 2, 5
        run = add_run(session, home, dataset=dataset, user=alice, mistakes={"cat/1.png": "dog", "owl/1.png": "cat"})
        return run.id


def test_the_report_holds_everything_and_is_json(database: Database, home: Home, run_id: int) -> None:
    with database.write() as session:
        image = session.scalars(select(Image).where(Image.split == "test")).first()
        assert image is not None
        session.add(Vote(image_id=image.id, option="cat", class_id=image.label_id, count=3))
    with database.read() as session:
        found = report_evaluation(session, home, session.get_one(Run, run_id), by="label source")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["n"], found["votes"]["n"], found["groups"]["n"]) == (60, 1, 60)
    assert (found["scaled"]["how"], found["scaled"]["fitted_on"], found["scaled"]["n"]) == ("cross-fitted", 60, 60)
    assert found["copies"]["rest"]["n"] == 60
    assert found["coverage"][0] == {
        "stage": "Files found", "n": 129,
        "parts": [
            {"part": "imported", "n": 120, "kept": True}, {"part": "refused", "n": 4, "kept": False},
            {"part": "of a class that was left out", "n": 5, "kept": False},
        ],
    }  # fmt: skip


def test_the_temperature_is_fitted_on_validation_where_there_is_one(
    database: Database, home: Home, run_id: int
) -> None:
    with database.write() as session:
        dataset = session.get_one(Dataset, session.get_one(Run, run_id).dataset_id)
        alice = users.ensure_user(session, "alice", role="lead")
        again = add_run(session, home, dataset=dataset, user=alice, folds=2).id
        for image in session.scalars(select(Image).where(Image.split == "train")):
            image.split = "validation"
    with database.write() as session:
        run = session.get_one(Run, again)
        judged = judge(session, home, run)
        found = temperatures.measure_scaled(session, home, run, judged)
        assert found is not None
        assert (found["how"], found["fitted_on"], found["n"]) == ("validation", 60, 60)
        session.get_one(Dataset, run.dataset_id).frozen_split = "validation"
        aside = temperatures.measure_scaled(session, home, run, judged)
        assert aside is not None
        assert aside["how"] == "cross-fitted"
        few = judged.take(np.arange(len(judged.image_ids)) < 49)
        assert temperatures.measure_scaled(session, home, run, few) is None


def test_every_stage_accounts_for_all_its_images(database: Database, home: Home, run_id: int) -> None:
    with database.write() as session:
        tested = list(session.scalars(select(Image).where(Image.split == "test").order_by(Image.id)))
        tested[0].status, tested[1].status = "excluded", "ambiguous"
        tested[2].label_id = None
    with database.read() as session:
        stages = coverage.measure_coverage(session, home, session.get_one(Run, run_id))
    assert [stage.name for stage in stages] == [
        "Files found", "Images of the version", "Usable images", "Images of test now",
    ]  # fmt: skip
    for stage in stages:
        assert sum(part.n for part in stage.parts) == stage.total
    assert {part.words: part.n for part in stages[-1].parts} == {
        "tested on": 57, "excluded": 1, "ambiguous": 1, "without a label": 1,
    }  # fmt: skip
    assert stages[-1].kept == 57
