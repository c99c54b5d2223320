"""Training a run from its version to its predictions. Killed at any moment, the same call goes on where it was."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.active.uncertainty import entropy, margin
from ml.configs import TrainConfig, make_config, write_config
from ml.dynamics import read_dynamics
from ml.folds import cross_predict
from ml.labels import label_issues
from ml.launch import launch
from ml.neighbours import compress, nearest_rows
from ml.predict import load_model, predict
from ml.programs import describe_program
from ml.train import Diverged, EpochReport, TrainResult
from workbench import __version__
from workbench.errors import Cancelled, Invalid, WorkbenchError
from workbench.files import write_json
from workbench.models import User
from workbench.queries import datasets as dataset_queries
from workbench.queries import runs as queries
from workbench.services import runs, training_sets, users
from workbench.services.architectures import ENSEMBLE, HEAD
from workbench.services.data_steps import parse_steps
from workbench.services.measures import evaluate
from workbench.services.predictions import STORED_NEIGHBOURS, Predictions, save_predictions
from workbench.services.training_sets import TrainingSet
from workbench.worker.context import Context
from workbench.worker.ensembles import fit_ensemble_run, name_taught
from workbench.worker.fitted import Fitted
from workbench.worker.heads import fit_head_run
from workbench.worker.kept_features import keep_features
from workbench.worker.materials import Material, Order, check_material, gather, read_order, resolve_config
from workbench.worker.meters import Meter
from workbench.worker.posterior_targets import prepare_belief
from workbench.worker.probing import probe_run
from workbench.worker.promoting import promote_if_asked


def train(
    context: Context,
    *,
    dataset: str,
    arch: str | None = None,
    preset: str = "quick",
    epochs: int | None = None,
    folds: int = 0,
    seed: int = 0,
    from_run: int | None = None,
    settings: dict[str, Any] | None = None,
    promote: bool = False,
    run: int | None = None,
) -> dict[str, Any]:
    """Train and say how good it is. All arguments are JSON-able.

    settings: of the training, and data steps. arch, from_run: by default as `runs.draft_run` says.
    run: a row that was made for this training. Without it, a run that was asked for in the same way and left running
    by a process that died is gone on with, else a new one begins.
    """
    if run is None:
        overrides = {**(settings or {}), **({} if epochs is None else {"epochs": epochs})}
        _check_settings(preset, overrides)
        asked = {"arch": arch, "preset": preset, "folds": folds, "seed": seed, "overrides": overrides}
        run = _open_run(context, dataset=dataset, from_run=from_run, promote=promote, asked=asked)
    with runs.claim(context.home, run):
        _train_unless_done(context, run)
        probe_run(context, run=run)
        return _conclude(context, run)


def carry_out(context: Context, run_id: int) -> None:
    """Train a run that has its row, from where it was, and promote nothing: what a study does with each of its runs."""
    with runs.claim(context.home, run_id):
        _train_unless_done(context, run_id)
        probe_run(context, run=run_id)


def _train_unless_done(context: Context, run_id: int) -> None:
    with context.database.read() as session:
        is_done = queries.get_run(session, run_id).status == "done"
    if not is_done:
        _train_or_say_why(context, run_id)


def _open_run(context: Context, *, dataset: str, from_run: int | None, promote: bool, asked: dict[str, Any]) -> int:
    """The id of the run to train: one that was left running, or a new one."""
    with context.database.write() as session:
        user_id = context.user_id or users.ensure_admin(session).id
    with context.database.read() as session:
        like = runs.draft_run(
            session,
            dataset=dataset_queries.get_dataset(session, dataset),
            user=session.get_one(User, user_id),
            from_run=queries.get_run(session, from_run) if from_run else None,
            promote=promote,
            **asked,
        )
    with context.database.write() as session:
        found = runs.find_unfinished(session, context.home, like=like)
        if found is None:
            runs.start_run(like)
            session.add(like)
            session.flush()
        return (found or like).id


def _check_settings(preset: str, overrides: dict[str, Any]) -> None:
    if preset not in runs.PRESETS:
        return  # refused with the rest of the request
    _, plain = parse_steps({name: value for name, value in overrides.items() if name not in ("leave_out", "members")})
    try:
        make_config(preset, **plain)
    except ValueError as error:
        raise Invalid(say_sentence(error)) from None


def say_sentence(error: Exception) -> str:
    """What ml says begins in lower case, or with the name of a setting, which stays as it is."""
    text = str(error).rstrip(".")
    return f"{text}." if "_" in text.partition(" ")[0] else f"{text[:1].upper()}{text[1:]}."


def _train_or_say_why(context: Context, run_id: int) -> None:
    """A failure ends the row too. What ends the process leaves it running, to be gone on with."""
    try:
        _train_run(context, run_id)
    except Cancelled:
        with context.database.write() as session:
            runs.cancel_run(queries.get_run(session, run_id))
        raise
    except (ValueError, Diverged, WorkbenchError) as error:
        _fail(context, run_id, error=say_sentence(error))
        raise Invalid(say_sentence(error)) from error
    except Exception as error:
        _fail(context, run_id, error=f"The training broke unexpectedly ({type(error).__name__}: {error}).")
        raise


def _fail(context: Context, run_id: int, *, error: str) -> None:
    with context.database.write() as session:
        runs.fail_run(queries.get_run(session, run_id), error=error)


# --- training ---------------------------------------------------------------------------------------------------


def _train_run(context: Context, run_id: int) -> None:
    with context.database.write() as session:
        runs.start_run(queries.get_run(session, run_id))
    prepare_belief(context, run_id)
    with context.database.read() as session:
        order = read_order(session, context.home, run_id)
    config = resolve_config(order)
    material = gather(context, order, config)
    if order.arch == ENSEMBLE:
        material = name_taught(order, material)
    check_material(material)
    program = {"workbench": __version__, **describe_program()}
    facts = {"training": write_config(config), "counts": material.count(), "program": program}
    with context.database.write() as session:
        run = queries.get_run(session, run_id)
        runs.start_run(run, **facts)
        write_json(context.home.run_folder(run_id) / "config.json", {"arch": order.arch, **run.config}, indent=2)
    fitted = FITS.get(order.arch, _fit_network)(context, order, config, material)
    probs, unseen = _cross(context, order, config, material, fitted=fitted)
    found = None if order.from_run_id else read_dynamics(context.home.run_folder(run_id))
    witness, known = _hear_witness(found, material, probs, unseen)
    said = _make_predictions(
        material, probs, fitted.features, unseen, witness=witness, judged=unseen | known, order=order
    )
    save_predictions(context.home, run_id, said)
    training_sets.save_training_set(context.home, run_id, _list_training_set(material))
    metrics = _measure(said, material, order)
    folder = context.home.run_folder(run_id)
    with context.database.write() as session:
        runs.finish_run(
            queries.get_run(session, run_id),
            metrics=metrics,
            seconds=_sum_seconds(folder) + fitted.seconds,
            images_per_second=fitted.images_per_second,
        )
    shutil.rmtree(folder / "folds", ignore_errors=True)


def _fit_network(context: Context, order: Order, config: TrainConfig, material: Material) -> Fitted:
    """Train it, ask it about every image, and keep the features for heads."""
    result = _fit(context, order, config, material)
    probs, features = predict(load_model(result.checkpoint), material.images[: len(material.rows)])
    ids = np.array([row.image_id for row in material.rows], np.int64)
    keep_features(context.home, order.run_id, image_ids=ids, features=features)
    return Fitted(probs, features, result.images_per_second, crossed=np.zeros(len(ids), np.bool_))


def _fit(context: Context, order: Order, config: TrainConfig, material: Material) -> TrainResult:
    return launch(
        material.images,
        material.labels,
        train_indices=material.training,
        validation_indices=material.validation,
        class_count=len(order.class_ids),
        config=config,
        folder=context.home.run_folder(order.run_id),
        on_epoch=_epoch_reporter(context, order.run_id),
        on_batch=Meter(context, order, config, material).train,
        weights=material.weights,
        targets=material.targets,
        initial=context.home.run_folder(order.from_run_id) / "checkpoint.pt" if order.from_run_id else None,
    )


def _epoch_reporter(context: Context, run_id: int) -> Callable[[EpochReport], None]:
    def report(epoch: EpochReport) -> None:
        with context.database.write() as session:
            run = queries.get_run(session, run_id)
            runs.report_epoch(run, epochs_done=epoch.epoch, images_per_second=epoch.images_per_second)
        context.on_epoch(epoch.epoch, epoch.validation_accuracy, epoch.validation_loss)

    return report


def _cross(
    context: Context,
    order: Order,
    config: TrainConfig,
    material: Material,
    *,
    fitted: Fitted,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Probabilities of all images, and which of them come from a model that did not see the picture.

    Without folds those of the final model. With folds, what the final model saw is predicted by the folds' models.
    """
    taught = {material.rows[index].pixel_sha256 for index in material.taught.tolist()}
    taught |= set(order.inherited.values())
    seen = np.array([row.pixel_sha256 in taught for row in material.rows])
    folds = order.config["folds"]
    if not folds:
        return fitted.probs, ~seen | fitted.crossed
    # copies of what was trained on are predicted with it, without teaching; variants teach beside their parents
    labels = np.full(len(material.labels), -1, np.int64)
    labels[material.training] = material.labels[material.training]
    rows = np.flatnonzero(seen)
    variants = np.arange(len(material.rows), len(material.labels))
    crossed = cross_predict(
        material.images,
        labels,
        material.groups,
        indices=np.concatenate([rows, variants]),
        folds=folds,
        class_count=len(order.class_ids),
        config=config,
        folder=context.home.run_folder(order.run_id) / "folds",
        on_progress=Meter(context, order, config, material).cross,
        weights=material.weights,
        targets=material.targets,
    )
    probs = fitted.probs.copy()
    probs[rows] = crossed[: len(rows)]
    return probs, np.ones(len(seen), np.bool_)


def _hear_witness(
    found: tuple[NDArray[np.int64], NDArray[np.float32]] | None,
    material: Material,
    probs: NDArray[np.float32],
    unseen: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """What labels are judged by, and of which images the model spoke while it learned from them or their exact copies.

    Where folds were asked too, both count, what was said while learning twice: it ranks better than either. A training
    that goes on from another run's weights has known its images before.
    """
    noted, witness = np.zeros(len(material.rows), np.bool_), probs.copy()
    if found is None:
        return witness, noted
    row_of = {material.rows[row].pixel_sha256: place for place, row in enumerate(found[0].tolist()) if row < len(noted)}
    places = np.array([row_of.get(row.pixel_sha256, -1) for row in material.rows], np.int64)
    noted = places >= 0
    while_learning = found[1][places[noted]]
    witness[noted] = np.where(unseen[noted, None], (probs[noted] + 2 * while_learning) / 3, while_learning)
    return witness, noted


def _make_predictions(
    material: Material,
    probs: NDArray[np.float32],
    features: NDArray[np.float32],
    unseen: NDArray[np.bool_],
    *,
    witness: NDArray[np.float32],
    judged: NDArray[np.bool_],
    order: Order,
) -> Predictions:
    """A frozen split gets no P(wrong): what is learned of one image's label there would serve to judge another's."""
    p_wrong = np.full(len(probs), np.nan, np.float32)
    suggested = probs.argmax(1).astype(np.int64)
    judged = judged & np.array([order.frozen is None or row.split != order.frozen for row in material.rows], np.bool_)
    if judged.any():
        issues = label_issues(witness[judged], material.labels[: len(probs)][judged])
        p_wrong[judged], suggested[judged] = issues.p_wrong, issues.suggested
    small = compress(features, dimensions=64)
    return Predictions(
        image_ids=np.array([row.image_id for row in material.rows], np.int64),
        probs=probs.astype(np.float16),
        out_of_sample=unseen,
        p_wrong=p_wrong,
        suggested=suggested,
        entropy=entropy(probs),
        margin=margin(probs),
        features=small,
        class_ids=np.array(order.class_ids, np.int64),
        neighbours=nearest_rows(small, k=STORED_NEIGHBOURS),
        witness=witness.astype(np.float16),
    )


def _list_training_set(material: Material) -> TrainingSet:
    ids = np.array([row.image_id for row in material.rows], np.int64)
    return TrainingSet(
        trained=np.sort(ids[material.taught]),
        measured=np.sort(ids[material.evaluation]),
        left_out=np.sort(ids[material.left_out]),
        parents=ids[material.parents],
    )


def _measure(said: Predictions, material: Material, order: Order) -> dict[str, Any]:
    """On what is saved, so that `workbench evaluate` finds the same numbers while labels stand."""
    rows = material.evaluation
    marked = bool(order.config["evaluation"].get("cleaned_with_own_flags"))
    measured = evaluate(said.probs[rows], material.labels[rows], class_names=order.class_names)
    return {"split": order.split, "cleaned_with_own_flags": marked, **measured}


def _sum_seconds(folder: Path) -> float:
    """Time spent in all epochs of the training and its folds, before a kill too."""
    lines = [line for path in folder.rglob("metrics.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]
    return float(sum(json.loads(line)["seconds"] for line in lines))


FITS = {HEAD: fit_head_run, ENSEMBLE: fit_ensemble_run}  # all other architectures are trained


# --- afterwards -------------------------------------------------------------------------------------------------


def _conclude(context: Context, run_id: int) -> dict[str, Any]:
    """Promote it if that was asked for and it is not worse, or if there is none yet, and answer."""
    outcome = promote_if_asked(context, run_id)
    with context.database.read() as session:
        run = queries.get_run(session, run_id)
        return {**runs.report_run(run), **outcome, "counts": run.config["counts"]}
