"""The log of decisions: sought by who, what, where and when, saved as a file, and undo of any of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, current_app, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.utils import secure_filename

from workbench.db import Database
from workbench.errors import Invalid, NotFound
from workbench.models import CLASS_KINDS, Dataset
from workbench.queries import history as queries
from workbench.queries import log_lines, users
from workbench.queries.log_lines import LogFilter
from workbench.services import history, log_exports
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, page
from workbench.web.days import group_by_day, parse_span
from workbench.web.loaders import load_dataset, load_image

blueprint = Blueprint("history", __name__)
PER_PAGE = 50
KINDS = {  # what the reader chooses -> kinds of the log
    "labels": ("confirm", "relabel", "ambiguous", "consensus"),
    "excluded": ("exclude", "restore"),
    "opinions": ("opinion",),
    "gold": ("gold",),
    "posterior": ("keep",),
    "duplicates": ("duplicates", "votes"),
    "classes": CLASS_KINDS,
    "splits": ("split", "freeze", "unfreeze"),
    "comments": ("comment",),
    "undos": ("undo",),
    "imports": ("import",),
}
COUNTS = {"yes": True, "no": False}
_FILTERS = ("user", "kind", "queue", "image", "path", "since", "until", "counts")


@blueprint.get("/d/<name>/history")
def index(name: str) -> ResponseReturnValue:
    """Newest first; `before` is the line below which to go on."""
    dataset = load_dataset(name)
    wanted = parse_filter(dataset, request.args)
    found = history.find_page(db(), dataset, wanted, before=request.args.get("before", type=int), limit=PER_PAGE)
    chosen = _list_chosen()
    return page(
        "history.html",
        block="entries",
        dataset=dataset,
        days=group_by_day(found.entries, at=lambda entry: entry.line.at),
        following=found.before,
        looked_to=found.looked_to,
        is_first="before" not in request.args,
        matches=log_lines.count_lines(db(), wanted),
        counted=log_lines.COUNTED,
        chosen=chosen,
        image=load_image(wanted.image_id, dataset) if wanted.image_id else None,
        people=users.list_users(db()),
        kinds=[kind for kind in KINDS if kind != "gold" or me().may("lead")],
        queue_titles=queries.get_queue_titles(db(), dataset),
        may_undo=history.may_undo,
    )


def parse_filter(dataset: Dataset, args: Mapping[str, Any]) -> LogFilter:
    """What the address asks for, as far as the one who asks may see it."""
    kind, counts = args.get("kind", ""), args.get("counts", "")
    if (kind and kind not in KINDS) or (counts and counts not in COUNTS):
        raise Invalid("The history has no such filter; choose one on its page.")
    since, until = parse_span(args)
    return LogFilter(
        dataset.id,
        history.sight_of(me()),
        user_id=_parse_number(args, "user"),
        kinds=KINDS.get(kind, ()),
        queue_id=_parse_number(args, "queue"),
        image_id=_parse_number(args, "image"),
        path=args.get("path", "").strip(),
        since=since,
        until=until,
        counts=COUNTS.get(counts),
    )


def _parse_number(args: Mapping[str, Any], field: str) -> int | None:
    words = args.get(field, "")
    if words and not (words.isascii() and words.isdecimal()):
        raise Invalid("The history has no such filter; choose one on its page.")
    return int(words) if words else None


def _list_chosen() -> dict[str, str]:
    return {key: request.args[key] for key in _FILTERS if request.args.get(key)}


@blueprint.get("/d/<name>/history/log.<ending>")
def save(name: str, ending: str) -> ResponseReturnValue:
    """Every line that the filters leave, written while it is read."""
    dataset = load_dataset(name)
    if ending not in log_exports.FORMATS:
        raise NotFound("The log is saved as csv or as jsonl.")
    database: Database = current_app.extensions["workbench"]
    lines = log_exports.read_log(database, parse_filter(dataset, request.args))
    stem = secure_filename(dataset.name) or f"dataset-{dataset.id}"
    answer = Response(_encode(log_exports.FORMATS[ending](lines)), mimetype=_TYPES[ending])
    answer.headers["Content-Disposition"] = f'attachment; filename="{stem}-log.{ending}"'
    return answer


_TYPES = {"csv": "text/csv", "jsonl": "application/x-ndjson"}


def _encode(parts: Iterator[str]) -> Iterator[bytes]:
    for part in parts:
        yield part.encode()


@blueprint.post("/d/<name>/history/<action>/undo")
@needs("reviewer")
def undo(name: str, action: str) -> ResponseReturnValue:
    """Take an action back, or bring back one that was taken back."""
    dataset = load_dataset(name)
    entry = history.undo_action(db(), dataset, user=me(), action=action)
    said = f"{'Took back' if entry.undone_by else 'Brought back'}: {history.phrase(entry)}."
    kept: dict[str, Any] = {key: request.args[key] for key in (*_FILTERS, "before") if key in request.args}
    return done(url_for("history.index", name=name, **kept), said)
