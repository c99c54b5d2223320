"""`workbench learn`."""

import click

from workbench.cli.frame import ProgressBar, Workbench, command


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
