"""`workbench bought`."""

import click

from workbench.cli.frame import ProgressBar, Workbench, command
from workbench.services.comparisons import show_interval, show_points


@command("bought")
@click.option("--dataset", required=True, help="Name of the data set.")
@click.option("--run", "run_id", type=int, help="The run to ask about (default: the promoted one).")
def bought(bench: Workbench, dataset: str, run_id: int | None) -> None:
    """What the decisions before a run bought: how far it moved from the run before, queue by queue."""
    with ProgressBar() as progress:
        from workbench.worker.buying import weigh
        from workbench.worker.context import Context

        found = weigh(Context(bench.database, bench.home, progress), dataset=dataset, run=run_id)
    rows = [*found["parts"], {"title": "Training again, besides", **found["rest"]}]
    rows.append({"title": "Together", **found["whole"], "decisions": found["decisions"], "changed": found["changed"]})
    lines = [
        f"{row['title']:<32} {row.get('decisions', ''):>9} {row.get('changed', ''):>8}  "
        f"{show_points(row['difference'])} [{show_interval(row)}]"
        for row in rows
    ]
    bench.answer(found, "\n".join([f"{'':<32} decisions  changed  points", *lines, "", found["sentence"]]))
