"""`workbench decide`."""

from pathlib import Path

import click

from workbench.cli.frame import Workbench, command
from workbench.queries import datasets as dataset_queries
from workbench.services import users, verdict_files


@command("decide")
@click.option("--dataset", required=True, metavar="NAME", help="Name of the data set.")
@click.option(
    "--file", "file", required=True, type=click.Path(path_type=Path), metavar="DECISIONS.csv", help="The verdicts."
)
@click.option("--as", "user_name", required=True, metavar="USER", help="The reviewer; made if absent.")
@click.option("--force", metavar="REASON", default="", help="Decide on a frozen split all the same, and say why.")
def decide(bench: Workbench, dataset: str, file: Path, user_name: str, force: str) -> None:
    """Decide what a CSV says: path,verdict,class and maybe comment.

    Verdicts: confirm, relabel, ambiguous (classes joined by |), exclude, restore, comment. All lines or none; each
    line can be undone by itself.
    """
    rows = verdict_files.read_rows(file)
    with bench.database.write() as session:
        found = dataset_queries.get_dataset(session, dataset)
        user = users.ensure_user(session, user_name)
        by = verdict_files.decide_rows(session, dataset=found, user=user, rows=rows, forced=force)
    document = {"dataset": dataset, "decided": len(rows), "by": by}
    counts = ", ".join(f"{count:,} {verdict}" for verdict, count in by.items())
    bench.answer(document, f"{dataset}: {len(rows):,} decisions by {user_name} ({counts}).")
