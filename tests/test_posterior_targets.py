"""Posterior labels as what images teach: asked for, carried out, overruled, gone on with."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from tests.drawn import make_stripes
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Forbidden, Invalid
from workbench.models import Dataset, Image
from workbench.queries import datasets as dataset_queries
from workbench.queries import runs as queries
from workbench.services import decisions, keeping, runs, users
from workbench.services.data_steps import DataSteps, describe_steps, steps_of
from workbench.services.decisions import Line
from workbench.services.posteriors import find_posteriors
from workbench.worker import trainings
from workbench.worker.context import Context
from workbench.worker.learning import learn
from workbench.worker.materials import Material, gather, read_order, resolve_config
from workbench.worker.posterior_targets import prepare_belief

TINY: dict[str, Any] = {"image_size": 16, "threads": 1, "batch_size": 32, "precision": "float32", "epochs": 1}
MISTAKEN = [f"rows/{number:03d}.png" for number in range(0, 40, 3)]  # labelled rows, and every reviewer says columns


@pytest.fixture
def context(database: Database, home: Home) -> Context:
    """120 images, a promoted run with folds that sees the mistaken labels; nobody has decided on anything."""
    with database.write() as session:
        dataset = make_stripes(session, home, per_class=40)
        admin = users.ensure_admin(session)
        run = add_run(session, home, dataset=dataset, user=admin, mistakes=dict.fromkeys(MISTAKEN, "columns"), folds=2)
        dataset.promoted_run_id = run.id
    return Context(database, home)


def settle(context: Context, *, count: int = 60) -> None:
    """The first images of all classes in turn, as reviewers see them."""
    with context.database.write() as session:
        dataset = dataset_queries.get_dataset(session, "stripes")
        columns = {cls.name: cls.id for cls in dataset_queries.list_classes(session, dataset.id)}
        images = sorted(session.scalars(select(Image)), key=lambda image: (image.path.partition("/")[2], image.id))
        lines = [
            Line("relabel", image.id, columns["columns"])
            if image.path in MISTAKEN
            else Line("confirm", image.id, image.label_id)
            for image in images[:count]
        ]
        decisions.submit_each(
            session, dataset=dataset, user=users.ensure_admin(session), actions=[[line] for line in lines]
        )


def ask(context: Context, **overrides: Any) -> int:
    with context.database.write() as session:
        dataset, admin = dataset_queries.get_dataset(session, "stripes"), users.ensure_admin(session)
        asked = {**TINY, "targets": "posterior", **overrides}
        return runs.create_run(session, dataset=dataset, user=admin, overrides=asked).id


def gather_for(context: Context, run_id: int) -> Material:
    prepare_belief(context, run_id)
    with context.database.read() as session:
        order = read_order(session, context.home, run_id)
    return gather(context, order, resolve_config(order))


def row_of(material: Material, path: str) -> int:
    return next(index for index, row in enumerate(material.rows) if row.path == path)


# --- asking -----------------------------------------------------------------------------------------------------


def test_the_posterior_needs_a_promoted_run_and_verdicts(context: Context) -> None:
    settle(context, count=49)
    with pytest.raises(Invalid, match="settle 50 images first, best at random; 49 are settled"):
        ask(context)
    with context.database.write() as session:
        dataset_queries.get_dataset(session, "stripes").promoted_run_id = None
    with pytest.raises(Invalid, match="train and promote one first"):
        ask(context)
    with pytest.raises(Invalid, match="keep_shares is between 0 and 1"):
        ask(context, keep_shares=2)


def test_the_run_whose_posterior_is_meant_is_kept(context: Context) -> None:
    settle(context)
    run_id = ask(context)
    with context.database.read() as session:
        assert steps_of(queries.get_run(session, run_id)) == DataSteps(targets="posterior", posterior_by=1)


# --- carried out ------------------------------------------------------------------------------------------------


def test_undecided_images_teach_the_posterior_the_others_their_label(context: Context) -> None:
    settle(context)
    material = gather_for(context, ask(context, keep_shares=0))
    learned = find_posteriors(context.home, 1)
    assert material.targets is not None
    assert learned is not None
    decided = row_of(material, "rows/000.png")
    np.testing.assert_array_equal(material.targets[decided], [0, 1, 0])  # put right: it teaches its decision
    for path in ("rows/030.png", "rows/031.png", "blank/032.png"):
        row = row_of(material, path)
        belief = learned.probs[learned.find(material.rows[row].image_id) or 0].astype(np.float32)
        np.testing.assert_allclose(material.targets[row], belief / belief.sum(), rtol=1e-3)
    assert material.targets[row_of(material, "rows/030.png")].argmax() == 1  # nobody saw it, and it is no row
    assert material.labels[row_of(material, "rows/030.png")] == 0  # its label stays
    undecided = [row for row in material.training.tolist() if material.rows[row].source == "imported"]
    assert material.count()["by_posterior"] == len(undecided) == 36
    assert (material.count()["verdicts"], material.count()["kept_labels"]) == (60, 0)
    np.testing.assert_allclose(material.targets.sum(1), 1, atol=1e-5)


def test_what_is_measured_on_is_never_touched(context: Context) -> None:
    settle(context)
    material = gather_for(context, ask(context))
    assert material.targets is not None
    assert material.weights is not None
    others = np.concatenate([material.evaluation, material.validation])
    np.testing.assert_array_equal(material.targets[others], np.eye(3)[material.labels[others]])
    np.testing.assert_array_equal(material.weights[others], 1)


def test_a_lead_overrules_and_takes_it_back(context: Context) -> None:
    settle(context)
    with context.database.write() as session:
        dataset = session.get_one(Dataset, 1)
        lea = users.ensure_user(session, "lea", role="lead")
        image_id = session.scalars(select(Image.id).where(Image.path == "rows/030.png")).one()
        assert keeping.keep_labels(session, dataset=dataset, user=lea, image_ids=[image_id]) == 1
        assert keeping.keep_labels(session, dataset=dataset, user=lea, image_ids=[image_id]) == 0
        rita = users.ensure_user(session, "rita", role="reviewer")
        with pytest.raises(Forbidden):
            keeping.keep_labels(session, dataset=dataset, user=rita, image_ids=[image_id])
    kept_run = ask(context, keep_shares=0)
    with context.database.write() as session:
        decisions.undo_last(session, dataset=session.get_one(Dataset, 1), user=lea)
    free_run = ask(context, keep_shares=0)
    kept, free = gather_for(context, kept_run), gather_for(context, free_run)
    row = row_of(kept, "rows/030.png")
    assert kept.targets is not None
    assert free.targets is not None
    assert kept.targets[row].tolist() == [1, 0, 0]  # the version of the run says so, undone since or not
    assert free.targets[row].argmax() == 1
    assert (kept.count()["kept_labels"], free.count()["kept_labels"]) == (1, 0)


def test_classes_keep_their_weight_among_the_labels(context: Context) -> None:
    settle(context)
    material = gather_for(context, ask(context, keep_shares=1))
    assert material.targets is not None
    assert material.weights is not None
    rows = material.training
    weight = (material.targets[rows] * material.weights[rows, None]).sum(0)
    np.testing.assert_allclose(weight, np.bincount(material.labels[rows], minlength=3), rtol=1e-4)


def test_a_run_learns_the_posterior_it_first_read_and_says_so(context: Context) -> None:
    settle(context)
    run_id = ask(context)
    first = gather_for(context, run_id)
    settle(context, count=90)
    learn(context, dataset="stripes")
    answer = trainings.train(context, dataset="stripes", run=run_id)
    assert (answer["counts"]["by_posterior"], answer["counts"]["verdicts"]) == (first.count()["by_posterior"], 60)
    with context.database.read() as session:
        config = queries.get_run(session, run_id).config
    (sentence,) = describe_steps(config)
    assert sentence == (
        "36 images that nobody had decided on taught the posterior of run 1, learned from 60 verdicts, the others "
        "their label. Classes kept their weight among the labels to 75%."
    )


def test_a_class_merged_away_counts_for_what_it_became(context: Context) -> None:
    settle(context)
    learn(context, dataset="stripes")
    with context.database.write() as session:
        dataset = session.get_one(Dataset, 1)
        names = {cls.name: cls.id for cls in dataset_queries.list_classes(session, dataset.id)}
        merge = Line("class_merge", class_id=names["columns"], detail={"into": names["blank"]})
        decisions.submit(session, dataset=dataset, user=users.ensure_admin(session), lines=[merge])
    material = gather_for(context, ask(context, keep_shares=0))
    assert material.targets is not None
    assert material.targets.shape[1] == 2
    assert material.targets[row_of(material, "rows/030.png")].argmax() == 1
    np.testing.assert_allclose(material.targets.sum(1), 1, atol=1e-5)
