"""Images: the grid, one image, its bytes, one verdict on many."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request, url_for
from flask.typing import ResponseReturnValue

from workbench import storage
from workbench.config import bundled
from workbench.errors import Conflict, Forbidden, Frozen, Invalid, NotFound
from workbench.models import FINDINGS, Class, Dataset, Image
from workbench.queries import datasets, image_details, image_lists
from workbench.queries.image_lists import MARKS, SORTS, Cursor
from workbench.services import bulk_decisions, decisions
from workbench.services.image_details import describe
from workbench.services.image_filters import AGREEMENTS, SOURCES
from workbench.services.recipes import RECIPES
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, home, page, say
from workbench.web.image_forms import (
    FilterForm,
    fields_of,
    follows_flags,
    list_active,
    params_of,
    parse_filter,
    read_force,
)
from workbench.web.loaders import load_dataset, load_image

blueprint = Blueprint("images", __name__)
PAGE = 96
SIZES = (48, 96, 192, 384)
_FOR_GOOD, _ASK_AGAIN = "max-age=31536000, immutable", "max-age=0, must-revalidate"
SHOWN = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp")  # never markup


@blueprint.get("/d/<name>/images")
def grid(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    classes = datasets.list_classes(db(), dataset.id)
    form = _parse_filter(classes)
    found = image_lists.list_images(
        db(), dataset.id, form.found, sort=form.sort, after=_cursor("after", form), before=_cursor("before", form),
        limit=PAGE,
    )  # fmt: skip
    return page(
        "images/grid.html",
        block="image_list",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if form.problems else HTTPStatus.OK,
        dataset=dataset,
        classes={cls.id: cls for cls in classes},
        form=form,
        kept=fields_of(form),
        active=list_active(form, classes),
        found=found,
        total=image_lists.count_images(db(), dataset.id, form.found),
        most=image_lists.COUNT_UP_TO,
        most_at_once=bulk_decisions.MOST,
        sorts=SORTS,
        sources=SOURCES,
        agreements=AGREEMENTS,
        attribute_names=image_details.list_attribute_names(db()),
        mark_choices=_list_marks(),
        finding_choices=FINDINGS,
        params=params_of(form, classes),
        most_in_queue=RECIPES["filter"].default_limit,
    )


def _cursor(field: str, form: FilterForm) -> Cursor | None:
    words = request.args.get(field)
    return Cursor.parse(words, sort=form.sort) if words else None


def _parse_filter(classes: Sequence[Class]) -> FilterForm:
    return parse_filter(request.args, classes, marks=_list_marks())


def _list_marks() -> Sequence[str]:
    """Which images are gold is for leads to know: they measure the reviewers."""
    return [mark for mark in MARKS if mark != "gold" or me().may("lead")]


@blueprint.post("/d/<name>/images/bulk")
@needs("reviewer")
def preview_bulk(name: str) -> ResponseReturnValue:
    """What one verdict on many images would change, before it is made."""
    dataset = load_dataset(name)
    return _show_plan(dataset, _make_plan(dataset))


@blueprint.post("/d/<name>/images/bulk/apply")
@needs("reviewer")
def apply_bulk(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    classes = datasets.list_classes(db(), dataset.id)
    form = _parse_filter(classes)
    action = request.form.get("action") or decisions.new_action()
    made = _make_plan(dataset)
    _check_classes(made)
    try:
        bulk_decisions.apply(
            db(), made, dataset=dataset, user=me(), stamp=request.form.get("stamp", ""), action=action,
            by_flags=follows_flags(form, classes), forced=read_force(request.form),
        )  # fmt: skip
    except (Conflict, Frozen) as refusal:
        say(str(refusal), kind="problem")
        return _show_plan(dataset, made, status=refusal.status)
    back: dict[str, Any] = {**fields_of(form)}
    return done(url_for("images.grid", name=name, **back), f"{_past(made)}. One undo in the history takes it back.")


def _check_classes(made: bulk_decisions.Plan) -> None:
    if made.verdict == "ambiguous" and len(made.between) < 2:
        raise Invalid("Ambiguous needs two or more classes.")


def _make_plan(dataset: Dataset) -> bulk_decisions.Plan:
    classes = datasets.list_classes(db(), dataset.id)
    verdict = request.form.get("verdict", "")
    everything = request.form.get("everything") == "yes"
    if everything and not me().may("lead"):
        raise Invalid("Deciding on everything that matches is for leads; tick the images instead.")
    if verdict in bulk_decisions.OF_LEADS and not me().may("lead"):
        raise Forbidden("Gold images are for leads: they measure the reviewers.")
    class_id, class_ids = request.form.get("class_id", type=int), request.form.getlist("class_ids", type=int)
    return bulk_decisions.plan(
        db(),
        dataset=dataset,
        verdict=verdict,
        into=next((cls for cls in classes if cls.id == class_id), None),
        between=[cls for cls in classes if cls.id in class_ids],
        image_ids=request.form.getlist("image", type=int),
        found=_parse_filter(classes).found if everything else None,
    )


def _show_plan(dataset: Dataset, made: bulk_decisions.Plan, *, status: int = 200) -> Response:
    classes = datasets.list_classes(db(), dataset.id)
    form = _parse_filter(classes)
    guarded = made.verdict not in bulk_decisions.OF_LEADS and follows_flags(form, classes)
    return page(
        "images/bulk.html",
        status=status,
        dataset=dataset,
        classes={cls.id: cls for cls in classes},
        plan=made,
        everything=request.form.get("everything") == "yes",
        kept=fields_of(form),
        active=list_active(form, classes),
        action=decisions.new_action(),
        guarded=guarded and any(image.split == dataset.frozen_split for image in made.changing),
        forced=request.form.get("forced", ""),
        asks=made.verdict == "ambiguous" and len(made.between) < 2,
    )


_PAST = {
    "relabel": "Relabelled {} to {}",
    "exclude": "Excluded {}",
    "restore": "Restored {}",
    "ambiguous": "Marked {} as ambiguous between {}",
    "gold": "Made {} gold",
    "ungold": "Took the gold mark from {}",
}


def _past(made: bulk_decisions.Plan) -> str:
    images = f"{len(made.changing):,} image{'' if len(made.changing) == 1 else 's'}"
    classes = [made.into] if made.into else made.between
    return _PAST[made.verdict].format(images, " and ".join(cls.name for cls in classes))


@blueprint.get("/d/<name>/images/<int:image_id>")
def show(name: str, image_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    return _show_image(dataset, load_image(image_id, dataset))


def _show_image(dataset: Dataset, image: Image, *, status: int = 200, problem: str = "") -> Response:
    details = describe(db(), home(), dataset=dataset, image=image, viewer=me())
    return page(
        "images/image.html",
        status=status,
        dataset=dataset,
        image=image,
        details=details,
        classes=details.classes,
        open_classes=[cls for cls in details.classes.values() if cls.is_open],
        file_problem=_find_file_problem(image),
        scale=_scale(image),
        action=decisions.new_action(),
        typed=request.form,
        problem=problem,
    )


def _find_file_problem(image: Image) -> str:
    try:
        storage.read_bytes(home(), image)
    except NotFound as problem:
        return str(problem)
    return ""


def _scale(image: Image, *, box: int = 480) -> int:
    """How many times a small picture is magnified so that it fills the box; 1 for one that is larger."""
    return max(1, box // max(image.width, image.height))


@blueprint.post("/d/<name>/images/<int:image_id>/decide")
@needs("reviewer")
def decide(name: str, image_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    image = load_image(image_id, dataset)
    try:
        decisions.decide(
            db(),
            image=image,
            user=me(),
            verdict=request.form.get("verdict", ""),
            class_id=request.form.get("class_id", type=int),
            class_ids=request.form.getlist("classes", type=int),
            text=request.form.get("text", ""),
            revision=request.form.get("revision", type=int),
            action=request.form.get("action") or None,
        )
    except Conflict as conflict:
        return _show_image(dataset, image, status=conflict.status, problem=f"{conflict} Its history is below.")
    except Invalid as invalid:
        return _show_image(dataset, image, status=invalid.status, problem=str(invalid))
    return done(url_for("images.show", name=name, image_id=image_id), "Saved.")


@blueprint.get("/images/<int:image_id>/thumbnail/<int:size>")
def thumbnail(image_id: int, size: int) -> ResponseReturnValue:
    """Two look-ups by key and one small file; the browser keeps it, since the address names the pixels."""
    if size not in SIZES:
        raise NotFound(f"Thumbnails come in {', '.join(map(str, SIZES))} pixels.")
    image = load_image(image_id)
    return _send(image, f"{image.pixel_sha256}-{size}", lambda: storage.thumbnail(home(), image, size=size))


@blueprint.get("/images/<int:image_id>/full")
def full(image_id: int) -> ResponseReturnValue:
    """The picture as a browser can show it."""
    image = load_image(image_id)
    return _send(image, f"{image.file_sha256}-full", lambda: storage.display_bytes(home(), image))


def _send(image: Image, tag: str, read: Callable[[], tuple[bytes, str]]) -> Response:
    response = Response()
    response.set_etag(tag)
    if tag in request.if_none_match:
        response.status_code = HTTPStatus.NOT_MODIFIED
    else:
        try:
            response.data, response.mimetype = read()
        except (NotFound, OSError):
            return _placeholder()
        if response.mimetype not in SHOWN:
            return _placeholder()
    # only an address that names the pixels may be kept for good: ids begin at 1 in every home folder
    is_named = request.args.get("v") == image.pixel_sha256[:12]
    response.headers["Cache-Control"] = f"private, {_FOR_GOOD if is_named else _ASK_AGAIN}"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["Content-Disposition"] = "inline"
    return response


def _placeholder() -> Response:
    """What stands for a file that is gone or has changed; browsers draw it although the status says 404."""
    drawing = bundled("static") / "missing.svg"
    return Response(drawing.read_bytes(), HTTPStatus.NOT_FOUND, mimetype="image/svg+xml")
