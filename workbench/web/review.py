"""The review card: showing it, deciding, undo and redo."""

import json
from http import HTTPStatus

from flask import Blueprint, Response, redirect, request, session, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Conflict, Invalid
from workbench.models import Dataset, Queue, QueueItem, utc_now
from workbench.queries import decisions as log
from workbench.queries import queues as queries
from workbench.services import cards, decisions, history, leases
from workbench.web import card_pages
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, page, say, wants_fragment
from workbench.web.image_forms import read_force
from workbench.web.loaders import load_dataset, load_item, load_queue

blueprint = Blueprint("review", __name__)


@blueprint.get("/d/<name>/queues/<int:queue_id>")
def card(name: str, queue_id: int) -> ResponseReturnValue:
    """The first open item that nobody else holds; the ending when there is none."""
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    free = queries.list_free_items(db(), queue.id, user_id=me().id, now=utc_now()) if not queue.closed_at else []
    return _show(dataset, queue, free[0] if free else None)


@blueprint.get("/d/<name>/queues/<int:queue_id>/items/<int:item_id>")
def item(name: str, queue_id: int, item_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    return _show(dataset, queue, load_item(item_id, queue))


@blueprint.get("/d/<name>/queues/<int:queue_id>/images/<int:image_id>")
def item_of_image(name: str, queue_id: int, image_id: int) -> ResponseReturnValue:
    """To the card of an image; to the image itself when the queue is gone or does not hold it."""
    dataset = load_dataset(name)
    found = queries.get_item_of_image(db(), queue_id, image_id)
    if found is None:
        return redirect(url_for("images.show", name=name, image_id=image_id), HTTPStatus.SEE_OTHER)
    return redirect(_address(dataset, load_queue(queue_id, dataset), found), HTTPStatus.SEE_OTHER)


def _show(
    dataset: Dataset,
    queue: Queue,
    item: QueueItem | None,
    *,
    status: int = HTTPStatus.OK,
    conflict: str = "",
    problem: str = "",
) -> Response:
    """The card of an item, or the ending of the queue."""
    if item is not None and item.group_id is not None:
        return _to_group(dataset, item.group_id)
    form = request.form
    desk = card_pages.Desk(dataset, queue)
    shown = desk.describe(
        item,
        conflict=conflict, problem=problem, forced=form.get("forced", ""),
        picked=form.getlist("class_ids", type=int), typed=form.get("text", ""),
    )  # fmt: skip
    return page(card_pages.TEMPLATE, block=card_pages.BLOCK, status=status, recent=desk.list_recent(), **shown)


def _to_group(dataset: Dataset, group_id: int) -> Response:
    """Near duplicates are settled on the page of their group."""
    target = url_for("duplicates.show", name=dataset.name, group_id=group_id)
    if wants_fragment():
        return Response("", HTTPStatus.NO_CONTENT, {"HX-Redirect": target})
    return Response("", HTTPStatus.SEE_OTHER, {"Location": target})


def _go_on(dataset: Dataset, queue: Queue, item: QueueItem | None, *, said: str = "") -> ResponseReturnValue:
    """After an answer: the next card in the place of this one; a plain browser is sent to its address."""
    if item is None:
        target = url_for("review.card", name=dataset.name, queue_id=queue.id)
    else:
        target = url_for("review.item", name=dataset.name, queue_id=queue.id, item_id=item.id)
    if not wants_fragment():
        if said:
            say(said)
        return redirect(target, HTTPStatus.SEE_OTHER)
    answer = _show(dataset, queue, item)
    answer.headers["HX-Push-Url"] = target
    if said:
        answer.headers["HX-Trigger"] = json.dumps({"said": said})
    return answer


@blueprint.post("/d/<name>/queues/<int:queue_id>/items/<int:item_id>/decide")
@needs("reviewer")
def decide(name: str, queue_id: int, item_id: int) -> ResponseReturnValue:
    """Settle this image and hold the next one, in one transaction."""
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    item = load_item(item_id, queue)
    try:
        cards.decide(db(), item=item, user=me(), answer=_read_answer())
    except Conflict as error:
        return _show(dataset, queue, item, status=error.status, conflict=str(error))
    except Invalid as error:
        return _show(dataset, queue, item, status=error.status, problem=str(error))
    following = cards.find_next(db(), queue=queue, user=me(), now=utc_now(), after=item.position)
    return _go_on(dataset, queue, following)


def _read_answer() -> cards.Answer:
    form = request.form
    class_id = form.get("class_id", type=int)
    return cards.Answer(
        verdict=form.get("verdict") or ("relabel" if class_id else ""),
        class_id=class_id,
        class_ids=form.getlist("class_ids", type=int),
        revision=form.get("revision", type=int),
        action=form.get("action") or None,
        forced=read_force(form),
    )


@blueprint.post("/d/<name>/queues/<int:queue_id>/items/<int:item_id>/skip")
@needs("reviewer")
def skip(name: str, queue_id: int, item_id: int) -> ResponseReturnValue:
    """Leave the image for later, or for somebody else."""
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    item = load_item(item_id, queue)
    leases.give_back(db(), item=item, user=me())
    following = cards.find_next(db(), queue=queue, user=me(), now=utc_now(), after=item.position)
    return _go_on(dataset, queue, following)


@blueprint.post("/d/<name>/queues/<int:queue_id>/items/<int:item_id>/comment")
@needs("reviewer")
def comment(name: str, queue_id: int, item_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    item = load_item(item_id, queue)
    try:
        cards.say_comment(
            db(), item=item, user=me(), text=request.form.get("text", ""), action=request.form.get("action") or None
        )
    except Invalid as error:
        return _show(dataset, queue, item, status=error.status, problem=str(error))
    return _go_on(dataset, queue, item, said="Comment saved.")


@blueprint.post("/d/<name>/queues/<int:queue_id>/items/<int:item_id>/blind")
@needs("reviewer")
def blind(name: str, queue_id: int, item_id: int) -> ResponseReturnValue:
    """Hide label, votes and predictions until decided, or show them again; for this visit."""
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    session["blind"] = not session.get("blind")
    said = "Blind: what others said stays hidden until you decide." if session["blind"] else "No longer blind."
    return _go_on(dataset, queue, load_item(item_id, queue), said=said)


@blueprint.post("/d/<name>/undo")
@needs("reviewer")
def undo(name: str) -> ResponseReturnValue:
    """Take back the reviewer's last action in this data set, and go back to its image."""
    dataset = load_dataset(name)
    action = decisions.undo_last(db(), dataset=dataset, user=me())
    entry = _describe(dataset, action)
    said = f"Took back: {history.phrase(entry)}."
    found = _find_item(dataset, entry)
    if found is None or request.form.get("grid"):
        return _stay(dataset, entry, said, back=action)
    queue, item = found
    leases.renew(db(), item=item, user=me(), now=utc_now())
    return _go_on(dataset, queue, item, said=said) if _is_card() else done(_address(dataset, queue, item), said)


@blueprint.post("/d/<name>/redo")
@needs("reviewer")
def redo(name: str) -> ResponseReturnValue:
    """Bring back what the reviewer's last undo took, and go on after its image."""
    dataset = load_dataset(name)
    action = decisions.redo_last(db(), dataset=dataset, user=me())
    entry = _describe(dataset, action)
    said = f"Brought back: {history.phrase(entry)}."
    found = _find_item(dataset, entry)
    if found is None or request.form.get("grid"):
        return _stay(dataset, entry, said)
    queue, item = found
    following = cards.find_next(db(), queue=queue, user=me(), now=utc_now(), after=item.position)
    return _go_on(dataset, queue, following, said=said) if _is_card() else done(_address(dataset, queue, item), said)


def _describe(dataset: Dataset, action: str) -> history.Entry:
    return history.describe(db(), dataset, log.get_action(db(), action)[-1:])[0]


def _find_item(dataset: Dataset, entry: history.Entry) -> tuple[Queue, QueueItem] | None:
    """Where the reviewer decided it, if that was on a card of a queue that is still there."""
    if entry.line.queue_id is None or entry.image is None:
        return None
    queue = db().get(Queue, entry.line.queue_id)
    found = queries.get_item_of_image(db(), queue.id, entry.image.id) if queue else None
    return (queue, found) if queue is not None and found is not None and queue.dataset_id == dataset.id else None


def _is_card() -> bool:
    """Whether the answer takes the place of a card."""
    return request.headers.get("HX-Target") == "card" or not wants_fragment()


def _address(dataset: Dataset, queue: Queue, item: QueueItem) -> str:
    return url_for("review.item", name=dataset.name, queue_id=queue.id, item_id=item.id)


def _stay(dataset: Dataset, entry: history.Entry, said: str, *, back: str | None = None) -> ResponseReturnValue:
    """What was undone has no card: a sweep is gone back to, anything else is seen in the history. back: what it was."""
    queue = db().get(Queue, entry.line.queue_id) if entry.line.queue_id is not None else None
    if queue is not None and (entry.lines > 1 or request.form.get("grid")):
        return done(url_for("sweeps.show", name=dataset.name, queue_id=queue.id, back=back), said)
    return done(url_for("history.index", name=dataset.name), said)
