"""Agreement: who agrees with whom, which classes are confused, how each reviewer works."""

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Forbidden, NotFound
from workbench.models import Dataset, User
from workbench.queries import agreement as queries
from workbench.queries import image_lists
from workbench.queries import review as review_queries
from workbench.services import agreement, consensus, reviewers
from workbench.services.agreement import Category, Opinions, Pair, Report
from workbench.services.reviewers import Period
from workbench.web import charts
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, home, page
from workbench.web.charts import LineChart, Series
from workbench.web.loaders import load_dataset, load_user

blueprint = Blueprint("agreement", __name__)
PER_PAGE = 120
EXAMPLES = 6
ENOUGH, USABLE = 0.8, 0.667  # Krippendorff's marks: reliable, and for tentative conclusions


def read_source() -> str:
    """Which statements are compared: blind ones unless the address says otherwise."""
    return "all" if request.args.get("source") == "all" else "blind"


def _is_held_back() -> bool:
    """Whether what was said blind stays out of all figures as long as its queue is open: it does for all but leads.

    Seeing a figure move after an answer of theirs, reviewers would know what the others said, and what is gold.
    """
    return not me().may("lead")


def _read_opinions(dataset: Dataset, source: str) -> Opinions:
    return agreement.read_opinions(db(), dataset, source=source, closed_only=_is_held_back())


def _count_held_back(dataset: Dataset) -> int:
    """The open queues whose opinions are left out of the page."""
    return queries.count_open_blind(db(), dataset.id) if _is_held_back() else 0


# --- who agrees with whom ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairCell:
    """heat: of kappa, from -10 to 10; none on the diagonal and where two never met."""

    pair: Pair | None
    heat: int


@blueprint.get("/d/<name>/agreement")
def index(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    source = read_source()
    opinions = _read_opinions(dataset, source)
    found = agreement.report(db(), dataset, source=source, opinions=opinions)
    rows, columns = list_visible(found, me())
    return page(
        "agreement/index.html",
        dataset=dataset,
        report=found,
        source=source,
        verdict=say_verdict(found),
        rows=[(user, [make_cell(found, user, other) for other in columns]) for user in rows],
        columns=columns,
        examples=_list_examples(dataset, found, opinions),
        works=reviewers.hide_others(
            reviewers.list_work(db(), dataset, source=source, opinions=opinions, closed_only=_is_held_back()), me()
        ),
        held_back=_count_held_back(dataset),
        result=consensus.load_result(db(), home(), dataset),
        heat=_heat,
    )


def list_visible(report: Report, viewer: User) -> tuple[Sequence[User], Sequence[User]]:
    """Rows and columns of the matrix: all for a lead, a reviewer beside each other one, nothing for a viewer."""
    if viewer.may("lead"):
        return report.reviewers, report.reviewers
    mine = [user for user in report.reviewers if user.id == viewer.id]
    return mine, [user for user in report.reviewers if user.id != viewer.id] if mine else []


def make_cell(report: Report, one: User, other: User) -> PairCell:
    pair = report.get_pair(one, other) if one.id != other.id else None
    return PairCell(pair, _heat(pair.kappa.value if pair else None))


def _heat(value: float | None) -> int:
    return 0 if value is None else round(10 * value)


def say_verdict(report: Report) -> str:
    """What alpha means for who reads it."""
    alpha = report.alpha
    if alpha.value is None:
        return ""
    if alpha.low is not None and alpha.low >= ENOUGH:
        return "One reviewer’s word is enough."
    if alpha.value >= USABLE:
        return "One reviewer’s word will mostly do; ask several where it matters."
    return "One reviewer’s word is not enough here: ask several, and settle what they differ on."


def _list_examples(dataset: Dataset, report: Report, opinions: Opinions) -> dict[int, list[review_queries.Picture]]:
    """Place in the list of confusions -> some of its images."""
    sealed = _list_sealed(dataset)
    found = {
        place: [one for one in agreement.list_differing(opinions, one, other).tolist() if one not in sealed][:EXAMPLES]
        for place, confusion in enumerate(report.confused)
        if (one := opinions.number(confusion.one.key)) is not None
        and (other := opinions.number(confusion.other.key)) is not None
    }
    pictures = review_queries.get_pictures(db(), sorted({one for ids in found.values() for one in ids}))
    return {place: [pictures[one] for one in ids] for place, ids in found.items()}


def _list_sealed(dataset: Dataset) -> set[int]:
    """Images that only leads may see here: who is asked about them must not know what others said."""
    return queries.list_asked_blind(db(), dataset.id) if _is_held_back() else set()


@blueprint.get("/d/<name>/agreement/pair/<int:user_id>/<int:other_id>")
def pair(name: str, user_id: int, other_id: int) -> ResponseReturnValue:
    """Two reviewers side by side; for leads, and for these two."""
    dataset = load_dataset(name)
    one, other = load_user(user_id), load_user(other_id)
    _check_may_see(one, other)
    opinions = _read_opinions(dataset, read_source())
    found = agreement.report_pair(db(), dataset, one, other, opinions=opinions)
    return page(
        "agreement/pair.html",
        dataset=dataset,
        found=found,
        one=one,
        other=other,
        source=read_source(),
        held_back=_count_held_back(dataset),
        matrix=charts.matrix(found.table, [category.key for category in found.categories]),
        names={category.key: category for category in found.categories},
    )


def _check_may_see(*people: User) -> None:
    if not me().may("lead") and me().id not in [user.id for user in people]:
        raise Forbidden("Figures of other reviewers are for leads; you see your own.")


@blueprint.get("/d/<name>/agreement/images")
def images(name: str) -> ResponseReturnValue:
    """The images of which one reviewer says one class and another the other; of two people, where they are named."""
    dataset = load_dataset(name)
    opinions = _read_opinions(dataset, read_source())
    one, other = (_read_category(opinions.categories, field) for field in ("one", "other"))
    people = [load_user(request.args.get(field, 0, type=int)) for field in ("by", "and") if field in request.args]
    columns = None
    if len(people) == 2:
        _check_may_see(*people)
        placed = opinions.column(people[0].id), opinions.column(people[1].id)
        columns = (placed[0], placed[1]) if placed[0] is not None and placed[1] is not None else None
        if columns is None:
            raise NotFound("These two have not said anything about the same image.")
    numbers = opinions.categories.index(one), opinions.categories.index(other)
    sealed = _list_sealed(dataset)
    found = [one for one in agreement.list_differing(opinions, *numbers, columns=columns).tolist() if one not in sealed]
    after = request.args.get("after", 0, type=int)
    rest = [image_id for image_id in found if image_id > after]
    return page(
        "agreement/images.html",
        dataset=dataset,
        one=one,
        other=other,
        people=people if columns else [],
        total=len(found),
        images=image_lists.get_images(db(), rest[:PER_PAGE]),
        following=rest[PER_PAGE - 1] if len(rest) > PER_PAGE else None,
        kept={key: request.args[key] for key in ("one", "other", "by", "and", "source") if key in request.args},
        source=read_source(),
    )


def _read_category(categories: Sequence[Category], field: str) -> Category:
    found = next((one for one in categories if one.key == request.args.get(field)), None)
    if found is None:
        raise NotFound("Nobody has said this of an image.")
    return found


# --- how each reviewer works --------------------------------------------------------------------------------------


@blueprint.get("/d/<name>/agreement/reviewers/<int:user_id>")
def reviewer(name: str, user_id: int) -> ResponseReturnValue:
    """One reviewer over time; for leads, and for that reviewer."""
    dataset = load_dataset(name)
    user = load_user(user_id)
    _check_may_see(user)
    source = read_source()
    opinions, is_held_back = _read_opinions(dataset, source), _is_held_back()
    found = reviewers.list_work(db(), dataset, source=source, only=user, opinions=opinions, closed_only=is_held_back)
    kind, periods = reviewers.list_periods(
        db(), dataset, user, source=source, opinions=opinions, closed_only=is_held_back
    )
    return page(
        "agreement/reviewer.html",
        dataset=dataset,
        person=user,
        work=found[0] if found else None,
        kind=kind,
        periods=periods,
        charts=draw_drift(kind, periods) if len(periods) > 1 else [],
        held_back=_count_held_back(dataset),
        source=source,
        result=consensus.load_result(db(), home(), dataset),
    )


def draw_drift(kind: str, periods: Sequence[Period]) -> list[LineChart]:
    """Agreement, gold and speed over the periods; those of which nothing is known are left out."""
    x = [float(number) for number in range(1, len(periods) + 1)]
    unit = "day" if kind == "day" else "hundred"
    made = []
    for title, figures in (
        ("Agrees with most of the others", [period.others for period in periods]),
        ("Right on gold images", [period.gold for period in periods]),
    ):
        if any(figure.n for figure in figures):
            bands = [
                (figure.low, figure.high) if figure.low is not None and figure.high is not None else None
                for figure in figures
            ]
            series = Series("share, with its 95 % interval", [figure.value for figure in figures], band=bands)
            made.append(charts.line_chart(title, [series], x=x, x_name=unit, percent=True))
    seconds = [period.seconds for period in periods]
    if any(value is not None for value in seconds):
        made.append(charts.line_chart("Seconds per card", [Series("median", seconds, kind="b")], x=x, x_name=unit))
    return made


# --- consensus by reviewer quality --------------------------------------------------------------------------------


@blueprint.post("/d/<name>/agreement/consensus")
@needs("lead")
def compute(name: str) -> ResponseReturnValue:
    """Have a worker weigh the reviewers."""
    dataset = load_dataset(name)
    job = consensus.ask(db(), dataset=dataset, user=me())
    return done(url_for("jobs.show", job_id=job.id), "The worker weighs the reviewers; it takes seconds.")
