"""Duplicate groups: the list, one group and its verdict, settling the clear ones in bulk, the scan."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Conflict, Invalid
from workbench.models import Class, Dataset, Image, Vote
from workbench.queries import datasets, duplicate_pages, jobs
from workbench.queries import duplicates as queries
from workbench.queries.duplicates import Cursor, GroupImages
from workbench.services import decisions, duplicates
from workbench.services.jobs import enqueue
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, page
from workbench.web.loaders import load_dataset
from workbench.web.marks import plural

blueprint = Blueprint("duplicates", __name__)

PER_PAGE = 20
SHOWS = ("open", "conflicting", "spanning", "settled")
KINDS = ("exact", "near")
WORDS = {  # verdict -> what became of the group
    "keep_best": "one kept, the others excluded",
    "merge_labels": "one kept with the label chosen, the others excluded",
    "keep_all": "all kept",
    "not_duplicates": "not the same picture",
}
SAID = {  # verdict -> what was just done
    "keep_best": "Kept one, excluded the others.",
    "merge_labels": "Kept one with the label chosen, excluded the others.",
    "keep_all": "Kept all.",
    "not_duplicates": "Noted: not the same picture.",
}
_MOST_SHOWN = 60
_STAGE_PX = 264  # the side that one image of a group may take


@blueprint.get("/d/<name>/duplicates")
def index(name: str) -> ResponseReturnValue:
    """The groups, conflicting and spanning ones first."""
    dataset = load_dataset(name)
    show, kind, after = parse_list(request.args)
    groups = queries.list_groups(
        db(), dataset.id, kind=kind, after=after, limit=PER_PAGE + 1, **_filter(show)
    )  # fmt: skip
    actions = [found.group.settled_action for found in groups if found.group.settled_action]
    return page(
        "duplicates/index.html",
        dataset=dataset,
        groups=groups[:PER_PAGE],
        following=_write_cursor(groups[PER_PAGE - 1].cursor) if len(groups) > PER_PAGE else None,
        settling=duplicate_pages.get_settling(db(), actions) if actions else {},
        show=show,
        kind=kind,
        after=after,
        words=WORDS,
        **_summary(dataset, kind),
    )


def parse_list(args: Mapping[str, str]) -> tuple[str, str | None, Cursor | None]:
    """What to show, of which kind, from where; anything unknown falls back to the plain list."""
    show, kind = args.get("show", "open"), args.get("kind")
    rank, _, group_id = args.get("after", "").partition("-")
    after = (int(rank), int(group_id)) if rank.isdecimal() and group_id.isdecimal() else None
    return show if show in SHOWS else "open", kind if kind in KINDS else None, after


def _write_cursor(cursor: Cursor) -> str:
    return f"{cursor[0]}-{cursor[1]}"


def _filter(show: str) -> dict[str, Any]:
    if show == "settled":
        return {"state": "settled"}
    return {} if show == "open" else {show: True}


def _summary(dataset: Dataset, kind: str | None) -> dict[str, Any]:
    exact = queries.count_groups(db(), dataset.id, kind="exact", state="open")
    return {
        "open_counts": queries.count_groups(db(), dataset.id, kind=kind, state="open"),
        "all_counts": queries.count_groups(db(), dataset.id, kind=kind),
        "clear": exact.groups - exact.conflicting,
        "scan": jobs.find_open_job(db(), kind="scan", dataset_id=dataset.id),
        "scanned_at": dataset.scanned_at,
    }


@blueprint.get("/d/<name>/duplicates/scan")
def scan_state(name: str) -> ResponseReturnValue:
    """The block that says how far a scan is; when it is over, the page is loaded anew."""
    dataset = load_dataset(name)
    job = jobs.find_open_job(db(), kind="scan", dataset_id=dataset.id)
    if job is None:
        return done(url_for(".index", name=name))
    return page("duplicates/_scan.html", dataset=dataset, scan=job)


@blueprint.post("/d/<name>/duplicates/scan")
@needs("lead")
def scan(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    if jobs.find_open_job(db(), kind="scan", dataset_id=dataset.id):
        return done(url_for(".index", name=name), "A scan is under way already.")
    enqueue(db(), kind="scan", user=me(), dataset=dataset)
    return done(url_for(".index", name=name), "The scan has started; the groups appear when it is done.")


@blueprint.get("/d/<name>/duplicates/bulk")
@needs("lead")
def preview(name: str) -> ResponseReturnValue:
    """What settling all clear groups would do, with the first of them."""
    dataset = load_dataset(name)
    found = queries.list_groups(db(), dataset.id, kind="exact", conflicting=False, limit=12)
    return page(
        "duplicates/bulk.html",
        dataset=dataset,
        bulk=duplicates.preview_bulk(db(), dataset),
        examples=[(example, duplicates.choose_best(example.images)) for example in found],
        action=decisions.new_action(),
    )


@blueprint.post("/d/<name>/duplicates/bulk")
@needs("lead")
def settle_bulk(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    before = queries.count_groups(db(), dataset.id, state="open").open
    duplicates.settle_exact_in_bulk(db(), dataset, me(), action=request.form.get("action") or None)
    settled = before - queries.count_groups(db(), dataset.id, state="open").open
    return done(url_for(".index", name=name), f"{plural(settled, 'group')} settled. One undo takes it back.")


@blueprint.get("/d/<name>/duplicates/<int:group_id>")
def show(name: str, group_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    return _group_page(dataset, queries.get_group(db(), dataset.id, group_id))


def _group_page(
    dataset: Dataset,
    found: GroupImages,
    *,
    status: int = 200,
    problem: str = "",
    chosen: Mapping[str, str] | None = None,
) -> Response:
    votes = duplicate_pages.list_votes(db(), [image.id for image in found.images])
    classes = datasets.list_open_classes(db(), dataset.id)
    keep, suggested, why = suggest(found.images, votes, classes)
    action = found.group.settled_action
    last = duplicate_pages.list_last_settled(db(), dataset_id=dataset.id, user_id=me().id)
    return page(
        "duplicates/show.html",
        status=status,
        problem=problem,
        dataset=dataset,
        found=found,
        group=found.group,
        members=list_members(found.images, votes, keep=keep),
        has_predictions=any(image.predicted_id for image in found.images),
        differing=find_differing(found.images, votes),
        classes=classes,
        names={cls.id: cls.name for cls in classes},
        keep_id=int((chosen or {}).get("keep_id") or keep.id),
        class_id=int((chosen or {}).get("class_id") or suggested or 0),
        why=why,
        settling=duplicate_pages.get_settling(db(), [action]).get(action) if action else None,
        following=_find_following(dataset, found),
        counts=queries.count_groups(db(), dataset.id, state="open"),
        last=last,
        action=decisions.new_action(),
        words=WORDS,
    )


def _find_following(dataset: Dataset, found: GroupImages) -> int | None:
    """The next group that waits, from here on and then from the start; none if no other does."""
    after = queries.next_open_group(db(), dataset.id, after=found.cursor) or queries.next_open_group(db(), dataset.id)
    return after.group.id if after and after.group.id != found.group.id else None


@blueprint.post("/d/<name>/duplicates/<int:group_id>")
@needs("reviewer")
def settle(name: str, group_id: int) -> ResponseReturnValue:
    """The verdict on one group; then the next open one."""
    dataset = load_dataset(name)
    found = queries.get_group(db(), dataset.id, group_id)
    following = _find_following(dataset, found)
    try:
        verdict = _settle(dataset, found)
    except (Conflict, Invalid) as error:
        return _group_page(dataset, found, status=error.status, problem=str(error), chosen=_numbers(request.form))
    if following is None:
        return done(url_for(".index", name=name), f"{SAID[verdict]} That was the last open group.")
    return done(url_for(".show", name=name, group_id=following), f"{SAID[verdict]} z undoes it.")


def _settle(dataset: Dataset, found: GroupImages) -> str:
    numbers, verdict = _numbers(request.form), request.form.get("verdict", "")
    duplicates.settle(
        db(),
        dataset=dataset,
        user=me(),
        group=found.group,
        verdict=verdict,
        keep_id=int(numbers["keep_id"]) if "keep_id" in numbers else None,
        class_id=int(numbers["class_id"]) if "class_id" in numbers else None,
        action=request.form.get("action") or None,
    )
    return verdict


def _numbers(form: Mapping[str, str]) -> dict[str, str]:
    return {field: form[field] for field in ("keep_id", "class_id") if form.get(field, "").isdecimal()}


@blueprint.post("/d/<name>/duplicates/<int:group_id>/undo")
@needs("reviewer")
def undo(name: str, group_id: int) -> ResponseReturnValue:
    """Take the verdict on this group back, and with it whatever else the same action settled."""
    dataset = load_dataset(name)
    group = queries.get_group(db(), dataset.id, group_id).group
    if group.settled_action is None:
        raise Conflict("This group is open already.")
    decisions.undo(db(), dataset=dataset, user=me(), action=group.settled_action)
    return done(url_for(".show", name=name, group_id=group_id), "Undone: the group is open again.")


@dataclass(frozen=True)
class Member:
    """One image of a group as the page shows it: all of them at one scale, so that sizes can be compared."""

    image: Image
    votes: list[Vote]
    width: int
    height: int


def list_members(images: Sequence[Image], votes: Mapping[int, list[Vote]], *, keep: Image) -> list[Member]:
    """As many as a page can show, the one to keep among them: a data set may hold one picture ten thousand times."""
    scale = fit_scale(images)
    shown = [*images[:_MOST_SHOWN]]
    if keep not in shown:
        shown[-1] = keep
    return [
        Member(image, votes.get(image.id, []), max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        for image in shown
    ]


def fit_scale(images: Sequence[Image], *, side_px: int = _STAGE_PX) -> float:
    """How much every image of the group is enlarged: a whole number, unless the largest has to shrink."""
    longest = max(max(image.width, image.height) for image in images)
    return side_px // longest if longest <= side_px else side_px / longest


def find_differing(images: Sequence[Image], votes: Mapping[int, list[Vote]]) -> set[str]:
    """Which facts are not the same for all images of the group."""
    facts = [
        {
            "label": (image.label_id, image.status == "ambiguous"),
            "split": image.split,
            "folder": image.path.rpartition("/")[0],
            "size": (image.width, image.height),
            "bytes": image.size_bytes,
            "mode": image.mode,
            "source": image.label_source,
            "status": image.status,
            "votes": sorted((vote.option, vote.count) for vote in votes.get(image.id, [])),
            "predicted": image.predicted_id,
        }
        for image in images
    ]
    return {key for key in facts[0] if any(fact[key] != facts[0][key] for fact in facts)}


def suggest(
    images: Sequence[Image], votes: Mapping[int, list[Vote]], classes: Sequence[Class]
) -> tuple[Image, int | None, str]:
    """The image to keep, the class for it, and why: the raters' votes, else most labels, else the label that the model
    agrees with, else the one it has."""
    best = duplicates.choose_best(images)
    open_ids = {cls.id for cls in classes}
    cast: Counter[int] = Counter()
    for vote in (vote for image in images for vote in votes.get(image.id, [])):
        if vote.class_id in open_ids:
            cast[vote.class_id] += vote.count
    labels = Counter(image.label_id for image in images if image.label_id in open_ids and image.status != "excluded")
    for counted, word in ((cast, "votes"), (labels, "labels")):
        leading = counted.most_common(2)
        if leading and (len(leading) == 1 or leading[0][1] > leading[1][1]):
            class_id, number = leading[0]
            return best, class_id, f"{number} of {counted.total()} {word}"
    if best.predicted_id in labels:
        return best, best.predicted_id, "as the model sees it"
    return best, best.label_id if best.label_id in open_ids else None, "the label of the image kept"
