"""Home: the data sets, and for one of them what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Blueprint, redirect, request, url_for
from flask.typing import ResponseReturnValue

from workbench.models import Run
from workbench.queries import datasets as dataset_queries
from workbench.queries import homes as queries
from workbench.services import bought, homes, outlooks
from workbench.services.recipes import active, list_offered
from workbench.web.accounts import me
from workbench.web.boundary import db, home, page
from workbench.web.loaders import load_dataset

blueprint = Blueprint("home", __name__)


@dataclass(frozen=True)
class Trend:
    """Accuracy over runs as SVG: a line, its interval as a band, one dot per run. Lowest and highest value shown."""

    line: str
    band: str
    dots: list[tuple[float, float, Run]]
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
    seen = homes.look(db(), home(), dataset=dataset, user=me())
    return page(
        "home.html",
        dataset=dataset,
        seen=seen,
        trend=draw_trend(seen.runs),
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
    low, high = min(value["low"] for value in values), max(value["high"] for value in values)
    xs = [6 + (width - 12) * index / (len(values) - 1) for index in range(len(values))]

    def ys(key: str) -> list[float]:
        return [4 + (height - 8) * (1 - (value[key] - low) / ((high - low) or 1)) for value in values]

    middle, top, bottom = ys("accuracy"), ys("high"), ys("low")
    return Trend(
        line=_points(xs, middle),
        band=f"{_points(xs, top)} {_points(xs[::-1], bottom[::-1])}",
        dots=list(zip(xs, middle, measured, strict=True)),
        low=low,
        high=high,
    )


def _points(xs: Sequence[float], ys: Sequence[float]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
