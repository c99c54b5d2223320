"""`workbench export`."""

from pathlib import Path

import click

from workbench.cli.frame import ProgressBar, Workbench, command
from workbench.services.exporters import EXPORTERS


@command("export")
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path))
@click.option("--dataset", required=True, metavar="NAME", help="Name of the data set.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(EXPORTERS)),
    default="folder",
    show_default=True,
    help="What to write.",
)
@click.option("--version", type=int, metavar="V", help="A decision's number: the data set as it stood after it.")
def export(bench: Workbench, destination: Path, dataset: str, format_: str, version: int | None) -> None:
    """Write a data set to DEST, a new folder, or an archive if it ends in .zip."""
    from workbench.services import exports

    with ProgressBar() as progress:
        document = exports.export(
            bench.database,
            bench.home,
            dataset=dataset,
            destination=destination,
            format_=format_,
            version=version,
            progress=progress,
        )
    bench.record("export", dataset=dataset, version=document["version"], format=format_)
    for row in document["missing"][:10]:
        bench.say(row["reason"])
    text = (
        f"Wrote {document['images']:,} images (and {document['excluded']:,} excluded ones in the table) of {dataset}, "
        f"version {document['version']}, to {document['destination']}."
    )
    bench.answer(document, text)
