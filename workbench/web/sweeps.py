"""The sweep grid: forty images at once, settled by one key but for those marked."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Conflict, Invalid
from workbench.models import Class, Dataset, Queue, utc_now
from workbench.queries import queues as queries
from workbench.services import decisions, outlooks, protection, sweeps
from workbench.services.sweeps import Settled, Sweep
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, home, page, say, wants_json
from workbench.web.image_forms import read_force
from workbench.web.loaders import load_class, load_dataset, load_queue

blueprint = Blueprint("sweeps", __name__)


@blueprint.get("/d/<name>/queues/<int:queue_id>/sweep")
def show(name: str, queue_id: int) -> ResponseReturnValue:
    """A page of the grid; `back` names a sweep that was undone, which is shown again as it was marked."""
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    try:
        sweeps.check_sweepable(queue)
    except Invalid as reason:
        return page("review/sweep.html", block="sweep", dataset=dataset, queue=queue, sweep=None, reason=str(reason))
    class_id, marks = request.args.get("class_id", type=int), None
    if back := request.args.get("back"):
        recalled, marks = sweeps.recall(db(), queue, back)
        class_id = recalled or class_id
    return _show(dataset, queue, class_id=class_id, marks=marks)


@blueprint.post("/d/<name>/queues/<int:queue_id>/sweep")
@needs("reviewer")
def settle(name: str, queue_id: int) -> ResponseReturnValue:
    """Settle all that is shown as one action, which one undo takes back. A script is answered in a document."""
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    if request.form.get("user", me().id, type=int) != me().id:
        raise Conflict(f"You are logged in as {me().name} now: what somebody else settled here is theirs to send.")
    cls = load_class(request.form.get("class_id", 0, type=int), dataset)
    marks = {item_id: request.form.get(f"mark_{item_id}", "") for item_id in request.form.getlist("item", type=int)}
    revisions = {item_id: request.form.get(f"revision_{item_id}", -1, type=int) for item_id in marks}
    try:
        settled = sweeps.settle(
            db(), dataset, queue, user=me(), cls=cls, marks=marks, revisions=revisions,
            action=request.form.get("action") or decisions.new_action(), forced=read_force(request.form),
        )  # fmt: skip
    except (Conflict, Invalid) as error:
        return _refuse(dataset, queue, cls, marks, error)
    said = _tell(settled)
    if wants_json():
        told = page(
            "review/_settled.html",
            dataset=dataset,
            queue=queue,
            missed=settled.missed,
            **_tell_progress(dataset, queue),
        )
        return {"sentence": said, "number": settled.number, "html": told.get_data(as_text=True)}
    for one in settled.missed[:2]:
        theirs, mine = (cls.name if cls else "excluded" for cls in (one.label, one.mine))
        say(f"{one.image.path}: {one.by} says {theirs}, you said {mine}.", kind="problem")
    following = url_for(
        ".show", name=name, queue_id=queue_id, class_id=cls.id, after=_read_cursor(), swept=_read_swept()
    )
    return done(following, said)


def _refuse(
    dataset: Dataset, queue: Queue, cls: Class, marks: Mapping[int, str], error: Conflict | Invalid
) -> ResponseReturnValue:
    """Nothing was settled: the same images with the same marks, and why."""
    try:
        sweeps.check_sweepable(queue)
    except Invalid:
        raise error from None
    shown = _show(dataset, queue, class_id=cls.id, marks=marks, status=error.status, problem=str(error))
    if wants_json():
        return {"sentence": str(error), "html": shown.get_data(as_text=True)}, error.status
    return shown


def _tell(settled: Settled) -> str:
    if not settled.number:
        said = "Nothing was settled"
        said += f": all {settled.left} are left for later." if settled.left else "."
    else:
        images = "1 image" if settled.number == 1 else f"{settled.number} images at once"
        said = f"Settled {images}. z takes {'it' if settled.number == 1 else 'all of them'} back."
    if not settled.missed:
        return said
    return f"{said} Somebody decided on {len(settled.missed)} of these meanwhile; those stay as they are."


@blueprint.post("/d/<name>/queues/<int:queue_id>/sweep/ahead")
@needs("reviewer")
def look_ahead(name: str, queue_id: int) -> ResponseReturnValue:
    """The page after the one on the screen, with its images held, so that it is there when the reviewer is."""
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    sweeps.check_sweepable(queue)
    now, on_screen = utc_now(), request.form.getlist("item", type=int)
    lost = sweeps.hold(db(), queue, item_ids=on_screen, user=me(), now=now)
    shown = _make(dataset, queue, class_id=request.form.get("class_id", type=int))
    sweeps.hold(db(), queue, item_ids=[cell.item.id for cell in shown.cells], user=me(), now=now)
    return {"lost": lost, "html": _render(dataset, queue, shown).get_data(as_text=True)}


@blueprint.post("/d/<name>/queues/<int:queue_id>/sweep/lease")
@needs("reviewer")
def lease(name: str, queue_id: int) -> ResponseReturnValue:
    """Hold the images on the screen and the page after them; the page asks once a minute."""
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    lost = sweeps.hold(db(), queue, item_ids=request.form.getlist("item", type=int), user=me(), now=utc_now())
    return {"lost": lost}


def _show(
    dataset: Dataset,
    queue: Queue,
    *,
    class_id: int | None,
    marks: Mapping[int, str] | None = None,
    status: int = HTTPStatus.OK,
    problem: str = "",
) -> Response:
    shown = _make(dataset, queue, class_id=class_id, marks=marks)
    return _render(dataset, queue, shown, status=status, problem=problem)


def _make(dataset: Dataset, queue: Queue, *, class_id: int | None, marks: Mapping[int, str] | None = None) -> Sweep:
    return sweeps.make_sweep(
        db(), dataset, queue, user=me(), now=utc_now(), class_id=class_id, after=_read_cursor(), swept=_read_swept(),
        marks=marks,
    )  # fmt: skip


def _render(dataset: Dataset, queue: Queue, shown: Sweep, **data: Any) -> Response:
    return page(
        "review/sweep.html",
        block="sweep",
        dataset=dataset,
        queue=queue,
        sweep=shown,
        tally=sweeps.count_marks(shown),
        **_tell_progress(dataset, queue),
        guarded=protection.is_guarded(dataset, queue, [cell.image for cell in shown.cells]),
        forced=request.form.get("forced", ""),
        reason="",
        **{"problem": "", **data},
    )


def _tell_progress(dataset: Dataset, queue: Queue) -> dict[str, Any]:
    """How far the queue is, and what is left in it."""
    return {
        "progress": queries.get_progress(db(), queue),
        "outlook": outlooks.look(db(), home(), dataset, [queue]).get(queue.id),
        "worth": outlooks.get_worth(me()),
    }


def _read_cursor() -> int:
    return request.values.get("after", sweeps.START, type=int)


def _read_swept() -> list[int]:
    return request.values.getlist("swept", type=int)
