"""`workbench queue build`, `queue list`, `queue items`."""

from dataclasses import asdict
from typing import Any

import click

from workbench.cli.frame import ProgressBar, Workbench, command
from workbench.cli.learning import learn_first
from workbench.errors import Invalid
from workbench.models import QueueItem
from workbench.queries import datasets as dataset_queries
from workbench.queries import queues as queries
from workbench.queries.queues import Progress
from workbench.services import automatic_queues, outlooks, queue_plans, queues
from workbench.services.queue_plans import RANDOM_SHARE, QueuePlan
from workbench.services.recipes import RECIPES, read_recipe
from workbench.services.stopping import Outlook


@click.group()
def queue() -> None:
    """Work lists for reviewers."""


@command("build", group=queue)
@click.argument("recipe")
@click.option("--dataset", required=True, help="Name of the data set.")
@click.option("--run", "run_id", type=int, help="Whose predictions (default: the promoted run, else the newest).")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many images.")
@click.option("--cell", metavar="TRUE:PREDICTED", help="For the recipe confusion: two class names.")
@click.option("--title", help="Shown to reviewers.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="A parameter of the recipe, or split=NAME.")
@click.option("--opinions", type=int, default=1, show_default=True, help="Reviewers asked about each image, blind.")
@click.option("--blind", is_flag=True, help="Hide label and predictions until the image is decided.")
@click.option("--gold", type=float, default=0, metavar="PERCENT", help="Hidden gold images for every hundred items.")
@click.option(
    "--random",
    type=float,
    default=RANDOM_SHARE,
    show_default=True,
    metavar="PERCENT",
    help="Images drawn at random for every hundred that a model chose.",
)
@click.option("--force", is_flag=True, help="Take images of a frozen split too; deciding on them needs a reason.")
def build(
    bench: Workbench,
    recipe: str,
    dataset: str,
    run_id: int | None,
    limit: int | None,
    cell: str | None,
    title: str | None,
    settings: tuple[str, ...],
    **asking: Any,
) -> None:
    """Build a queue.

    RECIPE finds wrong labels (label-issues, confusion), looks where opinions differ (disagreement, flipped, folds,
    contradicted, disputed), teaches the model (active, uncertain, cold-start), measures and tidies up (random,
    near-duplicates, findings), or takes what you name (filter, chosen).
    """
    name = read_recipe(recipe)
    own = read_settings(settings)
    queue_plans.read_params(name, own)
    params = {**asking, **own, "limit": limit, "title": title}
    if cell is not None:
        params["cell"] = cell
    if RECIPES[name].needs_run:
        learn_first(bench, dataset)
    plan = (_choose if RECIPES[name].by_worker else _plan)(bench, dataset, name, run_id=run_id, **params)
    with bench.database.write() as session:
        document = queues.describe_built(queues.open_queue(session, plan), plan)
    bench.record("queue_built", dataset=dataset, title=plan.title, size=plan.size)
    left_out = f" The images of {plan.without}, which is frozen, are left out." if plan.without else ""
    drawn = f", {plan.drawn} of them drawn at random" if plan.drawn else ""
    bench.answer(document, f"Queue {document['queue']} “{plan.title}” holds {plan.size} images{drawn}.{left_out}")


def _plan(bench: Workbench, dataset: str, recipe: str, *, run_id: int | None, **asked: Any) -> QueuePlan:
    with bench.database.read() as session:
        found = dataset_queries.get_dataset(session, dataset)
        run = queries.get_run(session, found, run_id) if RECIPES[recipe].needs_run else None
        return queue_plans.plan_queue(session, bench.home, dataset=found, recipe=recipe, run=run, **asked)


def _choose(bench: Workbench, dataset: str, recipe: str, *, run_id: int | None, **asked: Any) -> QueuePlan:
    """For recipes that compare images with each other."""
    with ProgressBar() as progress:
        from workbench.worker.choosing import plan_chosen
        from workbench.worker.context import Context

        context = Context(bench.database, bench.home, progress)
        return plan_chosen(context, dataset=dataset, recipe=recipe, run=run_id, **asked)


_OPTIONS = ("dataset", "recipe", "run", "limit", "title", "automatic", "opinions", "blind", "gold", "random", "force")


def read_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    params = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.isidentifier():
            raise Invalid(f"“{setting}” is not KEY=VALUE.")
        if key in _OPTIONS:
            raise Invalid(f"“{key}” is not a parameter of a recipe; use --{key} if there is one.")
        params[key] = value
    return params


@command("list", group=queue)
@click.option("--dataset", required=True, help="Name of the data set.")
@click.option("--closed", is_flag=True, help="Show closed queues too.")
def list_(bench: Workbench, dataset: str, closed: bool) -> None:
    """The queues of a data set, newest first."""
    with bench.database.read() as session:
        found = dataset_queries.get_dataset(session, dataset)
        listed = queries.list_queues(session, found.id, closed=closed)
        ahead = outlooks.look(session, bench.home, found, [row.queue for row in listed])
        rows = [
            {
                "queue": row.queue.id,
                "recipe": row.queue.recipe,
                "title": row.queue.title,
                "run": row.queue.run_id,
                "open": row.open,
                "done": row.done,
                "automatic": row.queue.automatic,
                "replaced": automatic_queues.is_superseded(row.queue, found),
                "expected_hits": row.queue.expected_hits,
                **_describe_yield(queries.get_progress(session, row.queue), ahead.get(row.queue.id)),
            }
            for row in listed
        ]
        errors = outlooks.expect_errors(session, bench.home, found)
    lines = [
        f"{row['queue']:>5}  {row['open']:>6} open  {row['done']:>6} done  {_say_left(row['left']):<24}  {row['title']}"
        for row in rows
    ]
    bench.answer(
        {"queues": rows, "left": asdict(errors) if errors else None},
        "\n".join(lines) or f"{dataset} has no queue yet.",
    )


def _describe_yield(progress: Progress, outlook: Outlook | None) -> dict[str, Any]:
    """What a queue brought so far and what is left in it."""
    return {
        "hits": progress.hits,
        "hit_rate": progress.hit_rate,
        "recent_hit_rate": progress.recent_hit_rate,
        "smoothed_hit_rate": outlook.smoothed if outlook else None,
        "left": asdict(outlook.left) if outlook else None,
        "next": asdict(outlook.ahead) if outlook else None,
    }


def _say_left(left: dict[str, Any] | None) -> str:
    return f"{left['expected']:.0f} wrong left [{left['low']}, {left['high']}]" if left else ""


@command("items", group=queue)
@click.argument("queue_id", metavar="QUEUE", type=int)
@click.option("--limit", type=click.IntRange(min=1), help="The first so many.")
def items(bench: Workbench, queue_id: int, limit: int | None) -> None:
    """What stands in QUEUE, done or not: what its recipe chose, in its order, then what was drawn at random."""
    with bench.database.read() as session:
        found = queries.get_queue(session, queue_id)
        rows = [describe_item(item) for item in queries.list_ranked(session, queue_id, limit=limit)]
        document = {"queue": found.id, "recipe": found.recipe, "items": rows}
    bench.answer(document, "\n".join(f"{row['image']:>7}  {row['path']}  {row['reason']}" for row in rows))


def describe_item(item: QueueItem) -> dict[str, Any]:
    return {
        "image": item.image_id,
        "path": item.image.path,
        "label": item.image.label.name if item.image.label else None,
        "suggested": item.suggested.name if item.suggested else None,
        "score": item.score,
        "p_wrong": item.p_wrong,
        "reason": item.reason,
        "random": item.is_random,
        "done": item.done_action is not None,
        "group": item.group_id,
    }
