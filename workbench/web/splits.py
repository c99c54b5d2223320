"""Splits: where images stand, what leaks, building them anew, freezing the one that measures."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from flask import Blueprint, Response, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from workbench.errors import Invalid, NotFound
from workbench.models import SPLITS, Dataset, Run
from workbench.queries import datasets, image_details
from workbench.queries import jobs as job_queries
from workbench.queries import runs as run_queries
from workbench.services import activities, freezing, jobs, leaks, splits
from workbench.services.leaks import Rate, RunLeak
from workbench.services.splits import SplitRequest
from workbench.web import charts
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, home, page
from workbench.web.charts import IntervalBar
from workbench.web.loaders import load_dataset, load_run

blueprint = Blueprint("splits", __name__)
SHARES = {"train": "80", "validation": "10", "test": "10"}  # in per cent, until somebody types others


@blueprint.get("/d/<name>/splits")
def index(name: str) -> ResponseReturnValue:
    return _show(load_dataset(name))


def _show(dataset: Dataset, *, error: Invalid | None = None, typed: MultiDict[str, str] | None = None) -> Response:
    counts = datasets.count_labels_by_split(db(), dataset.id)
    sizes = datasets.count_splits(db(), dataset.id)
    run = _choose_run(dataset)
    leak = _measure(run)
    return page(
        "splits/index.html",
        status=error.status if error else 200,
        dataset=dataset,
        classes={cls.id: cls for cls in datasets.list_classes(db(), dataset.id)},
        counts=counts,
        most=max((sum(found.values()) for found in counts.values()), default=0),
        sizes=sizes,
        in_use=_add_up(counts.values()),
        shown=[split for split in (*SPLITS, None) if sizes.get(split)],
        leaks=leaks.list_split_leaks(db(), dataset),
        runs=run_queries.list_done_runs(db(), dataset_id=dataset.id, limit=50),
        run=run,
        leak=leak,
        bars=_draw(leak) if leak else [],
        freezable=freezing.choose_split(sizes),
        events=freezing.list_events(db(), dataset),
        attributes=image_details.list_attribute_names(db()),
        open_jobs=[job for job in job_queries.list_open_jobs(db(), dataset_id=dataset.id) if job.kind == "split"],
        typed=typed if typed is not None else MultiDict(),
        shares=SHARES,
        problem=str(error) if error else "",
        fields=error.fields if error else {},
    )


def _add_up(classes: Iterable[Mapping[str | None, int]]) -> Counter[str | None]:
    """Split -> images of all classes."""
    total: Counter[str | None] = Counter()
    for counts in classes:
        total.update(counts)
    return total


def _choose_run(dataset: Dataset) -> Run | None:
    """The one asked for, else the promoted one."""
    run_id = request.args.get("run", type=int)
    return load_run(run_id, dataset) if run_id else run_queries.get_promoted(db(), dataset)


def _measure(run: Run | None) -> RunLeak | None:
    """None as well where the run's predictions are gone or it is not done."""
    if run is None or run.status != "done":
        return None
    try:
        return leaks.measure_run(db(), home(), run)
    except NotFound:
        return None


def _draw(leak: RunLeak) -> list[tuple[str, Rate, IntervalBar]]:
    """The three accuracies as bars: on leaked images, on the rest, on all."""
    lines = (("With a copy", leak.leaked), ("The rest", leak.rest), ("All together", leak.all))
    return [
        (words, rate, charts.interval_bar(rate.accuracy, low=rate.interval[0], high=rate.interval[1]))
        for words, rate in lines
        if rate.n
    ]


@blueprint.get("/d/<name>/splits/preview")
@needs("lead")
def preview(name: str) -> ResponseReturnValue:
    """What a split would come to. Reads every image."""
    dataset = load_dataset(name)
    try:
        asked = parse_split(request.args, dataset)
        plan = splits.plan_split(db(), dataset=dataset, request=asked)
    except Invalid as error:
        return _show(dataset, error=error, typed=request.args)
    return page(
        "splits/preview.html",
        dataset=dataset,
        classes={cls.id: cls for cls in datasets.list_classes(db(), dataset.id)},
        plan=plan,
        asked=asked,
        before=_add_up(line.before for line in plan.classes),
        after=_add_up(line.after for line in plan.classes),
        excluded=datasets.count_statuses(db(), dataset.id).get("excluded", 0),
        fields=_fields_of(request.args),
    )


def _fields_of(args: MultiDict[str, str]) -> list[tuple[str, str]]:
    """The form again, for the button that carries it out."""
    names = ("train", "validation", "test", "seed", "by", "family", "family_pattern", "keep")
    return [(name, value) for name in names for value in args.getlist(name)]


@blueprint.post("/d/<name>/splits")
@needs("lead")
def build(name: str) -> ResponseReturnValue:
    """Ask for the split to be built; the job refuses if it would come to something else than the preview said."""
    dataset = load_dataset(name)
    try:
        asked = parse_split(request.form, dataset)
        splits.read_shares(asked)
        splits.check_keep(dataset, asked)
    except Invalid as error:
        return _show(dataset, error=error, typed=request.form)
    params = {key: value for key, value in asdict(asked).items() if value is not None} | {"by": list(asked.by)}
    stamp = request.form.get("stamp")
    job = jobs.enqueue(db(), kind="split", user=me(), dataset=dataset, **params, **({"stamp": stamp} if stamp else {}))
    activities.record(db(), user=me(), kind="split", dataset=dataset)
    return done(url_for("jobs.show", job_id=job.id), "Building the splits has started.")


def parse_split(form: MultiDict[str, str], dataset: Dataset) -> SplitRequest:
    """The form as a request; raises Invalid naming every field that cannot be read. Shares are in per cent."""
    problems: dict[str, str] = {}
    shares = {split: _parse_percent(form, split, problems) for split in SPLITS}
    seed = form.get("seed", "").strip() or "0"
    if not (seed.isascii() and seed.isdecimal() and len(seed) < 16):
        problems["seed"] = "A whole number from 0 on."
    if problems:
        raise Invalid("Some fields need another value.", **problems)
    keep = (dataset.frozen_split or "test") if form.get("keep") else None
    total = math.fsum(shares.values())
    if keep is None and abs(total - 100) > 1e-4:
        raise Invalid(f"The shares of train, validation and test add up to {total:g} %; they must add up to 100 %.")
    return SplitRequest(
        train=shares["train"] / 100,
        validation=shares["validation"] / 100,
        test=shares["test"] / 100,
        seed=int(seed),
        by=tuple(form.getlist("by")),
        family=form.get("family") or None,
        family_pattern=form.get("family_pattern", "").strip() or None,
        keep=keep,
    )


def _parse_percent(form: MultiDict[str, str], field: str, problems: dict[str, str]) -> float:
    try:
        share = float(form.get(field, SHARES[field]).replace(",", ".") or 0)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 100:
        problems[field] = "From 0 to 100."
    return share


@blueprint.post("/d/<name>/splits/freeze")
@needs("lead")
def freeze(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    gone = freezing.freeze(db(), dataset=dataset, user=me(), reason=request.form.get("reason", ""))
    left = f" {gone:,} items left the queues of a model's flags." if gone else ""
    return done(url_for(".index", name=name), f"{(dataset.frozen_split or '').capitalize()} is frozen.{left}")


@blueprint.post("/d/<name>/splits/unfreeze")
@needs("lead")
def unfreeze(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    try:
        freezing.unfreeze(db(), dataset=dataset, user=me(), reason=request.form.get("reason", ""))
    except Invalid as error:
        return _show(dataset, error=error, typed=request.form)
    return done(url_for(".index", name=name), "No split is frozen any more.")
