"""The log of decisions, and undo of any of them."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from workbench.models import CLASS_KINDS
from workbench.queries import history as queries
from workbench.queries import users
from workbench.services import history
from workbench.services.history import Entry
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, page
from workbench.web.loaders import load_dataset, load_image

blueprint = Blueprint("history", __name__)
PER_PAGE = 50
KINDS = {  # what the reader chooses -> kinds of the log
    "labels": ("confirm", "relabel", "ambiguous"),
    "excluded": ("exclude", "restore"),
    "duplicates": ("duplicates",),
    "classes": CLASS_KINDS,
    "splits": ("split", "freeze", "unfreeze"),
    "comments": ("comment",),
    "undos": ("undo",),
    "imports": ("import",),
}


@blueprint.get("/d/<name>/history")
def index(name: str) -> ResponseReturnValue:
    """Newest first; `before` is the last line of the page before."""
    dataset = load_dataset(name)
    user_id, image_id = request.args.get("user", type=int), request.args.get("image", type=int)
    kind = request.args.get("kind", "")
    entries = history.list_entries(
        db(),
        dataset,
        user_id=user_id,
        kinds=KINDS.get(kind, ()),
        image_id=image_id,
        before=request.args.get("before", type=int),
        limit=PER_PAGE + 1,
    )
    chosen = {"user": user_id, "kind": kind or None, "image": image_id}
    return page(
        "history.html",
        block="entries",
        dataset=dataset,
        days=group_by_day(entries[:PER_PAGE]),
        following=entries[PER_PAGE - 1].line.id if len(entries) > PER_PAGE else None,
        is_first="before" not in request.args,
        chosen={key: value for key, value in chosen.items() if value},
        image=load_image(image_id, dataset) if image_id else None,
        people=users.list_users(db()),
        kinds=list(KINDS),
        queue_titles=queries.get_queue_titles(db(), dataset),
        may_undo=history.may_undo,
    )


def group_by_day(entries: Sequence[Entry]) -> list[tuple[datetime, list[Entry]]]:
    """(its newest moment, entries) of each day in UTC, in the order given."""
    days = [list(found) for _, found in groupby(entries, key=lambda entry: entry.line.at.date())]
    return [(found[0].line.at, found) for found in days]


@blueprint.post("/d/<name>/history/<action>/undo")
@needs("reviewer")
def undo(name: str, action: str) -> ResponseReturnValue:
    """Take an action back, or bring back one that was taken back."""
    dataset = load_dataset(name)
    entry = history.undo_action(db(), dataset, user=me(), action=action)
    said = f"{'Took back' if entry.undone_by else 'Brought back'}: {history.phrase(entry)}."
    kept: dict[str, Any] = {
        key: request.args[key] for key in ("user", "kind", "image", "before") if key in request.args
    }
    return done(url_for("history.index", name=name, **kept), said)
