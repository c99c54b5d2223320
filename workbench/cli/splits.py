"""`workbench split`."""

import click

from workbench.cli.frame import Workbench, command


@command("split")
@click.option("--dataset", required=True, help="Name of the data set.")
@click.option("--train", type=float, required=True, help="Share of the images, 0 to 1.")
@click.option("--validation", type=float, required=True, help="Share of the images, 0 to 1.")
@click.option("--test", type=float, required=True, help="Share of the images, 0 to 1.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, another split.")
def split(bench: Workbench, dataset: str, train: float, validation: float, test: float, seed: int) -> None:
    """Split anew by class; copies of one picture stay together. One undo takes it back."""
    from workbench.worker.context import Context
    from workbench.worker.splits import build_split

    context = Context(bench.database, bench.home)
    document = build_split(context, dataset=dataset, train=train, validation=validation, test=test, seed=seed)
    sizes = ", ".join(f"{name} {count}" for name, count in document["splits"].items())
    moved, kept = document["changed"], document["groups_kept"]
    bench.answer(document, f"{sizes}; {moved} images moved, {kept} groups of copies kept together.")
