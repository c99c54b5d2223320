"""`workbench study list`, `study run`, `study search`, `study show`."""

from typing import Any

import click

from workbench.cli.frame import ProgressBar, Workbench, command
from workbench.cli.runs import parse_settings
from workbench.queries import datasets as dataset_queries
from workbench.queries import studies as queries
from workbench.services import runs, study_files
from workbench.services.study_files import write_value
from workbench.services.study_tables import report_study


@click.group()
def study() -> None:
    """Several runs asked for together: saved configurations, grids, searches."""


@command("list", group=study)
@click.option("--dataset", help="Name of a data set, to list its studies too.")
def list_(bench: Workbench, dataset: str | None) -> None:
    """The saved configurations that come with the program, and the studies of a data set."""
    saved = [_describe(name) for name in study_files.list_saved()]
    made: list[dict[str, Any]] = []
    if dataset is not None:
        with bench.database.read() as session:
            row = dataset_queries.get_dataset(session, dataset)
            found = queries.list_studies(session, dataset_id=row.id)
            ended = queries.count_ended(session, [each.id for each in found])
            made = [
                {"study": each.id, "name": each.name, "status": each.status, "ended": ended.get(each.id, 0)}
                for each in found
            ]
    width = max(len(each["name"]) for each in saved)
    lines = [f"{each['name']:<{width}}  {each['runs']:>3} runs  {each['title']}" for each in saved]
    lines += [f"Study {each['study']}: {each['name']}, {each['status']}, {each['ended']} runs over" for each in made]
    bench.answer({"saved": saved, "studies": made}, "\n".join(lines))


def _describe(name: str) -> dict[str, Any]:
    plan = study_files.read_plan(study_files.find_document(name))
    return {"name": name, "title": plan.title, "source": plan.source, "method": plan.method, "runs": plan.most}


@command("run", group=study)
@click.argument("name")
@click.option("--dataset", required=True, help="Name of the data set.")
@click.option("--small", is_flag=True, help="Tiny images and few epochs, to see whether everything runs.")
def run(bench: Workbench, name: str, dataset: str, small: bool) -> None:
    """Carry out NAME, a saved configuration or a TOML file. Run again after a kill, it goes on where it was."""
    _carry_out(bench, study_files.find_document(name), dataset=dataset, small=small)


@command("search", group=study)
@click.option("--dataset", required=True, help="Name of the data set.")
@click.option("--range", "ranges", multiple=True, required=True, metavar="KEY=VALUES", help="1,2,3 or LOW..HIGH[:log].")
@click.option("--method", type=click.Choice(study_files.METHODS), default="hyperband", show_default=True, help="How.")
@click.option("--name", default="search", show_default=True, help="What the study is called.")
@click.option("--arch", default="compact", show_default=True, help="As for train.")
@click.option("--preset", type=click.Choice(runs.PRESETS), default="quick", show_default=True, help="As for train.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of every run; repeatable.")
@click.option(
    "--goal", type=click.Choice(study_files.GOALS), default="accuracy", show_default=True, help="On validation."
)
@click.option("--runs", "most", type=int, default=30, show_default=True, help="How many begin under Hyperband.")
@click.option("--least", type=int, default=1, show_default=True, help="Epochs before Hyperband may stop a run.")
@click.option("--keep", type=int, default=3, show_default=True, help="Of so many, Hyperband lets about one go on.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Equal seeds, equal searches.")
@click.option("--small", is_flag=True, help="Tiny images and few epochs, to see whether everything runs.")
def search(
    bench: Workbench,
    dataset: str,
    ranges: tuple[str, ...],
    name: str,
    settings: tuple[str, ...],
    small: bool,
    **asked: Any,
) -> None:
    """Search settings of a training over ranges, by a grid or by Hyperband; chosen by the validation split."""
    asked["runs"] = asked.pop("most")
    document = {
        "name": name,
        "title": f"Search over {', '.join(line.partition('=')[0].strip() for line in ranges)}",
        "search": {**asked, "settings": parse_settings(settings), "ranges": study_files.parse_ranges(ranges)},
    }
    _carry_out(bench, document, dataset=dataset, small=small)


@command("show", group=study)
@click.argument("number", metavar="STUDY", type=int)
def show(bench: Workbench, number: int) -> None:
    """The table of STUDY as it stands."""
    with bench.database.read() as session:
        found = report_study(session, queries.get_study(session, number))
    bench.answer(found, tell_study(found))


def _carry_out(bench: Workbench, document: dict[str, Any], *, dataset: str, small: bool) -> None:
    with ProgressBar(unit="parts") as progress:
        from workbench.worker.context import Context
        from workbench.worker.studies import start_study

        context = Context(bench.database, bench.home, progress)
        found = start_study(context, dataset=dataset, document=document, small=small)
    bench.record("study_started", dataset=dataset, study=found["study"], name=found["name"])
    bench.answer(found, tell_study(found))


def tell_study(found: dict[str, Any]) -> str:
    """The table of a study in text: ours with its interval and n, then what was published."""
    lines = [f"Study {found['study']}: {found['name']}, {found['status']}, on {found['dataset']}."]
    width = max((len(_name(row)) for row in found["runs"]), default=0)
    lines += [f"  {_name(row):<{width}}  {_tell_row(row)}" for row in found["runs"]]
    best = next((row for row in found["runs"] if row["number"] == found["best"]), None)
    if best is not None:
        chosen = (
            "by the validation split" if best["score"] is not None and found["method"] != "list" else "by its accuracy"
        )
        lines.append(f"Best {chosen}: {_name(best)}, run {best['run']}.")
    return "\n".join(lines)


def _name(row: dict[str, Any]) -> str:
    chosen = ", ".join(f"{key} {write_value(value)}" for key, value in row["chosen"].items())
    return f"{row['name']}: {chosen}" if chosen else str(row["name"])


def _tell_row(row: dict[str, Any]) -> str:
    if row["status"] == "stopped":
        return f"stopped after epoch {row['epochs']} at {row['score']:.3f} on validation"
    if row["test"] is None:
        return f"{row['status']}{': ' + row['error'] if row['error'] else ''}"
    test = row["test"]
    words = f"{test['accuracy']:6.1%} [{test['low']:.1%}, {test['high']:.1%}], n = {test['n']:,}, {test['split']}"
    published = (row["published"] or {}).get("accuracy")
    return words if published is None else f"{words}; published {published:.1%}"
