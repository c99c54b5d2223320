"""`workbench import`."""

from pathlib import Path
from typing import Any

import click

from workbench.cli.frame import ProgressBar, Workbench, command
from workbench.models import SPLITS
from workbench.services.importers import FORMATS

_SHOWN_REFUSALS = 10


@command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--dataset", required=True, metavar="NAME", help="Made if absent; grows if it is there.")
@click.option(
    "--format", "format_", type=click.Choice(FORMATS), default="auto", show_default=True, help="What SOURCE is."
)
@click.option("--split", type=click.Choice(SPLITS), help="All images get this split.")
@click.option("--copy", is_flag=True, help="Store the files instead of referencing them where they are.")
@click.option("--map", "maps", multiple=True, metavar="OLD=NEW", help="Rename a class on its way in. Repeatable.")
@click.option("--drop", "drops", multiple=True, metavar="CLASS", help="Leave its images out. Repeatable.")
@click.option("--votes", metavar="FILE", help="CSV of raters' votes, for example FER+.")
@click.option("--attributes", metavar="FILE|PATTERN", help="CSV by path, or like {age}_{gender}_{}.jpg.")
def import_(
    bench: Workbench,
    source: Path,
    dataset: str,
    format_: str,
    split: str | None,
    copy: bool,
    maps: tuple[str, ...],
    drops: tuple[str, ...],
    votes: str | None,
    attributes: str | None,
) -> None:
    """Read SOURCE (a folder, a zip archive or a CSV file) into a data set.

    Goes on where it was when it is run again after a kill.
    """
    from workbench.services.imports import parse_maps
    from workbench.worker.context import Context
    from workbench.worker.imports import import_source

    parsed = parse_maps(maps)
    with ProgressBar() as progress:
        context = Context(database=bench.database, home=bench.home, progress=progress)
        document = import_source(
            context,
            source=str(source),
            dataset=dataset,
            format=format_,
            split=split,
            copy=copy,
            maps=parsed,
            drops=list(drops),
            votes=votes,
            attributes=attributes,
        )
    bench.record("import", dataset=dataset, source=source.name, name=dataset)
    if document["unused"]:
        bench.say(f"No image is of the class {', '.join(document['unused'])} that --map or --drop names.")
    bench.answer(document, _describe(document))


def _describe(document: dict[str, Any]) -> str:
    refused = document["refused"]
    lines = [
        (
            f"{document['dataset']}: {document['imported']:,} images imported, {len(refused):,} refused, "
            f"{document['known']:,} known, {document['dropped']:,} dropped, of {document['found']:,} found "
            f"in {document['seconds']:.1f} s."
        ),
        "Classes: " + (", ".join(f"{name} {count:,}" for name, count in document["classes"].items()) or "none"),
        "Splits: " + ", ".join(f"{name} {count:,}" for name, count in document["splits"].items()),
        f"Exact copies: {document['exact_duplicates']:,} images could go without losing a picture.",
    ]
    lines += [f"Votes for {document['votes_matched']:,} images."] if "votes_matched" in document else []
    lines += [f"Attributes for {document['attributes_matched']:,} images."] if "attributes_matched" in document else []
    lines += [f"Refused {row['path']}: {row['reason']}" for row in refused[:_SHOWN_REFUSALS]]
    if len(refused) > _SHOWN_REFUSALS:
        lines.append(f"... and {len(refused) - _SHOWN_REFUSALS:,} more; --json lists them all.")
    return "\n".join(lines)
