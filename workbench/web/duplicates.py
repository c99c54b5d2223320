"""Duplicate groups: the list, one group and its verdict, settling the clear ones in bulk, the scan."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from workbench.errors import Conflict, Invalid
from workbench.models import Dataset, DuplicateGroup
from workbench.models import transforms as transform_words
from workbench.queries import duplicate_pages, jobs
from workbench.queries import duplicates as queries
from workbench.queries.duplicates import Bulk, Cursor, Wanted
from workbench.services import activities, decisions, group_pages, settling
from workbench.services.jobs import enqueue
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, page
from workbench.web.loaders import load_dataset
from workbench.web.marks import plural

blueprint = Blueprint("duplicates", __name__)

PER_PAGE = 20
STRIP = 8  # images of a group in the list
SHOWS = ("open", "conflicting", "spanning", "settled")
KINDS = ("exact", "near")
CERTAINTIES = {  # P(same picture): from, below
    "99": (0.99, None), "90": (0.9, 0.99), "70": (0.7, 0.9), "0": (0.0, 0.7),
}  # fmt: skip
NEAR_IN_BULK = 0.99  # P(same picture) from which on a lead is first offered to settle near groups in bulk
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


@dataclass(frozen=True)
class Listing:
    """What the list shows, from where."""

    show: str = "open"
    kind: str | None = None
    certainty: str | None = None
    change: str | None = None
    after: Cursor | None = None

    @property
    def scope(self) -> Wanted:
        """Which groups the whole page is about, whether open or settled."""
        wanted: Wanted = {"kind": self.kind, "transform": self.change}
        if self.certainty:
            least, below = CERTAINTIES[self.certainty]
            wanted["min_p"] = least
            if below is not None:
                wanted["below_p"] = below
        return wanted

    @property
    def wanted(self) -> Wanted:
        wanted: Wanted = {**self.scope, "state": "settled" if self.show == "settled" else "open"}
        if self.show == "conflicting":
            wanted["conflicting"] = True
        if self.show == "spanning":
            wanted["spanning"] = True
        return wanted

    def link(self, **changes: str | None) -> dict[str, str]:
        """The arguments of the same page with something changed, for its address."""
        here = {"show": self.show, "kind": self.kind, "p": self.certainty, "change": self.change} | changes
        return {key: value for key, value in here.items() if value and (key, value) != ("show", "open")}


@blueprint.get("/d/<name>/duplicates")
def index(name: str) -> ResponseReturnValue:
    """The groups, conflicting and spanning ones first."""
    dataset = load_dataset(name)
    listing = parse_listing(request.args)
    groups = queries.list_groups(
        db(), dataset.id, after=listing.after, limit=PER_PAGE + 1, most_images=STRIP, **listing.wanted
    )
    actions = [found.group.settled_action for found in groups if found.group.settled_action]
    last = duplicate_pages.list_last_settled(db(), dataset_id=dataset.id, user_id=me().id, limit=1)
    return page(
        "duplicates/index.html",
        dataset=dataset,
        listing=listing,
        groups=groups[:PER_PAGE],
        following=_write_cursor(groups[PER_PAGE - 1].cursor) if len(groups) > PER_PAGE else None,
        settling=duplicate_pages.get_settling(db(), actions) if actions else {},
        words=WORDS,
        changes=transform_words.KINDS,
        scan=jobs.find_open_job(db(), kind="scan", dataset_id=dataset.id),
        last=last,
        together=_count_together([*actions, *(settled.group.settled_action for settled in last)]),
        **_summary(dataset, listing),
    )


def _count_together(actions: Iterable[str | None]) -> dict[str, int]:
    """Action -> how many groups its undo opens again."""
    return duplicate_pages.count_settled(db(), sorted({action for action in actions if action}))


def parse_listing(args: Mapping[str, str]) -> Listing:
    """Anything unknown falls back to the plain list."""
    rank, _, group_id = args.get("after", "").partition("-")
    return Listing(
        show=_one_of(args.get("show"), SHOWS) or "open",
        kind=_one_of(args.get("kind"), KINDS),
        certainty=_one_of(args.get("p"), tuple(CERTAINTIES)),
        change=_one_of(args.get("change"), transform_words.KINDS),
        after=(int(rank), int(group_id)) if _is_number(rank) and _is_number(group_id) else None,
    )


def _one_of(value: str | None, known: Sequence[str]) -> str | None:
    return value if value in known else None


def _is_number(text: str) -> bool:
    """Whether the database can hold it."""
    return text.isdecimal() and len(text) < 16


def _write_cursor(cursor: Cursor) -> str:
    return f"{cursor[0]}-{cursor[1]}"


def _summary(dataset: Dataset, listing: Listing) -> dict[str, Any]:
    """What the tiles say about the groups that the filters leave, and what could be settled at once of all of them."""
    narrowed = bool(listing.certainty or listing.change)
    exact = Bulk() if listing.kind != "near" and not narrowed else None
    near = Bulk(exact=False, min_p=NEAR_IN_BULK) if listing.kind != "exact" and not narrowed else None
    waiting: Wanted = {**listing.scope, "state": "open"}
    settled: Wanted = {**listing.scope, "state": "settled"}
    return {
        "open_counts": queries.count_groups(db(), dataset.id, **waiting),
        "settled": queries.count_groups(db(), dataset.id, **settled).groups,
        "any_group": queries.get_newest_id(db(), dataset.id) > 0,
        "clear": queries.count_in_bulk(db(), dataset.id, exact) if exact else None,
        "clear_near": queries.count_in_bulk(db(), dataset.id, near) if near else None,
        "near_in_bulk": NEAR_IN_BULK,
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
    activities.record(db(), user=me(), kind="scan", dataset=dataset)
    return done(url_for(".index", name=name), "The scan has started; the groups appear when it is done.")


# --- in bulk ----------------------------------------------------------------------------------------------------


@blueprint.get("/d/<name>/duplicates/bulk")
@needs("lead")
def preview(name: str) -> ResponseReturnValue:
    """What settling all clear groups would do, with the weakest and the first of them."""
    return _preview_page(load_dataset(name), request.args)


def _preview_page(dataset: Dataset, given: Mapping[str, str], *, problem: str = "", status: int = 200) -> Response:
    typed = given.get("min_p", f"{NEAR_IN_BULK}")
    try:
        bulk = parse_bulk(given)
    except Invalid as error:
        problem, status, bulk = str(error), error.status, None
    found = queries.list_in_bulk(db(), dataset.id, bulk, limit=12) if bulk else []
    rows = queries.list_member_rows(db(), [group.id for group in found])
    return page(
        "duplicates/bulk.html",
        status=status,
        problem=problem,
        dataset=dataset,
        bulk=bulk,
        which=given.get("which", "exact"),
        typed=typed,
        counts=queries.count_in_bulk(db(), dataset.id, bulk) if bulk else None,
        examples=queries.with_images(db(), found, most=STRIP),
        kept={group.id: settling.choose_best(rows[group.id]).id for group in found},
        up_to=queries.get_newest_id(db(), dataset.id),
        action=decisions.new_action(),
    )


def parse_bulk(given: Mapping[str, str]) -> Bulk:
    """which: exact, near, or both; without it the exact ones. min_p: for the near ones."""
    which = given.get("which", "exact")
    if which not in ("exact", "near", "both"):
        raise Invalid("Choose which groups: exact, near, or both.")
    if which == "exact":
        return Bulk()
    try:
        least = float(given.get("min_p", f"{NEAR_IN_BULK}").replace(",", "."))
    except ValueError:
        least = -1.0
    if not 0.5 <= least <= 1:
        raise Invalid("P must be a number from 0.5 to 1.")
    return Bulk(exact=which == "both", min_p=least)


@blueprint.post("/d/<name>/duplicates/bulk")
@needs("lead")
def settle_bulk(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    newest = request.form.get("up_to", "")
    try:
        settled = settling.settle_in_bulk(
            db(),
            dataset,
            me(),
            bulk=parse_bulk(request.form),
            up_to=int(newest) if _is_number(newest) else None,
            action=request.form.get("action") or None,
        )
    except Invalid as error:
        return _preview_page(dataset, request.form, problem=str(error), status=error.status)
    return done(url_for(".index", name=name), f"{plural(settled, 'group')} settled. z takes all of it back.")


# --- one group --------------------------------------------------------------------------------------------------


@blueprint.get("/d/<name>/duplicates/<int:group_id>")
def show(name: str, group_id: int) -> ResponseReturnValue:
    dataset = load_dataset(name)
    return _group_page(dataset, _load_group(dataset, group_id))


def _load_group(dataset: Dataset, group_id: int) -> DuplicateGroup:
    return queries.find_group(db(), dataset.id, group_id)


@dataclass(frozen=True)
class Answer:
    """What the form said, to be acted on or shown again."""

    verdict: str = ""
    keep_id: int | None = None
    class_id: int | None = None
    apart: tuple[int, ...] = ()
    carry: bool = False


def parse_answer(form: MultiDict[str, str]) -> Answer:
    return Answer(
        verdict=form.get("verdict", ""),
        keep_id=form.get("keep_id", type=int),
        class_id=form.get("class_id", type=int),
        apart=tuple(form.getlist("apart", type=int)),
        carry=form.get("carry") == "yes",
    )


def _group_page(
    dataset: Dataset, group: DuplicateGroup, *, status: int = 200, problem: str = "", given: Answer | None = None
) -> Response:
    found = group_pages.describe(db(), dataset, group)
    following = _find_following(dataset, group)
    ahead = queries.with_images(db(), [following], most=6)[0].images if following else []
    suggestion = found.suggestion
    last = duplicate_pages.list_last_settled(db(), dataset_id=dataset.id, user_id=me().id)
    return page(
        "duplicates/show.html",
        status=status,
        problem=problem,
        dataset=dataset,
        found=found,
        group=group,
        names={cls.id: cls.name for cls in found.classes},
        given=given or Answer(carry=group.conflicting),
        keep_id=(given and given.keep_id) or suggestion.keep_id,
        class_id=(given and given.class_id) or suggestion.class_id,
        settling=duplicate_pages.get_settling(db(), [group.settled_action]).get(group.settled_action)
        if group.settled_action
        else None,
        following=following,
        ahead=ahead,
        counts=queries.count_groups(db(), dataset.id, state="open"),
        last=last,
        together=_count_together([group.settled_action, *(settled.group.settled_action for settled in last)]),
        action=decisions.new_action(),
        words=WORDS,
    )


def _find_following(dataset: Dataset, group: DuplicateGroup) -> DuplicateGroup | None:
    """The next group that waits, from here on and then from the start; none if no other does."""
    after = queries.find_next_open(db(), dataset.id, after=(group.rank, group.id))
    after = after or queries.find_next_open(db(), dataset.id)
    return after if after and after.id != group.id else None


@blueprint.post("/d/<name>/duplicates/<int:group_id>")
@needs("reviewer")
def settle(name: str, group_id: int) -> ResponseReturnValue:
    """The verdict on one group; then the next open one."""
    dataset = load_dataset(name)
    group = _load_group(dataset, group_id)
    following = _find_following(dataset, group)
    given = parse_answer(request.form)
    try:
        settling.settle(
            db(),
            dataset=dataset,
            user=me(),
            group=group,
            verdict=given.verdict,
            keep_id=given.keep_id,
            class_id=given.class_id,
            apart=given.apart,
            carry=given.carry,
            action=request.form.get("action") or None,
        )
    except (Conflict, Invalid) as error:
        return _group_page(dataset, group, status=error.status, problem=str(error), given=given)
    if following is None:
        return done(url_for(".index", name=name), f"{_say(given)} That was the last open group.")
    return done(url_for(".show", name=name, group_id=following.id), f"{_say(given)} z undoes it.")


def _say(given: Answer) -> str:
    strangers = len(given.apart) if given.verdict != "not_duplicates" else 0
    apart = f" {plural(strangers, 'image')} noted as another picture." if strangers else ""
    return SAID[given.verdict] + apart


@blueprint.post("/d/<name>/duplicates/<int:group_id>/undo")
@needs("reviewer")
def undo(name: str, group_id: int) -> ResponseReturnValue:
    """Take the verdict on this group back, and with it whatever else the same action settled."""
    dataset = load_dataset(name)
    group = _load_group(dataset, group_id)
    if group.settled_action is None:
        raise Conflict("This group is open already.")
    opened = duplicate_pages.count_settled(db(), [group.settled_action])[group.settled_action]
    decisions.undo(db(), dataset=dataset, user=me(), action=group.settled_action)
    if opened > 1:
        return done(url_for(".index", name=name), f"Undone: {opened:,} groups are open again.")
    return done(url_for(".show", name=name, group_id=group_id), "Undone: the group is open again.")
