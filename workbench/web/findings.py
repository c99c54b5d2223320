"""Findings: what scans say about single images, by kind, and what became of the images of each class."""

from flask import Blueprint, url_for
from flask.typing import ResponseReturnValue

from workbench.models import FINDINGS, SCANS_OF_FINDINGS
from workbench.queries import jobs
from workbench.services import activities
from workbench.services.findings import show_overview
from workbench.services.jobs import enqueue
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, page
from workbench.web.loaders import load_dataset

blueprint = Blueprint("findings", __name__)


@blueprint.get("/d/<name>/findings")
def index(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    overview = show_overview(db(), dataset)
    looked_for = [kind for scan in overview.scans for kind in SCANS_OF_FINDINGS[scan]]
    found = {kind.name for kind in overview.kinds}
    return page(
        "findings/index.html",
        dataset=dataset,
        overview=overview,
        words=FINDINGS,
        none_of=[FINDINGS[kind] for kind in looked_for if kind not in found],
        newest=max((scan.at for scan in overview.scans.values()), default=None),
        job=jobs.find_open_job(db(), kind="findings", dataset_id=dataset.id),
    )


@blueprint.get("/d/<name>/findings/scan")
def scan_state(name: str) -> ResponseReturnValue:
    """The block that says how far a scan is; when it is over, the page is loaded anew."""
    dataset = load_dataset(name)
    job = jobs.find_open_job(db(), kind="findings", dataset_id=dataset.id)
    if job is None:
        return done(url_for(".index", name=name))
    return page("findings/_scan.html", dataset=dataset, job=job)


@blueprint.post("/d/<name>/findings/scan")
@needs("lead")
def scan(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    if jobs.find_open_job(db(), kind="findings", dataset_id=dataset.id):
        return done(url_for(".index", name=name), "A scan is under way already.")
    enqueue(db(), kind="findings", user=me(), dataset=dataset)
    activities.record(db(), user=me(), kind="looked", dataset=dataset)
    return done(url_for(".index", name=name), "The scan has started; the findings appear when it is done.")
