"""`workbench learn`."""

import click

from workbench.cli.frame import ProgressBar, Workbench, command
from workbench.queries import datasets
from workbench.services.learning import is_due


@command("learn")
@click.option("--dataset", required=True, help="Name of the data set.")
def learn(bench: Workbench, dataset: str) -> None:
    """Learn from all verdicts so far how probably each label is wrong, and show it on the pages."""
    with ProgressBar() as progress:
        from workbench.worker.context import Context
        from workbench.worker.learning import learn as learn_now

        found = learn_now(Context(bench.database, bench.home, progress), dataset=dataset)
    bench.answer(
        found,
        f"Learned from {found['verdicts']:,} verdicts ({found['random_verdicts']:,} drawn at random) what they say of "
        f"run {found['run']}: {found['expected_wrong']:,.0f} of {found['judged']:,} labels are expected to be wrong.",
    )


def learn_first(bench: Workbench, dataset: str) -> None:
    """Before a queue is made by what a run says: learn from the verdicts that came since, if they are enough."""
    with bench.database.read() as session:
        found = datasets.get_dataset(session, dataset)
        due = is_due(session, bench.home, found, run_id=found.promoted_run_id)
    if due:
        with ProgressBar() as progress:
            from workbench.worker.context import Context
            from workbench.worker.learning import learn as learn_now

            learn_now(Context(bench.database, bench.home, progress), dataset=dataset)
