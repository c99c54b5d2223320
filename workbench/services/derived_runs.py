"""Runs that are built on runs: a head on the features of one, the mean of several. What may be asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from workbench.errors import Invalid
from workbench.models import Dataset, Run
from workbench.queries import runs as queries
from workbench.services.architectures import ENSEMBLE, HEAD
from workbench.services.data_steps import DataSteps

HEAD_SETTINGS = ("hidden", "label_smoothing", "class_weighting")  # what a head has of a training's settings
MOST_MEMBERS = 50
WITHOUT_NETWORK = {ENSEMBLE: "averages other runs", "external": "was made elsewhere"}


def check_start(from_run: Run | None) -> None:
    """Whether a training may take the run's weights over."""
    reason = WITHOUT_NETWORK.get(from_run.arch) if from_run else None
    if from_run is not None and reason:
        raise Invalid(
            f"Run {from_run.id} {reason} and has no network of its own to start from; name another run.",
            from_run="Has no network of its own.",
        )


def name_network(run: Run) -> str:
    """The architecture that a training takes over from a run: of a head, that of the network it stands on."""
    return str(run.config.get("training", {}).get("arch", run.arch)) if run.arch == HEAD else run.arch


def check_head(*, from_run: Run | None, folds: int, settings: Mapping[str, Any]) -> None:
    """Invalid for what a head on the features of `from_run` cannot do."""
    if from_run is None:
        raise Invalid("A head stands on a run: name the run whose features it takes.", from_run="Needed for a head.")
    if folds:
        raise Invalid(
            "A head has no folds: the network under it has seen the training images, so that no prediction of them "
            "would be out of sample.",
            folds="None for a head.",
        )
    _refuse_settings(settings, HEAD_SETTINGS, "head")


def read_members(
    session: Session,
    dataset: Dataset,
    *,
    asked: Any,
    folds: int,
    from_run: Run | None,
    settings: Mapping[str, Any],
    steps: DataSteps,
) -> list[Run]:
    """The runs that an ensemble averages. asked: their ids, or these with commas. Invalid for what cannot be."""
    ids = _parse_ids(asked)
    _refuse_settings(settings, ("members",), "ensemble")
    if folds or from_run is not None or steps != DataSteps():
        raise Invalid("An ensemble trains nothing: it has no folds, no run to start from and no data steps.")
    members = [queries.get_run(session, run_id) for run_id in ids]
    for member in members:
        _check_member(member, dataset)
    return members


def check_classes(members: Sequence[Run], classes: Sequence[Mapping[str, Any]]) -> None:
    """Their columns must be those of the present classes."""
    wanted = [cls["id"] for cls in classes]
    for member in members:
        if [cls["id"] for cls in member.config["classes"]] != wanted:
            raise Invalid(
                f"Run {member.id} predicts other classes than the data set has now; train it again.",
                settings="Other classes.",
            )


def _parse_ids(asked: Any) -> list[int]:
    words = [str(each).strip() for each in (asked if isinstance(asked, list | tuple) else str(asked or "").split(","))]
    if not all(word.isascii() and word.isdecimal() for word in words):
        raise Invalid("An ensemble names its members: members=3,5,7, the runs that it averages.", settings="Members?")
    ids = list(dict.fromkeys(int(word) for word in words))
    if not 2 <= len(ids) <= MOST_MEMBERS:
        raise Invalid(f"An ensemble averages 2 to {MOST_MEMBERS} different runs, not {len(ids)}.", settings="Members?")
    return ids


def _check_member(member: Run, dataset: Dataset) -> None:
    if member.dataset_id != dataset.id:
        raise Invalid(f"Run {member.id} belongs to another data set.", settings="Of another data set.")
    if member.status != "done":
        raise Invalid(f"Run {member.id} is {member.status}; only runs that are done can be averaged.", settings="?")
    if member.arch in WITHOUT_NETWORK:
        raise Invalid(f"Run {member.id} {WITHOUT_NETWORK[member.arch]}; name runs with a network.", settings="?")


def _refuse_settings(settings: Mapping[str, Any], known: Sequence[str], noun: str) -> None:
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise Invalid(
            f"{'An' if noun[0] in 'aeiou' else 'A'} {noun} has no setting “{unknown[0]}”, it would do nothing; it has "
            f"{', '.join(known)}.",
            settings="Would do nothing.",
        )
