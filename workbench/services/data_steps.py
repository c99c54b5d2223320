"""What is done to the training images of a run before it learns from them, beside the variations of every epoch.

Asked for among the settings of a training (`--set targets=votes`), kept with the run, carried out by
workbench/worker/materials.py. Images that a run is measured on or stopped by are never touched by any of it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy.orm import Session

from workbench.errors import Invalid
from workbench.models import Dataset, Run
from workbench.queries import learning
from workbench.queries import runs as run_queries
from workbench.queries import votes as vote_queries

TARGETS = ("labels", "votes", "posterior")
FLAGGED = ("keep", "weigh", "drop")
MOST_PER_CLASS = 1_000_000
FEWEST_VERDICTS = 50  # that a posterior may be taught from


@dataclass(frozen=True)
class DataSteps:
    """In the order in which they are done. Raises Invalid in one sentence for a value out of range."""

    flagged: str = "keep"  # images of a high P(wrong): "drop" them, or "weigh" each by 1 - P(wrong)
    flagged_by: int = 0  # the run that says P(wrong); 0 when asked: the promoted one, else the newest with folds
    flagged_from: float = 0.5  # the P(wrong) from which "drop" drops
    max_per_class: int = 0  # so many images of a class teach, drawn by the run's seed; 0: all
    fill_per_class: int = 0  # a class with fewer gets augmented variants, each with its parent; 0: none
    targets: str = (
        "labels"  # or "votes": the shares of the raters' votes; or "posterior": what verdicts on others taught
    )
    posterior_by: int = 0  # the run whose posterior is meant; 0 when asked: the promoted one
    keep_shares: float = 0.75  # 1: with the posterior each class weighs what it does among the labels; 0: as it comes

    def __post_init__(self) -> None:
        _check_choice("targets", self.targets, TARGETS)
        _check_choice("flagged", self.flagged, FLAGGED)
        if not 0 < self.flagged_from <= 1:
            raise Invalid("flagged_from is a P(wrong), above 0 and at most 1.", flagged_from="Above 0, at most 1.")
        if not 0 <= self.keep_shares <= 1:
            raise Invalid("keep_shares is between 0 and 1.", keep_shares="0 to 1.")
        for name in ("max_per_class", "fill_per_class"):
            if not 0 <= getattr(self, name) <= MOST_PER_CLASS:
                raise Invalid(f"{name} is 0 (no bound) to {MOST_PER_CLASS:,}.", **{name: "0 or more."})
        if 0 < self.max_per_class < self.fill_per_class:
            raise Invalid("fill_per_class may not be more than max_per_class.", fill_per_class="At most the cap.")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise Invalid(f"{name} is one of {', '.join(choices)}, not “{value}”.", **{name: "Not known."})


def parse_steps(settings: Mapping[str, Any]) -> tuple[DataSteps, dict[str, Any]]:
    """The data steps among the settings, whose values may be strings, and the settings that are none."""
    types = {each.name: type(each.default) for each in fields(DataSteps)}
    asked = {name: _parse(name, value, types[name]) for name, value in settings.items() if name in types}
    return DataSteps(**asked), {name: value for name, value in settings.items() if name not in types}


def _parse(name: str, value: Any, wanted: Any) -> Any:
    try:
        return wanted(str(value).strip())
    except ValueError:
        kind = "a whole number" if wanted is int else "a number"
        raise Invalid(f"{name} must be {kind}, not “{value}”.", **{name: f"Not {kind}."}) from None


def steps_of(run: Run) -> DataSteps:
    """Those of a run; a run from before there were any had none."""
    return DataSteps(**run.config.get("data_steps", {}))


def resolve_steps(session: Session, dataset: Dataset, steps: DataSteps) -> DataSteps:
    """The steps with what they leave open filled in; Invalid where the data set has not got what they need."""
    if steps.targets == "votes" and not vote_queries.has_votes(session, dataset.id):
        raise Invalid(
            f"{dataset.name} has no votes; import some with --votes, or train on labels.", targets="No votes."
        )
    judge = _find_judge(session, dataset, steps).id if steps.flagged != "keep" else 0
    teacher = _find_teacher(session, dataset, steps).id if steps.targets == "posterior" else 0
    return DataSteps(**{**asdict(steps), "flagged_by": judge, "posterior_by": teacher})


def _find_teacher(session: Session, dataset: Dataset, steps: DataSteps) -> Run:
    """The run whose predictions the posterior is learned from, with verdicts enough to learn from."""
    if steps.posterior_by:
        run = run_queries.get_run(session, steps.posterior_by)
    else:
        found = run_queries.get_promoted(session, dataset)
        if found is None:
            raise Invalid("The posterior corrects what a promoted run says: train and promote one first.")
        run = found
    if run.dataset_id != dataset.id or run.status != "done":
        raise Invalid(f"Run {run.id} has no posterior for {dataset.name}.", posterior_by="Not a finished run of it.")
    known = learning.count_verdicts(session, dataset_id=dataset.id, after=0, enough=FEWEST_VERDICTS)
    if known < FEWEST_VERDICTS:
        raise Invalid(
            f"The posterior is learned from verdicts: settle {FEWEST_VERDICTS} images first, best at random; "
            f"{known} are settled.",
            targets="Too few verdicts.",
        )
    return run


def _find_judge(session: Session, dataset: Dataset, steps: DataSteps) -> Run:
    """The run whose P(wrong) is meant: it has to know the training images without having learned them."""
    run = run_queries.get_run(session, steps.flagged_by) if steps.flagged_by else _choose_judge(session, dataset)
    if run.dataset_id != dataset.id or run.status != "done":
        raise Invalid(f"Run {run.id} cannot flag images of {dataset.name}.", flagged_by="Not a finished run of it.")
    if not run.config.get("folds"):
        raise Invalid(
            f"Run {run.id} was trained without folds, so it has no P(wrong) for training images; train one with "
            "--folds 4, or name another with flagged_by.",
            flagged="That run has no P(wrong) for training images.",
        )
    return run


def _choose_judge(session: Session, dataset: Dataset) -> Run:
    promoted = run_queries.get_promoted(session, dataset)
    finished = run_queries.list_done_runs(session, dataset_id=dataset.id)
    found = [run for run in [promoted, *finished] if run is not None and run.config.get("folds")]
    if not found:
        raise Invalid("No run with folds is there yet to flag images: train one with --folds 4.", flagged="No run yet.")
    return found[0]


def list_settings(steps: DataSteps) -> dict[str, Any]:
    """What differs from doing nothing, as settings that ask for the same."""
    return {name: value for name, value in asdict(steps).items() if value != getattr(DataSteps(), name)}


def describe_steps(config: Mapping[str, Any]) -> list[str]:
    """What was done and to how many images, one sentence each. config: of a run."""
    steps, counts = DataSteps(**config.get("data_steps", {})), config.get("counts", {})
    found = []
    if steps.flagged == "drop":
        dropped = f"{counts.get('dropped', 0):,} images with P(wrong) of {steps.flagged_from:g} or more"
        found.append(f"{dropped} by run {steps.flagged_by} did not teach, unless a reviewer had decided on them.")
    if steps.flagged == "weigh":
        found.append(f"{counts.get('weighed', 0):,} images weighed 1 - P(wrong) by run {steps.flagged_by}.")
    if steps.max_per_class:
        found.append(
            f"At most {steps.max_per_class:,} images of a class taught, drawn by the seed: "
            f"{counts.get('capped', 0):,} did not."
        )
    if steps.fill_per_class:
        variants = f"{counts.get('variants', 0):,} augmented variants, each kept with its parent"
        found.append(f"Classes with fewer than {steps.fill_per_class:,} images were filled up with {variants}.")
    if steps.targets == "votes":
        found.append(f"{counts.get('by_votes', 0):,} images taught the shares of their votes, the others their label.")
    if steps.targets == "posterior":
        found.append(_describe_posterior(steps, counts))
    return found


def _describe_posterior(steps: DataSteps, counts: Mapping[str, Any]) -> str:
    kept = counts.get("kept_labels", 0)
    overruled = f"; {kept:,} kept their label because a lead overruled it" if kept else ""
    shares = f" Classes kept their weight among the labels to {steps.keep_shares:.0%}." if steps.keep_shares else ""
    return (
        f"{counts.get('by_posterior', 0):,} images that nobody had decided on taught the posterior of run "
        f"{steps.posterior_by}, learned from {counts.get('verdicts', 0):,} verdicts, the others their label{overruled}."
        f"{shares}"
    )
