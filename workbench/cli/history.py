"""`workbench log`."""

from datetime import UTC, datetime, timedelta

import click

from workbench.cli.frame import Workbench, command
from workbench.errors import NotFound
from workbench.models import CLASS_KINDS, IMAGE_KINDS
from workbench.queries import datasets
from workbench.queries import users as user_queries
from workbench.queries.log_lines import LogFilter, Sight
from workbench.services import log_exports

KINDS = sorted({*IMAGE_KINDS, *CLASS_KINDS, "duplicates", "import", "freeze", "unfreeze", "undo"})
DAY = click.DateTime(["%Y-%m-%d"])


@command("log")
@click.option("--dataset", required=True, metavar="NAME", help="Name of the data set.")
@click.option("--user", metavar="USER", help="Only what this one decided.")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only this kind; may be given again.")
@click.option("--queue", type=int, metavar="QUEUE", help="Only what was decided in this queue.")
@click.option("--path", default="", metavar="WORDS", help="Only images whose path holds these words.")
@click.option("--since", type=DAY, metavar="DAY", help="From this day on, like 2026-03-31, in UTC.")
@click.option("--until", type=DAY, metavar="DAY", help="Up to the end of this day.")
@click.option("--counting/--undone", "counts", default=None, help="Only what counts, or only what was undone.")
@click.option("--format", "format_", type=click.Choice(list(log_exports.FORMATS)), default="csv", show_default=True,
              help="What to write.")  # fmt: skip
def log(
    bench: Workbench,
    dataset: str,
    user: str | None,
    kinds: tuple[str, ...],
    queue: int | None,
    path: str,
    since: datetime | None,
    until: datetime | None,
    counts: bool | None,
    format_: str,
) -> None:
    """Write who changed what to standard output, oldest first."""
    with bench.database.read() as session:
        found = datasets.get_dataset(session, dataset)
        person = user_queries.get_user(session, user) if user else None
        if user and person is None:
            raise NotFound(f"There is no user “{user}”.")
        wanted = LogFilter(
            found.id,
            Sight(all=True),
            user_id=person.id if person else None,
            kinds=kinds,
            queue_id=queue,
            path=path,
            since=_in_utc(since),
            until=_in_utc(until + timedelta(days=1)) if until else None,
            counts=counts,
        )
    lines = log_exports.read_log(bench.database, wanted)
    if bench.as_json:
        bench.answer({"dataset": dataset, "lines": list(lines)}, "")
        return
    for part in log_exports.FORMATS[format_](lines):
        click.echo(part, nl=False)


def _in_utc(day: datetime | None) -> datetime | None:
    return day.replace(tzinfo=UTC) if day else None
