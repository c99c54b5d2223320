"""Exports: one version of a data set, read in one short transaction, then written without any."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from workbench import __version__, storage
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Invalid
from workbench.models import Dataset
from workbench.queries import datasets as dataset_queries
from workbench.queries import decisions as log
from workbench.queries import images as image_queries
from workbench.services import versions
from workbench.services.exporters import EXPORTERS
from workbench.services.exporters.contents import Contents
from workbench.services.versions import VersionRow


def export(
    database: Database,
    home: Home,
    *,
    dataset: str,
    destination: Path,
    format_: str = "folder",
    version: int | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, message: None,  # noqa: ARG005 - shows nothing
) -> dict[str, Any]:
    """Write one version and return what `export --json` answers; raises Invalid and leaves nothing half done."""
    if format_ not in EXPORTERS:
        raise Invalid(f"“{format_}” is not a format; use {', '.join(EXPORTERS)}.", format="Choose one.")
    destination = Path(destination).expanduser().absolute()
    contents = _read_contents(database, home, dataset=dataset, format_=format_, version=version, progress=progress)
    EXPORTERS[format_](contents, destination)
    return {
        "dataset": dataset,
        "format": format_,
        "destination": str(destination),
        "version": contents.version,
        "content_hash": contents.content_hash,
        **contents.counts(),
        "files": contents.files,
        "missing": contents.missing,
    }


def _read_contents(
    database: Database,
    home: Home,
    *,
    dataset: str,
    format_: str,
    version: int | None,
    progress: Callable[[int, int, str], None],
) -> Contents:
    with database.read() as session:
        found = dataset_queries.get_dataset(session, dataset)
        version = log.get_last_id(session, dataset_id=found.id) if version is None else version
        rows = versions.states_at(session, found, version)
        votes = image_queries.list_votes(session, [row.image_id for row in rows]) if format_ == "parquet" else {}
        classes = _list_classes(session, found, version, rows)
    if not rows:
        raise Invalid(f"{dataset} has no images to export at version {version}.")
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if done % 100 == 0 or done == len(rows):
            progress(done, len(rows), "Exporting")

    return Contents(
        dataset=dataset,
        format=format_,
        tool_version=__version__,
        version=version,
        content_hash=versions.hash_rows(rows),
        classes=classes,
        rows=rows,
        votes=votes,
        read=lambda row: storage.read_file(home, path=row.path, location=row.location, file_sha256=row.file_sha256),
        advance=advance,
    )


def _list_classes(session: Session, dataset: Dataset, version: int, rows: list[VersionRow]) -> list[dict[str, Any]]:
    """The classes as they stood, in their order; those that reviewers may not choose only while images name them.

    A class that was merged away, which an ambiguous image can still name, is written as retired: an import makes it
    anew, and it must not become a choice.
    """
    undone = log.get_undone(session, dataset_id=dataset.id, up_to=version)
    states = versions.class_states_at(session, dataset, version, undone=undone).values()
    named = {name for row in rows for name in row.label.split("|")}
    classes = [
        {
            "name": state.name,
            "colour": state.colour,
            "key": state.key,
            "retired": state.retired or state.merged_into_id is not None,
        }
        for state in sorted(states, key=lambda state: state.position)
    ]
    return [cls for cls in classes if cls["name"] in named or not cls["retired"]]
