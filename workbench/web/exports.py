"""Versions and exports."""

import secrets
from datetime import UTC, datetime
from pathlib import Path

from flask import Blueprint, Response, request, send_file, url_for
from flask.typing import ResponseReturnValue
from werkzeug.utils import secure_filename

from workbench.errors import Invalid, NotFound
from workbench.models import Dataset, Job
from workbench.queries import datasets, image_lists
from workbench.queries import decisions as log
from workbench.queries import jobs as job_queries
from workbench.services import activities, jobs, versions
from workbench.services.exporters import EXPORTERS
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, home, page
from workbench.web.loaders import load_dataset, load_job

blueprint = Blueprint("exports", __name__)
CHANGES = 50
ABOUT = {
    "folder": "One folder for each split and class, in a zip archive.",
    "csv": "labels.csv with every image beside it, in a zip archive; the workbench reads it back.",
    "parquet": "One Parquet file with the images in it, as Hugging Face datasets reads them.",
}


@blueprint.get("/d/<name>/export")
def index(name: str) -> ResponseReturnValue:
    """The versions, what changed between two of them, and the exports that were made."""
    return _show(load_dataset(name))


def _show(dataset: Dataset, *, error: Invalid | None = None) -> Response:
    compared = _compare(dataset)
    made = job_queries.list_done_jobs(db(), kind="export", dataset_id=dataset.id)
    return page(
        "exports.html",
        status=error.status if error else 200,
        dataset=dataset,
        points=versions.list_versions(db(), dataset),
        head=log.get_last_id(db(), dataset_id=dataset.id),
        compared=compared,
        images=_get_images(compared),
        images_total=datasets.count_images(db(), dataset.id),
        classes={cls.id: cls for cls in datasets.list_classes(db(), dataset.id)},
        formats=[(name, ABOUT[name]) for name in EXPORTERS],
        made=[(job, job.result or {}, _find_file(job)) for job in made],
        open_jobs=[job for job in job_queries.list_open_jobs(db(), dataset_id=dataset.id) if job.kind == "export"],
        problem=str(error) if error else "",
        typed=request.form,
    )


def _compare(dataset: Dataset) -> versions.Diff | None:
    old, new = request.args.get("old", type=int), request.args.get("new", type=int)
    if old is None:
        return None
    if new is not None and old > new:
        old, new = new, old
    after = request.args.get("after", 0, type=int)
    return versions.diff(db(), dataset, old, new, after=after, limit=CHANGES)


def _get_images(compared: versions.Diff | None) -> dict[int, object]:
    ids = [change.image_id for change in compared.changes] if compared else []
    return {image.id: image for image in image_lists.get_images(db(), ids)}


@blueprint.post("/d/<name>/export")
@needs("reviewer")
def start(name: str) -> ResponseReturnValue:
    """The worker writes the archive into the home folder; the job's page has the link."""
    dataset = load_dataset(name)
    format_ = request.form.get("format", "")
    if format_ not in EXPORTERS:
        return _show(dataset, error=Invalid(f"“{format_}” is not a format; choose one of those below."))
    version = request.form.get("version", type=int)
    head = log.get_last_id(db(), dataset_id=dataset.id)
    if version is not None and not 0 <= version <= head:
        return _show(dataset, error=Invalid(f"There is no version {version}; the newest is {head}."))
    version = head if version is None else version
    ending = "parquet" if format_ == "parquet" else "zip"
    stem = secure_filename(dataset.name) or f"dataset-{dataset.id}"
    job = jobs.enqueue(
        db(),
        kind="export",
        user=me(),
        dataset=dataset,
        title=f"Export {dataset.name}, version {version}, as {format_}",
        destination=str(_folder() / secrets.token_hex(8) / f"{stem}-v{version}.{ending}"),
        format=format_,
        version=version,
    )
    activities.record(db(), user=me(), kind="export", dataset=dataset, version=version, format=format_)
    return done(url_for("jobs.show", job_id=job.id), "The export has started.")


def _folder() -> Path:
    return home().root / "exports"


@blueprint.get("/exports/<int:job_id>/download")
def download(job_id: int) -> ResponseReturnValue:
    job = load_job(job_id)
    path = _find_file(job) if job.kind == "export" and job.status == "done" else None
    if path is None:
        raise NotFound("This export is not there any more; make it again from the export page.")
    stamp = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return send_file(path, as_attachment=True, download_name=path.name, last_modified=stamp, max_age=0)


def _find_file(job: Job) -> Path | None:
    """The archive of a finished export: only ever a file below the home folder's exports."""
    path = Path(str((job.result or {}).get("destination", ""))).resolve()
    return path if path.is_relative_to(_folder().resolve()) and path.is_file() else None
