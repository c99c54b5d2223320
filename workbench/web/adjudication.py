"""Adjudication: images that reviewers contradict each other about, one at a time and in bulk. Deciding is for leads."""

import json
from http import HTTPStatus
from typing import Any

from flask import Response, redirect, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Conflict, Invalid
from workbench.models import Dataset, Image
from workbench.queries import agreement as queries
from workbench.queries import decisions as log
from workbench.services import adjudication as service
from workbench.services import consensus, decisions, history
from workbench.web.accounts import me, needs
from workbench.web.agreement import blueprint
from workbench.web.boundary import db, done, home, page, say, wants_fragment
from workbench.web.image_forms import read_force
from workbench.web.loaders import load_dataset, load_image


@blueprint.get("/d/<name>/adjudication")
def adjudication(name: str) -> ResponseReturnValue:
    """The disputed images with what was said of each."""
    dataset = load_dataset(name)
    after = request.args.get("after", 0, type=int)
    found = service.list_disputes(db(), dataset, viewer=me(), after=after, limit=service.PER_PAGE + 1)
    return page(
        "agreement/adjudication.html",
        dataset=dataset,
        disputes=found[: service.PER_PAGE],
        total=queries.count_disputed(db(), dataset.id),
        following=found[service.PER_PAGE - 1].image.id if len(found) > service.PER_PAGE else None,
        is_first=not after,
        result=consensus.load_result(db(), home(), dataset),
        enough=consensus.P_ENOUGH,
    )


@blueprint.get("/d/<name>/adjudication/<int:image_id>")
def case(name: str, image_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    return _show(dataset, load_image(image_id, dataset))


def _show(
    dataset: Dataset, image: Image, *, status: int = HTTPStatus.OK, problem: str = "", conflict: bool = False
) -> Response:
    found = service.make_case(db(), home(), dataset, image, viewer=me())
    return page(
        "agreement/case.html",
        block="case",
        status=status,
        dataset=dataset,
        case=found,
        problem=problem,
        conflict=conflict,
        picked=request.form.getlist("class_ids", type=int),
        stage_px=scale(image),
        log=history.list_entries(db(), dataset, viewer=me(), image_id=image.id, limit=8),
        phrase=history.phrase,
    )


def scale(image: Image, *, box: int = 528) -> tuple[int, int]:
    """Whole steps for a small image, so that its pixels stay crisp; a large one is made to fit."""
    larger = max(image.width, image.height)
    if larger > box:
        return round(image.width * box / larger), round(image.height * box / larger)
    return image.width * (box // larger), image.height * (box // larger)


def _address(dataset: Dataset, image_id: int | None) -> str:
    if image_id is None:
        return url_for(".adjudication", name=dataset.name)
    return url_for(".case", name=dataset.name, image_id=image_id)


def _go_on(dataset: Dataset, image_id: int | None, said: str) -> ResponseReturnValue:
    """To another case in the place of this one, or to the list when none is left."""
    target = _address(dataset, image_id)
    if image_id is None or not wants_fragment():
        if wants_fragment():
            return done(target, said)
        say(said)
        return redirect(target, HTTPStatus.SEE_OTHER)
    answer = _show(dataset, load_image(image_id, dataset))
    answer.headers["HX-Push-Url"] = target
    answer.headers["HX-Trigger"] = json.dumps({"said": said})
    return answer


@blueprint.post("/d/<name>/adjudication/<int:image_id>/settle")
@needs("lead")
def settle(name: str, image_id: int) -> ResponseReturnValue:
    """A lead's verdict ends the dispute; then comes the next image, or the one before where that was the last."""
    dataset = load_dataset(name)
    image = load_image(image_id, dataset)
    class_id = request.form.get("class_id", type=int)
    verdict = request.form.get("verdict") or ("relabel" if class_id else "")
    if verdict == "relabel" and class_id == image.label_id and image.status == "active":
        verdict = "confirm"
    following = _find_following(image)
    try:
        action = decisions.decide(
            db(),
            image=image,
            user=me(),
            verdict=verdict,
            class_id=class_id,
            class_ids=request.form.getlist("class_ids", type=int),
            revision=request.form.get("revision", type=int),
            action=request.form.get("action") or None,
        )
    except Conflict as error:
        return _show(dataset, image, status=error.status, problem=str(error), conflict=True)
    except Invalid as error:
        return _show(dataset, image, status=error.status, problem=str(error))
    return _go_on(dataset, following, f"Settled: {_phrase(dataset, action)}.")


def _find_following(image: Image) -> int | None:
    after = queries.get_disputed_neighbour(db(), image, step=1)
    return after if after is not None else queries.get_disputed_neighbour(db(), image, step=-1)


def _phrase(dataset: Dataset, action: str) -> str:
    return history.phrase(history.describe(db(), dataset, log.get_action(db(), action)[-1:])[0])


@blueprint.post("/d/<name>/adjudication/undo")
@needs("lead")
def undo(name: str) -> ResponseReturnValue:
    """Take back the lead's last action, and go back to its image where that is disputed again."""
    dataset = load_dataset(name)
    action = decisions.undo_last(db(), dataset=dataset, user=me())
    lines = log.get_action(db(), action)
    image = db().get(Image, lines[0].image_id) if len(lines) == 1 and lines[0].image_id is not None else None
    back = image.id if image is not None and image.disputed else None
    return _go_on(dataset, back, f"Took back: {_phrase(dataset, action)}.")


@blueprint.post("/d/<name>/adjudication/<int:image_id>/ask")
@needs("lead")
def ask_another(name: str, image_id: int) -> ResponseReturnValue:
    """Send the image back for one opinion more, and go on to the next."""
    dataset = load_dataset(name)
    image = load_image(image_id, dataset)
    try:
        service.ask_another(db(), dataset=dataset, image=image, user=me())
    except (Conflict, Invalid) as error:
        return _show(dataset, image, status=error.status, problem=str(error))
    return _go_on(dataset, _find_following(image) or image.id, "Sent back: one reviewer more will be asked.")


@blueprint.post("/d/<name>/adjudication/<int:image_id>/unask")
@needs("lead")
def take_back_asking(name: str, image_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    image = load_image(image_id, dataset)
    try:
        service.take_back_asking(db(), dataset=dataset, image=image, user=me())
    except Conflict as error:
        return _show(dataset, image, status=error.status, problem=str(error))
    return _go_on(dataset, image.id, "No further opinion is asked for.")


# --- in bulk ------------------------------------------------------------------------------------------------------


@blueprint.get("/d/<name>/adjudication/bulk")
@needs("lead")
def preview(name: str) -> ResponseReturnValue:
    """What settling by majority, or by reviewer quality, would do."""
    return _show_plan(load_dataset(name), request.args)


def _read_threshold(values: Any) -> float:
    try:
        return float(values.get("p", consensus.P_ENOUGH))
    except ValueError:
        raise Invalid("P is a number from 0.5 to 1.", p="From 0.5 to 1.") from None


def _show_plan(
    dataset: Dataset, values: Any, *, status: int = HTTPStatus.OK, problem: str = "", forced: str = ""
) -> Response:
    method = values.get("method", "majority")
    try:
        plan = consensus.plan_settling(db(), home(), dataset, method=method, threshold=_read_threshold(values))
    except Invalid as error:
        problem, status = problem or str(error), error.status
        plan = None
    frozen = dataset.frozen_split
    images = [one.image for one in plan.settling] if plan else []
    return page(
        "agreement/settle_bulk.html",
        status=status,
        dataset=dataset,
        plan=plan,
        method=method,
        problem=problem,
        forced=forced,
        guarded=plan is not None and plan.by_flags and any(image.split == frozen for image in images if frozen),
        action=decisions.new_action(),
    )


@blueprint.post("/d/<name>/adjudication/bulk")
@needs("lead")
def settle_bulk(name: str) -> ResponseReturnValue:
    """One action, which one undo takes back."""
    dataset = load_dataset(name)
    form = request.form
    try:
        plan = consensus.plan_settling(
            db(), home(), dataset, method=form.get("method", ""), threshold=_read_threshold(form)
        )
        consensus.settle(
            db(), plan, dataset=dataset, user=me(), stamp=form.get("stamp", ""), action=form.get("action") or None,
            forced=read_force(form),
        )  # fmt: skip
    except (Conflict, Invalid) as error:
        return _show_plan(dataset, form, status=error.status, problem=str(error), forced=form.get("forced", ""))
    number = len(plan.settling)
    said = f"Settled {number:,} image{'s' if number != 1 else ''} at once. One undo takes all of them back."
    return done(url_for(".adjudication", name=name), said)
