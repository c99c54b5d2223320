"""`workbench agreement`."""

from typing import Any

import click

from workbench.cli.frame import Workbench, command
from workbench.queries import datasets
from workbench.services import agreement as service
from workbench.services import reviewers
from workbench.services.agreement import Report
from workbench.services.agreement_figures import Figure
from workbench.services.reviewers import Work


@command("agreement")
@click.option("--dataset", required=True, help="Name of the data set.")
@click.option(
    "--source",
    type=click.Choice(service.SOURCES),
    default="blind",
    show_default=True,
    help="Blind opinions alone, or all verdicts besides them, which are not independent.",
)
def agreement(bench: Workbench, dataset: str, source: str) -> None:
    """How far reviewers agree: all together, in pairs, by class; and how each of them works."""
    with bench.database.read() as session:
        found = datasets.get_dataset(session, dataset)
        opinions = service.read_opinions(session, found, source=source)
        report = service.report(session, found, source=source, opinions=opinions)
        works = reviewers.list_work(session, found, source=source, opinions=opinions)
        bench.answer(describe(dataset, report, works), _tell(dataset, report, works))


def describe(dataset: str, report: Report, works: list[Work]) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "source": report.source,
        "images": report.images,
        "opinions": report.opinions,
        "disputed": report.disputed,
        "alpha": _figure(report.alpha),
        "observed": _figure(report.observed),
        "chance": report.chance,
        "fleiss": _figure(report.fleiss),
        "reviewers": [_describe_work(work, report) for work in works],
        "pairs": [
            {
                "one": pair.one.name,
                "other": pair.other.name,
                "kappa": _figure(pair.kappa),
                "observed": _figure(pair.observed),
            }
            for pair in report.pairs
        ],
        "classes": [
            {
                "class": line.category.name,
                "said": line.times,
                "images": line.images,
                "specific": line.specific,
                "alpha": _figure(line.alpha),
            }
            for line in report.classes
        ],
        "confused": [
            {"one": each.one.name, "other": each.other.name, "images": each.images} for each in report.confused
        ],
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {"value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n}


def _describe_work(work: Work, report: Report) -> dict[str, Any]:
    return {
        "name": work.user.name,
        "decisions": work.decisions,
        "opinions": report.spoken.get(work.user.id, 0),
        "per_hour": work.per_hour,
        "seconds": work.seconds,
        "changes": _figure(work.changes),
        "others": _figure(work.others),
        "gold": _figure(work.gold),
        "undone": work.undone,
    }


def _tell(dataset: str, report: Report, works: list[Work]) -> str:
    lines = [
        f"{dataset}: alpha {_words(report.alpha)}",
        f"  {len(report.reviewers)} reviewers, {report.opinions:,} opinions, {report.disputed:,} images disputed",
    ]
    lines += [f"  {pair.one.name} and {pair.other.name}: kappa {_words(pair.kappa)}" for pair in report.pairs]
    lines += [f"  {line.category.name}: alpha {_words(line.alpha)}" for line in report.classes if line.times]
    lines += [
        f"  {work.user.name}: {work.decisions:,} decisions, gold {_words(work.gold)}, "
        f"with most others {_words(work.others)}"
        for work in works
    ]
    return "\n".join(lines)


def _words(figure: Figure) -> str:
    if figure.value is None:
        return f"– ({figure.why})"
    bounds = "" if figure.low is None else f" [{figure.low:.2f}, {figure.high:.2f}]"
    return f"{figure.value:.2f}{bounds} n {figure.n:,}"
