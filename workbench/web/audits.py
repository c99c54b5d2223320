"""Audits: how many labels are wrong, by a random sample; drawing one, its result, its report."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
from flask import Blueprint, Response, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Invalid, NotFound
from workbench.models import Audit, Class, Dataset, utc_now
from workbench.queries import audits as queries
from workbench.queries import datasets as dataset_queries
from workbench.queries import image_lists
from workbench.services import activities, audit_pdf, audit_reports, audits
from workbench.services.audit_estimates import Sample, weigh
from workbench.services.audit_figures import Figures
from workbench.services.audit_verdicts import KINDS, Reading, Verdict
from workbench.web import charts
from workbench.web.accounts import me, needs
from workbench.web.boundary import begin_writing, db, done, page
from workbench.web.charts import LineChart, Series
from workbench.web.loaders import load_dataset, load_queue

blueprint = Blueprint("audits", __name__)
PER_PAGE = 60
SECONDS = 4.0  # a verdict, until somebody has measured


def load_audit(audit_id: int, dataset: Dataset) -> Audit:
    return queries.get_audit(db(), dataset.id, audit_id)


@blueprint.get("/d/<name>/audits")
def index(name: str) -> ResponseReturnValue:
    """The audits so far, and the form that draws the next."""
    return _show_index(load_dataset(name), {})


def _show_index(dataset: Dataset, problems: Mapping[str, str]) -> Response:
    found = audits.list_figures(db(), dataset)
    return page(
        "audits/index.html",
        status=422 if problems else 200,
        dataset=dataset,
        found=found,
        trend=draw_trend(found),
        problems=problems,
        typed=request.form,
        labelled=dataset_queries.count_images(db(), dataset.id),
    )


def draw_trend(found: Sequence[tuple[Audit, Figures]]) -> LineChart | None:
    """The error rate over the audits, oldest first; none unless two of them say something."""
    told = [(audit, figures.rate) for audit, figures in reversed(found) if figures.rate is not None]
    if len(told) < 2:
        return None
    rates = [rate for _, rate in told]
    series = Series("wrong labels", [rate.rate for rate in rates], band=[(rate.low, rate.high) for rate in rates])
    return charts.line_chart(
        "Wrong labels over time", [series], x=[audit.id for audit, _ in told], x_name="audit", percent=True
    )


@blueprint.post("/d/<name>/audits")
@needs("lead")
def begin(name: str) -> ResponseReturnValue:
    """Draw a sample and go to it."""
    dataset = load_dataset(name)
    try:
        plan = audits.plan_audit(db(), dataset, **_parse_wishes(request.form))
    except Invalid as error:
        return _show_index(dataset, {"size": str(error)})
    begin_writing()
    audit = audits.open_audit(db(), plan, user=me())
    activities.record(db(), user=me(), kind="audit_drawn", dataset=dataset, audit=audit.id, size=audit.size)
    words = f"{audit.size:,} images were drawn; expect the rate to within {100 * plan.expected_margin:.1f} points."
    return done(url_for(".show", name=name, audit_id=audit.id), words)


def _parse_wishes(form: Mapping[str, str]) -> dict[str, Any]:
    return {
        "size": _parse_number(form.get("size", "")),
        "opinions": _parse_number(form.get("opinions", "")) or 1,
        "assisted": form.get("assisted") == "yes",
    }


def _parse_number(typed: str) -> int | None:
    plain = typed.strip().replace(",", "")
    if not plain:
        return None
    if not plain.isdecimal() or len(plain) > 9:
        raise Invalid("Give a whole number of images.")
    return int(plain)


@blueprint.get("/d/<name>/audits/<int:audit_id>")
def show(name: str, audit_id: int) -> ResponseReturnValue:
    """How far it is, and what it says."""
    dataset = load_dataset(name)
    audit = load_audit(audit_id, dataset)
    figures = next(figures for one, figures in audits.list_figures(db(), dataset) if one.id == audit.id)
    return page(
        "audits/audit.html",
        dataset=dataset,
        audit=audit,
        figures=figures,
        remaining=audits.count_remaining(db(), dataset, figures),
        queue=load_queue(audit.queue_id, dataset),
        minutes=max(1, round(figures.missing * audit.opinions * SECONDS / 60)),
        classes=_list_classes(dataset),
        bar=charts.interval_bar,
    )


def _list_classes(dataset: Dataset) -> dict[int, Class]:
    return {cls.id: cls for cls in dataset_queries.list_classes(db(), dataset.id)}


# --- the verdicts behind a figure -------------------------------------------------------------------------------


@blueprint.get("/d/<name>/audits/<int:audit_id>/verdicts")
def verdicts(name: str, audit_id: int) -> ResponseReturnValue:
    """The images of the sample that made a figure, those that wait left out: they are to be seen blind."""
    dataset = load_dataset(name)
    reading = _read(dataset, audit_id)
    chosen = _choose(reading)
    if request.args.get("format") == "csv":
        return Response(_write_csv(reading, chosen), mimetype="text/csv")
    after = request.args.get("after", 0, type=int)
    shown = chosen[after : after + PER_PAGE]
    kept = {key: value for key, value in request.args.items() if key != "after"}
    return page(
        "audits/verdicts.html",
        dataset=dataset,
        audit=reading.audit,
        reading=reading,
        total=len(chosen),
        after=after,
        shown=shown,
        images={image.id: image for image in image_lists.get_images(db(), [one.image_id for one in shown])},
        classes=_list_classes(dataset),
        kept=kept,
        next_after=after + PER_PAGE if after + PER_PAGE < len(chosen) else None,
        weights=dict(zip((one.image_id for one in reading.answered), _weigh(reading), strict=True)),
    )


def _read(dataset: Dataset, audit_id: int) -> Reading:
    version = request.args.get("version", type=int)
    return audits.read(db(), dataset, load_audit(audit_id, dataset), decision_id=version)


def _choose(reading: Reading) -> list[Verdict]:
    asked = request.args
    if asked.get("kind") and asked["kind"] not in KINDS:
        raise NotFound(f"Verdicts are {', '.join(KINDS)}.")
    return [
        verdict
        for verdict in reading.answered
        if (not asked.get("class") or str(verdict.given_id) == asked["class"])
        and (not asked.get("split") or (reading.frame.splits[verdict.cell] or "none") == asked["split"])
        and (not asked.get("kind") or verdict.kind == asked["kind"])
        and (not asked.get("given") or reading.names[verdict.given_id] == asked["given"])
        and (not asked.get("shows") or reading.name_shown(verdict) == asked["shows"])
    ]


def _weigh(reading: Reading) -> list[float]:
    """How many images each verdict stands for."""
    cells = np.array([verdict.cell for verdict in reading.answered], np.int64)
    weights: list[float] = weigh(reading.frame, Sample(cells, np.zeros(len(cells), np.bool_))).tolist()
    return weights


def _write_csv(reading: Reading, chosen: Sequence[Verdict]) -> str:
    """With everything from which the plain estimate can be worked out by hand."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("image", "path", "split", "given", "verdict", "shows", "wrong", "stands_for", "line"))
    weights = dict(zip((one.image_id for one in reading.answered), _weigh(reading), strict=True))
    for one in chosen:
        split = reading.frame.splits[one.cell] or ""
        shows = reading.names.get(one.class_id or 0, "")
        given = reading.names.get(one.given_id, "")
        weight = f"{weights[one.image_id]:.4f}"
        writer.writerow((one.image_id, one.path, split, given, one.kind, shows, int(one.wrong), weight, one.line_id))
    return file.getvalue()


# --- the report -------------------------------------------------------------------------------------------------


@blueprint.get("/d/<name>/audits/<int:audit_id>/report")
def report(name: str, audit_id: int) -> ResponseReturnValue:
    """For the printer: every figure with the verdicts that made it. An address with a version never changes."""
    dataset = load_dataset(name)
    audit = load_audit(audit_id, dataset)
    written = audit_reports.write_report(db(), dataset, audit, decision_id=request.args.get("version", type=int))
    return page("audits/report.html", dataset=dataset, audit=audit, report=written, today=utc_now().date())


@blueprint.get("/d/<name>/audits/<int:audit_id>/report.pdf")
def pdf(name: str, audit_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    audit = load_audit(audit_id, dataset)
    written = audit_reports.write_report(db(), dataset, audit, decision_id=request.args.get("version", type=int))

    def link(query: Mapping[str, str]) -> str:
        asked: dict[str, Any] = {"version": written.verdict_version, **query}
        return url_for(".verdicts", name=name, audit_id=audit_id, _external=True, **asked)

    drawn = audit_pdf.draw(written, link=link, written=date.isoformat(utc_now().date()))
    stem = f"audit-{audit_id}-version-{written.verdict_version}"
    headers = {"Content-Disposition": f'inline; filename="{stem}.pdf"'}
    return Response(drawn, mimetype="application/pdf", headers=headers)
