"""Classes: their colours for every page, and adding, renaming, merging, retiring them."""

from flask import Blueprint, Response, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Invalid
from workbench.models import SPLITS, Class, Dataset
from workbench.queries import datasets as queries
from workbench.services import datasets
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, page
from workbench.web.loaders import load_class, load_dataset

blueprint = Blueprint("classes", __name__)
_ONE_UNDO = "One undo in the history takes it back."


@blueprint.get("/d/<name>/classes")
def index(name: str) -> ResponseReturnValue:
    return _show(load_dataset(name))


def _show(dataset: Dataset, *, error: Invalid | None = None, cls: Class | None = None) -> Response:
    """error: of a change to `cls`, or of adding one."""
    classes = queries.list_classes(db(), dataset.id)
    counts = queries.count_labels_by_split(db(), dataset.id)
    return page(
        "classes.html",
        status=error.status if error else 200,
        dataset=dataset,
        classes=classes,
        names={other.id: other.name for other in classes},
        counts=counts,
        most=max((sum(split.values()) for split in counts.values()), default=0),
        splits=[split for split in (*SPLITS, None) if any(split in found for found in counts.values())],
        typed=request.form,
        problem=str(error) if error else "",
        fields=error.fields if error else {},
        wrong_id=cls.id if cls else None,
    )


@blueprint.get("/d/<name>/colours.css")
def colours(name: str) -> ResponseReturnValue:
    """One rule per class, because the policy forbids inline styles."""
    classes = queries.list_classes(db(), load_dataset(name).id)
    rules = "\n".join(f".class-{cls.id} {{ --class: {cls.colour}; }}" for cls in classes)
    return Response(rules, mimetype="text/css")


@blueprint.post("/d/<name>/classes")
@needs("lead")
def add(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    try:
        cls = datasets.add_class(db(), dataset=dataset, user=me(), name=request.form.get("name", ""))
    except Invalid as error:
        return _show(dataset, error=error)
    return done(url_for("classes.index", name=name), f"Added {cls.name}. {_ONE_UNDO}")


@blueprint.post("/d/<name>/classes/<int:class_id>")
@needs("lead")
def edit(name: str, class_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    cls = load_class(class_id, dataset)
    changes = {field: request.form[field].strip() for field in ("name", "colour", "key") if field in request.form}
    try:
        if "colour" in changes and changes["colour"].casefold() == cls.colour.casefold():
            del changes["colour"]  # a colour field writes small letters
        datasets.edit_class(db(), dataset=dataset, user=me(), cls=cls, **changes)
    except Invalid as error:
        return _show(dataset, error=error, cls=cls)
    return done(url_for("classes.index", name=name), f"Saved {cls.name}. {_ONE_UNDO}")


@blueprint.post("/d/<name>/classes/<int:class_id>/move")
@needs("lead")
def move(name: str, class_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    cls = load_class(class_id, dataset)
    datasets.move_class(db(), dataset=dataset, user=me(), cls=cls, step=-1 if request.form.get("step") == "-1" else 1)
    return done(url_for("classes.index", name=name))


@blueprint.get("/d/<name>/classes/<int:class_id>/merge")
@needs("lead")
def preview_merge(name: str, class_id: int) -> ResponseReturnValue:
    """How many images would show the other class."""
    dataset = load_dataset(name)
    cls = load_class(class_id, dataset)
    return page(
        "classes_merge.html",
        dataset=dataset,
        cls=cls,
        into=load_class(request.args.get("into", 0, type=int), dataset),
        images=queries.count_shown_as(db(), cls.id),
    )


@blueprint.post("/d/<name>/classes/<int:class_id>/merge")
@needs("lead")
def merge(name: str, class_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    cls = load_class(class_id, dataset)
    into = load_class(request.form.get("into", 0, type=int), dataset)
    try:
        datasets.merge_class(db(), dataset=dataset, user=me(), cls=cls, into=into)
    except Invalid as error:
        return _show(dataset, error=error)
    return done(url_for("classes.index", name=name), f"{cls.name} is part of {into.name} now. {_ONE_UNDO}")


@blueprint.post("/d/<name>/classes/<int:class_id>/retire")
@needs("lead")
def retire(name: str, class_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    cls = load_class(class_id, dataset)
    change = datasets.restore_class if request.form.get("restore") == "yes" else datasets.retire_class
    change(db(), dataset=dataset, user=me(), cls=cls)
    words = "back" if cls.is_open else "retired: nobody can choose it, its images keep it"
    return done(url_for("classes.index", name=name), f"{cls.name} is {words}. {_ONE_UNDO}")
