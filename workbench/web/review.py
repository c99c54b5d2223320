"""Queues: the review card, deciding, undo and redo; building and closing queues."""

import json
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, redirect, request, session, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Conflict, Invalid, NothingToReview
from workbench.models import Dataset, Image, Queue, QueueItem, utc_now
from workbench.queries import datasets
from workbench.queries import decisions as log
from workbench.queries import queues as queries
from workbench.services import cards, decisions, history, protection, queues, sweeps
from workbench.web.accounts import me, needs
from workbench.web.boundary import begin_writing, db, done, home, page, say, wants_fragment
from workbench.web.image_forms import read_force
from workbench.web.loaders import load_class, load_dataset, load_item, load_queue, load_run

blueprint = Blueprint("review", __name__)
_NOT_PARAMS = {"csrf_token", "recipe", "run", "limit"}


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
    progress = queries.get_progress(db(), queue)
    classes = datasets.list_classes(db(), dataset.id)
    shown = cards.make_card(db(), home(), dataset, classes, queue=queue, item=item) if item else None
    is_blind = bool(session.get("blind")) and shown is not None and item is not None and item.done_action is None
    settled = item is not None and (item.done_action is not None or bool(conflict))
    return page(
        "review/card.html",
        block="card",
        status=status,
        dataset=dataset,
        queue=queue,
        card=shown,
        ending=None if shown else cards.make_ending(db(), dataset, classes, queue=queue, open_items=progress.open),
        progress=progress,
        blind=is_blind,
        wants_blind=bool(session.get("blind")),
        recent=history.list_recent(db(), dataset, classes, user=me()) if me().may("reviewer") else [],
        verdict=cards.find_verdict(db(), dataset, shown.image) if shown and settled else None,
        conflict=conflict,
        problem=problem,
        picked=request.form.getlist("class_ids", type=int),
        typed=request.form.get("text", ""),
        phrase=history.phrase,
        stage_px=_scaled(shown.image) if shown else None,
        guarded=shown is not None and protection.is_guarded(dataset, queue, [shown.image]),
        forced=request.form.get("forced", ""),
    )


def _to_group(dataset: Dataset, group_id: int) -> Response:
    """Near duplicates are settled on the page of their group."""
    target = url_for("duplicates.show", name=dataset.name, group_id=group_id)
    if wants_fragment():
        return Response("", HTTPStatus.NO_CONTENT, {"HX-Redirect": target})
    return Response("", HTTPStatus.SEE_OTHER, {"Location": target})


def _scaled(image: Image, *, box: int = 576) -> tuple[int, int]:
    """The size at which the image is shown before the script knows the window: whole steps when it is small."""
    larger = max(image.width, image.height)
    if larger > box:
        return round(image.width * box / larger), round(image.height * box / larger)
    scale = box // larger
    return image.width * scale, image.height * scale


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
    class_id = request.form.get("class_id", type=int)
    try:
        cards.decide(
            db(),
            item=item,
            user=me(),
            verdict=request.form.get("verdict") or ("relabel" if class_id else ""),
            class_id=class_id,
            class_ids=request.form.getlist("class_ids", type=int),
            revision=request.form.get("revision", type=int),
            action=request.form.get("action") or None,
            forced=read_force(request.form),
        )
    except Conflict as error:
        return _show(dataset, queue, item, status=error.status, conflict=str(error))
    except Invalid as error:
        return _show(dataset, queue, item, status=error.status, problem=str(error))
    following = cards.find_next(db(), queue=queue, user=me(), now=utc_now(), after=item.position)
    return _go_on(dataset, queue, following)


@blueprint.post("/d/<name>/queues/<int:queue_id>/items/<int:item_id>/skip")
@needs("reviewer")
def skip(name: str, queue_id: int, item_id: int) -> ResponseReturnValue:
    """Leave the image for later, or for somebody else."""
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    item = load_item(item_id, queue)
    queues.release(db(), queue=queue, user=me())
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


@blueprint.post("/d/<name>/queues/<int:queue_id>/items/<int:item_id>/lease")
@needs("reviewer")
def lease(name: str, queue_id: int, item_id: int) -> ResponseReturnValue:
    """Hold what is on the screen; the page asks once a minute."""
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    item = load_item(item_id, queue)
    if item.done_action is None and not queues.renew(db(), item=item, user=me(), now=utc_now()):
        raise Conflict("Another reviewer took this image a moment ago.")
    return "", HTTPStatus.NO_CONTENT


@blueprint.post("/d/<name>/undo")
@needs("reviewer")
def undo(name: str) -> ResponseReturnValue:
    """Take back the reviewer's last action in this data set, and go back to its image."""
    dataset = load_dataset(name)
    action = decisions.undo_last(db(), dataset=dataset, user=me())
    entry = _describe(dataset, action)
    said = f"Took back: {history.phrase(entry)}."
    found = _find_item(dataset, entry)
    if found is None:
        return _stay(dataset, entry, said)
    queue, item = found
    queues.renew(db(), item=item, user=me(), now=utc_now())
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
    if found is None:
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


def _stay(dataset: Dataset, entry: history.Entry, said: str) -> ResponseReturnValue:
    """What was undone has no card: a sweep is gone back to, anything else is seen in the history."""
    queue = db().get(Queue, entry.line.queue_id) if entry.line.queue_id is not None else None
    if queue is not None and entry.lines > 1:
        return done(url_for("review.sweep", name=dataset.name, queue_id=queue.id), said)
    return done(url_for("history.index", name=dataset.name), said)


@blueprint.get("/d/<name>/queues/<int:queue_id>/sweep")
def sweep(name: str, queue_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    return _show_sweep(dataset, queue, class_id=request.args.get("class_id", type=int))


@blueprint.post("/d/<name>/queues/<int:queue_id>/sweep")
@needs("reviewer")
def settle(name: str, queue_id: int) -> ResponseReturnValue:
    """Settle all that is shown as one action, which one undo takes back."""
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    cls = load_class(request.form.get("class_id", 0, type=int), dataset)
    marks = {item_id: request.form.get(f"mark_{item_id}", "") for item_id in request.form.getlist("item", type=int)}
    revisions = {item_id: request.form.get(f"revision_{item_id}", -1, type=int) for item_id in marks}
    try:
        number = sweeps.settle(
            db(), dataset, queue, user=me(), cls=cls, marks=marks, revisions=revisions,
            action=request.form.get("action") or decisions.new_action(), forced=read_force(request.form),
        )  # fmt: skip
    except (Conflict, Invalid) as error:
        return _show_sweep(dataset, queue, class_id=cls.id, marks=marks, status=error.status, problem=str(error))
    said = f"Settled {number} images at once. z takes all of them back."
    if wants_fragment():
        answer = _show_sweep(dataset, queue, class_id=cls.id)
        answer.headers["HX-Trigger"] = json.dumps({"said": said})
        return answer
    return done(url_for("review.sweep", name=name, queue_id=queue_id, class_id=cls.id), said)


@blueprint.post("/d/<name>/queues/<int:queue_id>/sweep/lease")
@needs("reviewer")
def lease_sweep(name: str, queue_id: int) -> ResponseReturnValue:
    """Hold the images on the screen; the page asks once a minute."""
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    sweeps.hold(db(), queue, item_ids=request.form.getlist("item", type=int), user=me(), now=utc_now())
    return "", HTTPStatus.NO_CONTENT


def _show_sweep(
    dataset: Dataset,
    queue: Queue,
    *,
    class_id: int | None,
    marks: dict[int, str] | None = None,
    status: int = HTTPStatus.OK,
    problem: str = "",
) -> Response:
    shown = sweeps.make_sweep(db(), dataset, queue, user=me(), now=utc_now(), class_id=class_id, marks=marks)
    if shown is not None and request.method == "POST" and me().may("reviewer"):
        ids = [cell.item.id for cell in shown.cells]
        sweeps.hold(db(), queue, item_ids=ids, user=me(), now=utc_now())
    return page(
        "review/sweep.html",
        block="sweep",
        status=status,
        dataset=dataset,
        queue=queue,
        sweep=shown,
        tally=sweeps.count_marks(shown) if shown else [],
        progress=queries.get_progress(db(), queue),
        problem=problem,
        guarded=shown is not None and protection.is_guarded(dataset, queue, [cell.image for cell in shown.cells]),
        typed=request.form,
    )


@blueprint.post("/d/<name>/queues/build")
@needs("lead")
def build(name: str) -> ResponseReturnValue:
    """Make a queue from a recipe; fields beyond recipe, run and limit are the recipe's own."""
    dataset = load_dataset(name)
    run_id = request.form.get("run", type=int)
    try:
        plan = queues.plan_queue(
            db(),
            home(),
            dataset=dataset,
            recipe=request.form.get("recipe", ""),
            run=load_run(run_id, dataset) if run_id else None,
            limit=_parse_limit(request.form.get("limit", "")),
            **_parse_params(),
        )
    except NothingToReview as error:
        say(str(error), kind="problem")
        return done(url_for("runs.show", name=name, run_id=run_id) if run_id else url_for("home.show", name=name))
    begin_writing()
    queue = queues.open_queue(db(), plan)
    return done(
        url_for("review.card", name=name, queue_id=queue.id), f"{queue.title}: {queue.size:,} images to look at."
    )


def _parse_limit(words: str) -> int | None:
    if not words.strip():
        return None
    if not words.strip().isdigit():
        raise Invalid("The number of images is a whole number, for example 200.", limit="A whole number.")
    return int(words)


def _parse_params() -> dict[str, Any]:
    """The recipe's own fields; empty ones are left to its defaults."""
    return {key: value for key, value in request.form.items() if key not in _NOT_PARAMS and value.strip()}


@blueprint.post("/d/<name>/queues/<int:queue_id>/close")
@needs("lead")
def close(name: str, queue_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    queues.close_queue(db(), queue)
    return done(url_for("home.show", name=name), f"Closed: {queue.title}. What was decided in it stays.")
