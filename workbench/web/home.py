"""Home: the data sets, and for one of them what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, redirect, request, url_for
from flask.typing import ResponseReturnValue

from workbench.models import Audit, Run
from workbench.queries import datasets as dataset_queries
from workbench.queries import homes as queries
from workbench.services import audits, bought, homes, outlooks
from workbench.services.audit_figures import Figures
from workbench.services.recipes import active, list_offered
from workbench.web.accounts import me
from workbench.web.boundary import db, home, page
from workbench.web.loaders import load_dataset

blueprint = Blueprint("home", __name__)


@dataclass(frozen=True)
class Trend:
    """A share over runs or audits as SVG: a line, its interval as a band, one dot for each; its lowest and highest."""

    line: str
    band: str
    dots: list[tuple[float, float, Any]]
    low: float
    high: float


@blueprint.get("/")
def datasets() -> ResponseReturnValue:
    """All data sets; straight to the only one, unless the reader asked for the list."""
    found = dataset_queries.list_datasets(db())
    if len(found) == 1 and not request.args.get("all"):
        return redirect(url_for("home.show", name=found[0].name), 303)
    return page("datasets.html", rows=queries.list_datasets(db()))


@blueprint.get("/d/<name>/")
def show(name: str) -> ResponseReturnValue:
    dataset = load_dataset(name)
    found = audits.list_figures(db(), dataset)
    audited = [(audit, figures) for audit, figures in found if figures.rate is not None and not figures.missing]
    seen = homes.look(db(), home(), dataset=dataset, user=me())
    return page(
        "home.html",
        dataset=dataset,
        seen=seen,
        trend=draw_trend(seen.runs),
        audited=audited,
        auditing=[(audit, figures) for audit, figures in found if figures.missing],
        error_trend=draw_error_trend(audited),
        classes=dataset_queries.list_open_classes(db(), dataset.id),
        recipes=list_offered(),
        strategies=active.STRATEGIES,
        minutes=homes.timedelta_words,
        worth=outlooks.get_worth(me()),
        gained=bought.look(db(), home(), dataset),
    )


def draw_trend(runs: Sequence[Run], *, width: float = 300, height: float = 84) -> Trend | None:
    """Runs oldest first; none unless two of them measured something. Runs on different splits share the picture."""
    measured = [run for run in runs if (run.metrics or {}).get("low") is not None]
    if len(measured) < 2:
        return None
    values = [run.metrics or {} for run in measured]
    shares = [(value["accuracy"], value["low"], value["high"]) for value in values]
    return _draw(shares, measured, width=width, height=height)


def draw_error_trend(
    audited: Sequence[tuple[Audit, Figures]], *, width: float = 300, height: float = 84
) -> Trend | None:
    """Audits newest first; none unless two of them say something."""
    rates = [(figures.rate, audit) for audit, figures in reversed(audited) if figures.rate is not None]
    if len(rates) < 2:
        return None
    shares = [(rate.rate, rate.low, rate.high) for rate, _ in rates]
    return _draw(shares, rates, width=width, height=height)


def _draw(values: Sequence[tuple[float, float, float]], things: Sequence[Any], *, width: float, height: float) -> Trend:
    """values: each with its interval. things: what each dot stands for."""
    low, high = min(value[1] for value in values), max(value[2] for value in values)
    xs = [6 + (width - 12) * index / (len(values) - 1) for index in range(len(values))]

    def ys(key: int) -> list[float]:
        return [4 + (height - 8) * (1 - (value[key] - low) / ((high - low) or 1)) for value in values]

    middle, top, bottom = ys(0), ys(2), ys(1)
    return Trend(
        line=_points(xs, middle),
        band=f"{_points(xs, top)} {_points(xs[::-1], bottom[::-1])}",
        dots=list(zip(xs, middle, things, strict=True)),
        low=low,
        high=high,
    )


def _points(xs: Sequence[float], ys: Sequence[float]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
