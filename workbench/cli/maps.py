"""`workbench map`."""

import click

from workbench.cli.frame import ProgressBar, Workbench, command
from workbench.services.maps import METHODS


@command("map")
@click.option("--dataset", required=True, help="Name of the data set.")
@click.option("--run", type=int, help="The run whose features are laid out (default: the promoted one).")
@click.option("--method", type=click.Choice(list(METHODS)), default="neighbours", show_default=True, help="The layout.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Another seed turns and folds the map otherwise.",
)
def map_(bench: Workbench, dataset: str, run: int | None, method: str, seed: int) -> None:
    """Lay the images out in the plane by what a run holds for alike, for the map page."""
    with ProgressBar(unit="step") as progress:
        from workbench.worker.context import Context
        from workbench.worker.mapping import make_map

        found = make_map(
            Context(bench.database, bench.home, progress), dataset=dataset, run=run, method=method, seed=seed
        )
    bench.record("map_made", dataset=dataset, run=found["run"])
    bench.answer(
        found,
        f"{found['images']:,} images of {dataset} laid out as run {found['run']} sees them, in {found['regions']} "
        f"regions ({found['seconds']:.1f} s): look at them on the map page.",
    )
