"""Bringing images in: an upload or a path, a preview of the classes, the report."""

import re
import secrets
import shutil
from http import HTTPStatus
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.utils import secure_filename

from workbench.errors import Invalid, NotFound
from workbench.models import SPLITS, Import
from workbench.queries import datasets, import_pages
from workbench.services import activities, import_previews, jobs
from workbench.services.datasets import read_dataset_name
from workbench.services.importers import FORMATS
from workbench.services.importers.attributes import AttributePattern
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, home, page
from workbench.web.loaders import load_dataset

blueprint = Blueprint("imports", __name__)
REFUSALS = 100
_UPLOAD = re.compile(r"upload:([0-9a-f]{16})/([^/\\]+)")
_FIELDS = ("dataset", "source", "format", "split", "copy", "votes", "attributes")
_ENDINGS = {"source": (".zip", ".csv"), "votes": (".csv",), "attributes": (".csv",)}


@blueprint.get("/import")
@needs("lead")
def new() -> ResponseReturnValue:
    return _show_form(request.args)


def _show_form(typed: MultiDict[str, str], *, error: Invalid | None = None) -> Response:
    return page(
        "imports/new.html",
        status=error.status if error else HTTPStatus.OK,
        typed=typed,
        names=datasets.list_names(db()),
        formats=FORMATS,
        splits=SPLITS,
        problem=str(error) if error else "",
        fields=error.fields if error else {},
    )


@blueprint.post("/import/preview")
@needs("lead")
def upload() -> ResponseReturnValue:
    """Keep what was uploaded, then show the preview: its address holds all that was asked for."""
    try:
        asked = _keep_uploads()
        asked["dataset"] = read_dataset_name(asked["dataset"])
        _preview(MultiDict(asked))
    except Invalid as error:
        return _show_form(request.form, error=error)
    return redirect(url_for("imports.preview", **{key: words for key, words in asked.items() if words}), 303)


def _keep_uploads() -> dict[str, Any]:
    asked = {field: request.form.get(field, "").strip() for field in _FIELDS}
    for field, endings in _ENDINGS.items():
        file = request.files.get(f"{field}_file")
        if file is not None and file.filename:
            asked[field] = _keep(file, field=field, endings=endings)
    return asked


def _keep(file: FileStorage, *, field: str, endings: tuple[str, ...]) -> str:
    """Stream an upload into the home folder under a name that cannot lead out of it."""
    name = secure_filename(file.filename or "")
    if not name.lower().endswith(endings):
        raise Invalid(f"An upload is a {' or '.join(endings)} file.", **{field: f"Choose a {' or '.join(endings)}."})
    token = secrets.token_hex(8)
    folder = home().uploads / token
    folder.mkdir(parents=True, mode=0o700)
    with (folder / name).open("wb") as target:
        shutil.copyfileobj(file.stream, target, 1024**2)
    return f"upload:{token}/{name}"


def _locate(words: str) -> str:
    """The path of an upload, or the path on the server that was typed."""
    found = _UPLOAD.fullmatch(words)
    return str(home().uploads / found[1] / secure_filename(found[2])) if found else words


@blueprint.get("/import/preview")
@needs("lead")
def preview() -> ResponseReturnValue:
    try:
        seen = _preview(request.args)
    except Invalid as error:
        return _show_form(request.args, error=error)
    return page("imports/preview.html", asked={field: request.args.get(field, "") for field in _FIELDS}, seen=seen)


def _preview(asked: MultiDict[str, str]) -> import_previews.ImportPreview:
    attributes = asked.get("attributes", "")
    if "{" in attributes:
        _check_pattern(attributes)
    if not asked.get("source"):
        raise Invalid("Choose a file, or give a path on the server.", source="Nothing was chosen.")
    path = Path(_locate(asked["source"]))
    if not path.expanduser().exists():
        raise Invalid(f"There is no “{path.name}” on the server.", source="There is no such file or folder.")
    try:
        return import_previews.preview(path, format_=asked.get("format") or "auto", split=asked.get("split") or None)
    except Invalid as error:
        raise Invalid(str(error), **(error.fields or {"source": str(error)})) from error


def _check_pattern(words: str) -> None:
    try:
        AttributePattern(words)
    except Invalid as error:
        raise Invalid(str(error), attributes="Like {age}_{race}.jpg") from error


@blueprint.post("/import")
@needs("lead")
def start() -> ResponseReturnValue:
    """The worker carries it out; the job's page follows."""
    form = request.form
    name = read_dataset_name(form.get("dataset", ""))
    maps, drops = _parse_classes(form)
    dataset = datasets.find_dataset(db(), name)
    source = Path(_locate(form.get("source", ""))).name
    activities.record(db(), user=me(), kind="import", dataset=dataset, source=source, name=name)
    job = jobs.enqueue(
        db(),
        kind="import",
        user=me(),
        dataset=dataset or name,
        title=f"Import {source}",
        source=_locate(form.get("source", "")),
        format=form.get("format") or "auto",
        split=form.get("split") or None,
        copy=form.get("copy") == "yes",
        maps=maps,
        drops=drops,
        votes=_locate(form.get("votes", "")) or None,
        attributes=_locate(form.get("attributes", "")) or None,
    )
    return done(url_for("jobs.show", job_id=job.id), "The import has started.")


def _parse_classes(form: MultiDict[str, str]) -> tuple[dict[str, str], list[str]]:
    """The class map of the preview: fields `old`, `new` and `drop`, one `old` and `new` for each class."""
    pairs = zip(form.getlist("old"), form.getlist("new"), strict=False)
    maps = {old: new.strip() for old, new in pairs if new.strip() and new.strip() != old}
    return maps, form.getlist("drop")


@blueprint.get("/d/<name>/imports/<int:import_id>")
def show(name: str, import_id: int) -> ResponseReturnValue:
    """Every file accounted for."""
    dataset = load_dataset(name)
    found = db().get(Import, import_id)
    if found is None or found.dataset_id != dataset.id:
        raise NotFound("There is no such import in this data set.")
    after = request.args.get("after", 0, type=int)
    refusals = import_pages.list_refusals(db(), found.id, after=after, limit=REFUSALS + 1)
    return page(
        "imports/report.html",
        dataset=dataset,
        found=found,
        refusals=refusals[:REFUSALS],
        after=after,
        next_after=refusals[REFUSALS - 1].id if len(refusals) > REFUSALS else None,
        reasons=import_pages.count_reasons(db(), found.id),
        others=import_pages.list_imports(db(), dataset.id),
    )
